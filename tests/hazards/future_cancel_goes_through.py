"""
``cancel()`` of a result's future ends the operation, at once, in whatever way the future is waited.
"""

import asyncio
import threading
from concurrent import futures

from _operations import Operations, check_alive, settled
from _verdict import PATIENCE, check, judge, needs, refusal_of

import crochet

operations = Operations()


@crochet.run_in_reactor
def forever():
    return operations.start()


@crochet.run_in_reactor
async def forever_as_coroutine():
    await operations.start()


@crochet.run_in_reactor
def double(number):
    return 2 * number


def check_cancelled(future):
    """
    Cancel a future and check all that tells of it.
    """
    waiting = threading.Event()

    def wait():
        waiting.set()
        refusal_of(future.result, futures.CancelledError)

    with futures.ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(wait)
        waiting.wait(PATIENCE)
        check(future.cancel() and future.cancelled() and future.done(), "it is not cancelled")
        check(not future.running(), "it runs on")
        waiter.result(PATIENCE)
    refusal_of(lambda: future.result(PATIENCE), futures.CancelledError)
    refusal_of(lambda: future.exception(PATIENCE), futures.CancelledError)
    done, left = futures.wait([future], PATIENCE)
    check(done == {future} and not left, "wait() does not see it")
    check(list(futures.as_completed([future], PATIENCE)) == [future], "as_completed() does not")
    left = operations.settle()
    check(left == 0, "the operation goes on")


async def give_up_in_asyncio():
    """
    Cancel an asyncio future, and let the time of another be over.
    """
    for function in (forever, forever_as_coroutine):
        future = asyncio.wrap_future(function().as_future())
        await asyncio.sleep(0)
        future.cancel()
        try:
            await asyncio.wait_for(asyncio.wrap_future(function().as_future()), 0.02)
        except asyncio.TimeoutError:
            continue
        raise AssertionError("it was answered")


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    for function in (forever, forever_as_coroutine):
        for _ in range(20):
            check_cancelled(function().as_future())
    asyncio.run(give_up_in_asyncio())
    left = operations.settle()
    check(left == 0, f"{left} operations that asyncio gave up go on")

    # Before it has started, it never will.
    is_over = threading.Event()
    started = operations.started
    blocking = crochet.run_in_reactor(lambda: is_over.wait(PATIENCE))()
    unstarted = forever().as_future()
    check(unstarted.cancel(), "a call that has not started is not cancelled")
    is_over.set()
    blocking.wait(PATIENCE)
    settled()
    check(operations.started == started, "it was started all the same")

    answered = double(21).as_future()
    check(answered.result(PATIENCE) == 42, "another value")
    check(not answered.cancel() and not answered.cancelled(), "an answered one was cancelled")
    check_alive()
    return "40 by cancel(), 4 by asyncio, one before it started; an answered one stays"


judge(hazard)
