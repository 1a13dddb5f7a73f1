"""
An ``await`` in an asyncio loop that is cancelled, or whose time is over, ends the operation.
"""

import asyncio
import threading

from _operations import Operations, check_alive, settled
from _verdict import PATIENCE, check, in_thread, judge, needs

import crochet

operations = Operations()


@crochet.run_in_reactor
def forever():
    return operations.start()


@crochet.run_in_reactor
async def forever_as_coroutine():
    await operations.start()


async def until(number):
    """
    Let the loop go on until as many operations have started.
    """
    while operations.started < number:
        await asyncio.sleep(0.001)


async def give_up(function):
    """
    End awaits by cancel(), by a timeout and with a group of others; return how many ended wrongly.
    """
    wanted = operations.started

    async def wait():
        return await function()

    task = asyncio.ensure_future(wait())
    await until(wanted + 1)
    task.cancel()
    outcomes = await asyncio.gather(task, return_exceptions=True)

    outcomes += await asyncio.gather(asyncio.wait_for(wait(), 0.05), return_exceptions=True)

    group = asyncio.gather(*(wait() for _ in range(20)), return_exceptions=False)
    await until(wanted + 22)
    group.cancel()
    outcomes += await asyncio.gather(group, return_exceptions=True)
    kinds = [type(each) for each in outcomes]
    wrong = kinds != [asyncio.CancelledError, asyncio.TimeoutError, asyncio.CancelledError]
    check(not wrong, f"they ended with {kinds}")


async def give_up_one_that_is_queued():
    """
    Cancel an await of a call that the reactor thread has not come to.
    """
    is_over = threading.Event()
    blocking = crochet.run_in_reactor(lambda: is_over.wait(PATIENCE))()
    task = asyncio.ensure_future(asyncio.wait_for(forever(), PATIENCE))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    is_over.set()
    await blocking


def hazard():
    needs(hasattr(crochet.EventualResult, "__await__"), "await of a result")
    crochet.setup()
    for function in (forever, forever_as_coroutine):
        # Not the main thread's loop, either: one of a thread like any other.
        in_thread(lambda function=function: asyncio.run(give_up(function)))
        left = operations.settle()
        check(left == 0, f"{left} operations of {function.__name__}() go on")
    check(operations.started == 44, f"{operations.started} operations")
    in_thread(lambda: asyncio.run(give_up_one_that_is_queued()))
    settled()
    check(operations.started == 44, "one that was cancelled before it started was started")
    check_alive()
    return "2 cancelled, 2 by a timeout, 2 groups of 20, one that was queued"


judge(hazard)
