"""
A loop that is closed while something is awaited in it: the reactor is unharmed and logs no error.
"""

import asyncio
import gc
import logging
import warnings

from _operations import check_alive, settled
from _records import Records
from _verdict import check, in_thread, judge, needs, refusal_of
from twisted.internet.defer import Deferred

import crochet

LOOPS = 20
pending = []
cancelled = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred(cancelled.append))
    return pending[-1]


def close_with_pending_awaits(results):
    """
    Close a loop in which awaits are pending, in the rudest way; return the tasks.
    """
    loop = asyncio.new_event_loop()

    async def wait(result):
        return await result

    tasks = [loop.create_task(wait(result)) for result in results]
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    return tasks


def answer_all():
    for number, deferred in enumerate(pending):
        if not deferred.called:
            deferred.callback(number) if number % 2 else deferred.errback(ValueError(number))
    pending.clear()


def check_run():
    """
    Check that asyncio.run(), which cancels what is left, has the operations cancelled.
    """
    begun = []

    async def wait():
        result = start()
        begun.append(result)
        return await result  # in the same turn of the loop

    async def main():
        tasks = [asyncio.ensure_future(wait()) for _ in range(5)]
        while len(begun) < len(tasks) or len(pending) < len(tasks):
            await asyncio.sleep(0.001)
        raise OSError("the end of it")

    cancelled.clear()
    refusal_of(lambda: in_thread(lambda: asyncio.run(main())), OSError)
    settled()
    check(len(cancelled) == 5, f"of 5 operations {len(cancelled)} were cancelled")


def hazard():
    needs(hasattr(crochet.EventualResult, "__await__"), "await of a result")
    records = Records()
    logging.getLogger("asyncio").disabled = True  # it has its say about tasks that are left
    warnings.simplefilter("ignore", RuntimeWarning)
    crochet.setup()
    for number in range(LOOPS):
        results = [start(), start()]
        tasks = in_thread(lambda results=results: close_with_pending_awaits(results))
        if number % 2:
            # Whoever drops the tasks ends the awaits, in which the loop is gone.
            del tasks
            gc.collect()
        settled(answer_all)
        outcomes = [result.done() for result in results]
        check(all(outcomes), "a result is left without an answer")
        refusal_of(lambda results=results: results[0].wait(0), Exception)
    check_alive()
    errors = [each.getMessage() for each in records.errors()]
    check(not errors, f"{len(errors)} errors were logged: {errors[:1]}")
    check_run()
    check_alive()
    return f"{LOOPS} loops closed with 2 awaits each; by asyncio.run() the operations are cancelled"


judge(hazard)
