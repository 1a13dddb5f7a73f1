"""
What a body returned, in either world: coroutines are followed to their end (follow, task), on any
reactor, with Deferreds and asyncio's futures to await; results are awaited from other event loops
(await_result) and handed out as concurrent.futures' (futures). A body has one context, and on
asyncio's reactor one task, from its first line to its last.
"""
