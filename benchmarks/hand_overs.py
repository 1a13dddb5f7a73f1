"""
Timed blocks: calls from threads, and from another loop, into the loop's thread; and at rest.

All take care of the same things: garbage of earlier blocks is collected before the clock starts,
the loop around the call is the same for everyone, and the wait for answers that are not part of
the figure stays outside the timed part.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import resource
import threading
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks.contenders import BOUND, LIBRARIES, PLAIN, Contender
from benchmarks.figures import Bar, ahead_of
from benchmarks.registry import measure

Clock = Callable[[], float]

#: Who drives a coroutine of asyncio's, and whom ours is to be ahead of: those on the same loop.
DRIVING = {
    "crochet-asyncio": ("asyncio", "anyio", "asgiref"),
    "crochet-uvloop": ("uvloop", "anyio-uvloop", "asgiref-uvloop"),
}
DRIVERS = [key for ours, others in DRIVING.items() for key in (ours, *others)]
AHEAD = [ahead_of(others, ours) for ours, others in DRIVING.items()]
PEER: Any = {"at_most": False, "top": ("crochet-2.1.1",), "bottom": "crochet"}


def no_op() -> None:
    pass  # what remains is the cost of getting here and back


def _trips(contender: Contender, call: Callable[[], Any], now: Clock, calls: int) -> dict[str, Any]:
    """
    Time *calls* calls, one after the other, from one thread.
    """

    def timed() -> float:
        call()
        gc.collect()
        repetitions = itertools.repeat(None, calls)
        started = now()
        for _ in repetitions:
            call()
        return now() - started

    return {"seconds_per_call": contender.apart(timed) / calls}


ROUND_TRIP = (
    Bar("floor", "ours / floor", 2.6, 2.2, bottom="floor"),
    Bar("2.1.1", "2.1.1 / ours", 2.5, 3.0, **PEER),
    ahead_of(LIBRARIES, key="others"),
)


@measure((150, 40, 2), PLAIN, *ROUND_TRIP, calls=(300, 200, 10), pins=True)
def round_trip(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per blocking call of a no-op, one calling thread.
    """
    return _trips(contender, contender.blocking(no_op), now, calls)


