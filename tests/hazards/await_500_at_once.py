"""
500 awaits at once in one asyncio loop: each its own answer, no thread for any, and no long stall.
"""

import asyncio
import threading

from _verdict import PATIENCE, check, in_thread, judge, needs

import crochet

AWAITS = 500
ROUNDS = 40
# Seconds for which the loop may stand still, on a machine that has other things to do as well. How
# short it is on a quiet one, the benchmarks measure.
STALL = 0.1


@crochet.run_in_reactor
def later(number):
    from twisted.internet import reactor, task

    if number % 5 == 0:
        raise ValueError(number)
    return task.deferLater(reactor, 0.02, lambda: number)


async def longest_turn(is_over):
    """
    Return the longest time, in seconds, for which the loop did not come to this task.
    """
    loop = asyncio.get_running_loop()
    longest = 0.0
    while not is_over:
        before = loop.time()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before - 0.001)
    return longest


async def gather():
    """
    Await as many at once: return the longest stall, and how many threads there were more.
    """
    before = threading.active_count()
    is_over = []
    watch = asyncio.ensure_future(longest_turn(is_over))
    await asyncio.sleep(0.005)

    async def answer_of(number):
        try:
            return await later(number)
        except ValueError as error:
            return -error.args[0]

    tasks = [asyncio.ensure_future(answer_of(number)) for number in range(AWAITS)]
    await asyncio.sleep(0.01)
    more = threading.active_count() - before
    answers = await asyncio.gather(*tasks)
    is_over.append(True)
    wanted = [number if number % 5 else -number for number in range(AWAITS)]
    check(answers == wanted, "another's answer")
    return await watch, more


def hazard():
    needs(hasattr(crochet.EventualResult, "__await__"), "await of a result")
    crochet.setup()
    stalls = []
    # Whatever else the machine does, now and then it does it quickly.
    while len(stalls) < ROUNDS and min(stalls, default=1.0) >= STALL:
        stall, more = in_thread(lambda: asyncio.run(asyncio.wait_for(gather(), PATIENCE / 2)))
        check(more <= 0, f"{more} threads more")
        stalls.append(stall)
    best = 1000 * min(stalls)
    check(min(stalls) < STALL, f"the loop stands still for {best:.0f} ms at best of {ROUNDS}")
    return f"no thread more, the loop stands still for {best:.0f} ms, at best of {len(stalls)}"


judge(hazard)