@measure((60, 12, 1), ("crochet", *LIBRARIES), calls=(300, 200, 5), pins=True)
def failing(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per blocking call of a function that raises; nobody looks at the traceback.
    """

    def fail() -> None:
        raise ValueError("no good")

    blocking = contender.blocking(fail)

    def call() -> None:
        try:
            blocking()
        except ValueError:
            return
        raise AssertionError("it has not failed")

    return _trips(contender, call, now, calls)


STARTING = ("crochet", "crochet-2.1.1", "asyncio", "uvloop", "anyio", "synchronicity", "floor")


@measure((60, 12, 1), STARTING, calls=(300, 200, 5), pins=True)
def wait(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds to start a call of a no-op, and to wait for its result.
    """
    submit = contender.submitting(no_op)
    return _trips(contender, lambda: contender.settle((submit(),)), now, calls)


@measure((60, 12, 1), DRIVERS, *AHEAD, calls=(300, 300, 5), pins=True)
def coroutine(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per blocking call of an asyncio coroutine that returns at once.
    """

    async def body() -> None:
        pass

    return _trips(contender, contender.coroutine(body), now, calls)


@measure((60, 12, 1), DRIVERS, *AHEAD, calls=(300, 300, 5), pins=True)
def coroutine_sleep(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per blocking call of an asyncio coroutine that awaits asyncio.sleep(0).
    """

    async def body() -> None:
        await asyncio.sleep(0)

    return _trips(contender, contender.coroutine(body), now, calls)


@measure(
    (12, 4, 2), PLAIN, Bar("2.1.1", "2.1.1 / ours", 8.0, 12.0, **PEER), calls=(10_000, 10_000, 50)
)
def burst(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per call to submit a burst; its answers are waited for outside the clock.
    """
    if contender.submitting is None:
        return {"unsupported": "it cannot start a call without waiting for its answer"}
    submit = contender.submitting(no_op)
    contender.settle([submit()])
    handles: list[Any] = [None] * calls
    gc.collect()
    indices = range(calls)
    started = now()
    for index in indices:
        handles[index] = submit()
    seconds = now() - started
    contender.settle(handles)
    return {"seconds_per_call": seconds / calls}


THREADS = Bar("2.1.1", "ours / 2.1.1", 3.5, 4.0, at_most=False, bottom="crochet-2.1.1")


@measure((40, 12, 2), PLAIN, THREADS, callers=(64, 64, 4), calls=(20, 10, 3), pins=True)
def threads(contender: Contender, now: Clock, callers: int, calls: int) -> dict[str, Any]:
    """
    Blocking calls of a no-op per second, of many threads, from the first start to the last end.
    """
    call = contender.blocking(no_op)
    barrier = threading.Barrier(callers)
    spans: list[tuple[float, float]] = []

    def caller() -> None:
        call()
        barrier.wait(BOUND)
        started = now()
        for _ in itertools.repeat(None, calls):
            call()
        spans.append((started, now()))

    gc.collect()
    contender.together([caller] * callers)
    assert len(spans) == callers, f"{callers - len(spans)} of {callers} threads ended early"
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    return {"calls_per_second": callers * calls / seconds}


#: Ours on a kind of reactor, and whom it is to be ahead of: those on the same kind of loop. The one
#: that awaits is asyncio's own for every contender, in the worker's main thread.
AWAITED = {
    "crochet": ("asyncio", "uvloop"),
    "crochet-asyncio": ("asyncio",),
    "crochet-uvloop": ("uvloop",),
}
AWAITING = (*AWAITED, "asyncio", "uvloop")
AHEAD_AWAITED = [ahead_of(others, ours) for ours, others in AWAITED.items()]


@measure((60, 12, 1), AWAITING, *AHEAD_AWAITED, name="await", calls=(300, 300, 5), pins=True)
def one_by_one(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per await of a no-op in another thread's loop, one after the other.
    """
    start = contender.awaitable(no_op)

    async def timed() -> float:
        await start()
        gc.collect()
        started = now()
        for _ in itertools.repeat(None, calls):
            await start()
        return now() - started

    return {"seconds_per_call": asyncio.run(timed()) / calls}


@measure((60, 12, 1), AWAITING, *AHEAD_AWAITED, calls=(500, 500, 5), pins=True)
def await_gathered(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds per await of many that are gathered at once.
    """
    start = contender.awaitable(no_op)

    async def timed() -> float:
        await asyncio.gather(start())
        gc.collect()
        started = now()
        await asyncio.gather(*[start() for _ in range(calls)])
        return now() - started

    return {"seconds_per_call": asyncio.run(timed()) / calls}


@measure((30, 8, 1), AWAITING, Bar("seconds", "the longest", 0.020, unit="s"), calls=(500, 500, 5))
def stall(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    Seconds of the longest turn of a loop in which tasks await operations that all end at once.

    What the loop does first thing in each turn is look at the clock. So a turn in which all tasks
    start their operations counts, and one in which all get their answers.
    """
    start = contender.held(calls)

    async def one() -> None:
        await start()

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        longest, last = 0.0, now()

        def look() -> None:
            nonlocal longest, last
            longest = max(longest, now() - last)
            last = now()

        def turn() -> None:
            nonlocal handle
            look()
            handle = loop.call_soon(turn)

        gc.collect()
        last = now()
        handle = loop.call_soon(turn)
        await asyncio.gather(*[one() for _ in range(calls)])
        look()
        handle.cancel()
        return longest

    return {"seconds": asyncio.run(timed())}


@measure((1, 1, 1), PLAIN, Bar("wakeups", "at rest", 0, unit="wake-ups"), seconds=(10.0, 3.0, 0.1))
def idle(workers: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """
    Wake-ups of all threads of a process in *seconds* in which nobody asks it anything.
    """
    # What the last block left running (a thread on its way out, a collection) ends first.
    time.sleep(1.0)
    before = {key: worker.context_switches() for key, worker in workers.items()}
    time.sleep(seconds)
    after = {key: worker.context_switches() for key, worker in workers.items()}
    return {key: {"wakeups": after[key] - before[key]} for key in after if after[key] is not None}


@measure((75, 20, 1), PLAIN, calls=(300, 200, 10))
def anatomy(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    The parts of a round trip: there and back, and each side's processor time and times asleep.

    The body returns the clock, which all threads share: what passed before is the way there,
    what passed after is the way back. The loop's thread is asked for its own processor time
    and context switches through the contender itself, before and after.
    """
    call = contender.blocking(now)

    def usage() -> Any:
        return resource.getrusage(getattr(resource, "RUSAGE_THREAD", 0))

    def timed() -> dict[str, Any]:
        loop_usage = contender.blocking(usage)
        there, back = [], []
        gc.collect()
        loop_before, before = loop_usage(), usage()
        for _ in itertools.repeat(None, calls):
            left = now()
            arrived = call()
            returned = now()
            there.append(arrived - left)
            back.append(returned - arrived)
        after, loop_after = usage(), loop_usage()
        parts = {"there_seconds": median(there), "back_seconds": median(back)}
        for side, first, last in (("caller", before, after), ("loop", loop_before, loop_after)):
            seconds = last.ru_utime + last.ru_stime - first.ru_utime - first.ru_stime
            parts[f"{side}_cpu_seconds"] = seconds / calls
            parts[f"{side}_switches"] = (last.ru_nvcsw - first.ru_nvcsw) / calls
        return parts

    return contender.apart(timed)
