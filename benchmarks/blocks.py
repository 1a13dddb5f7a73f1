"""
The timed blocks: what a worker does when the conductor asks for one.

Each is a function of the contender and of a few numbers and returns what is to be reported.
All take care of the same things: garbage of earlier blocks is collected before the clock
starts, the loop around the call is the same for everyone, and the wait for answers that are
not part of the figure stays outside the timed part.
"""

from __future__ import annotations

import asyncio
import cProfile
import functools
import gc
import io
import itertools
import pstats
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import BOUND, Contender

#: The clocks by which a block can be timed. With all threads on one processor, one of them is
#: always running, so both agree on a quiet machine; on a busy one, the second leaves out the
#: others' turns.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def no_op() -> None:
    """
    Do nothing: what remains is the cost of getting here and back.
    """


def round_trip(contender: Contender, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time *calls* calls, one after the other, from one thread.
    """
    return _trips(contender, contender.blocking(no_op), calls, clock)


def coroutine(contender: Contender, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time such calls of a coroutine function that returns at once.
    """

    async def body() -> None:
        pass

    return _trips(contender, contender.coroutine(body), calls, clock)


def coroutine_sleep(contender: Contender, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time such calls of one that lets its event loop turn once.
    """

    async def body() -> None:
        await asyncio.sleep(0)

    return _trips(contender, contender.coroutine(body), calls, clock)


def _trips(contender: Contender, call: Callable[[], Any], calls: int, clock: str) -> dict[str, Any]:
    now = CLOCKS[clock]

    def timed() -> float:
        call()
        gc.collect()
        repetitions = itertools.repeat(None, calls)
        started = now()
        for _ in repetitions:
            call()
        return now() - started

    return {"seconds_per_call": contender.apart(timed) / calls}


def burst(contender: Contender, calls: int) -> dict[str, Any]:
    """
    Time the submission of *calls* calls; wait for their answers outside the clock.
    """
    submit = contender.submitting(no_op)
    if submit is None:
        return {"unsupported": "it cannot start a call without waiting for its answer"}
    contender.settle([submit()])
    handles: list[Any] = [None] * calls
    gc.collect()
    indices = range(calls)
    started = time.perf_counter()
    for index in indices:
        handles[index] = submit()
    submitted = time.perf_counter()
    contender.settle(handles)
    settled = time.perf_counter()
    return {
        "seconds_per_call": (submitted - started) / calls,
        "settled_seconds_per_call": (settled - started) / calls,
    }


def threads(contender: Contender, callers: int, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time *callers* threads that each make *calls* calls, from the first start to the last end.
    """
    call = contender.blocking(no_op)
    now = CLOCKS[clock]
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
    if len(spans) != callers:
        raise RuntimeError(f"{callers - len(spans)} of {callers} threads ended early")
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    return {"calls_per_second": callers * calls / seconds}


def anatomy(contender: Contender, calls: int) -> dict[str, Any]:
    """
    Part a round trip into its way there, its way back, and each side's processor time.

    The body returns the clock, which all threads share: what passed before is the way there,
    what passed after is the way back. The loop's thread is asked for its own processor time
    and context switches through the contender itself, before and after.
    """
    clock = time.perf_counter
    call = contender.blocking(clock)
    usage = functools.partial(resource.getrusage, getattr(resource, "RUSAGE_THREAD", 0))
    loop_usage = contender.blocking(usage)

    def timed() -> dict[str, Any]:
        there = []
        back = []
        gc.collect()
        loop_before, before = loop_usage(), usage()
        for _ in itertools.repeat(None, calls):
            left = clock()
            arrived = call()
            returned = clock()
            there.append(arrived - left)
            back.append(returned - arrived)
        after, loop_after = usage(), loop_usage()
        there.sort()
        back.sort()
        return {
            "there_seconds": there[calls // 2],
            "back_seconds": back[calls // 2],
            "caller_cpu_seconds": _cpu(before, after) / calls,
            "loop_cpu_seconds": _cpu(loop_before, loop_after) / calls,
            "caller_switches": (after.ru_nvcsw - before.ru_nvcsw) / calls,
            "loop_switches": (loop_after.ru_nvcsw - loop_before.ru_nvcsw) / calls,
        }

    result: dict[str, Any] = contender.apart(timed)
    return result


def _cpu(before: Any, after: Any) -> float:
    """
    Return the processor seconds, user and system, between two readings of rusage.
    """
    seconds: float = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds


def profile(contender: Contender, calls: int) -> dict[str, Any]:
    """
    Profile *calls* round trips with cProfile, the caller's side first, then the loop's.

    cProfile slows small Python functions more than built-in ones: read it for what is called
    and how often, and ``anatomy`` for how long it takes. From CPython 3.12 on cProfile sees
    all threads at once, so both tables then show both sides.
    """
    call = contender.blocking(no_op)

    def caller_side() -> str:
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in itertools.repeat(None, calls):
            call()
        profiler.disable()
        return _table(profiler)

    def loop_side() -> str:
        profiler = cProfile.Profile()
        contender.blocking(profiler.enable)()
        for _ in itertools.repeat(None, calls):
            call()
        contender.blocking(profiler.disable)()
        return _table(profiler)

    return {
        "caller": contender.apart(caller_side),
        "loop": contender.apart(loop_side),
        "calls": calls,
        "sides_parted": sys.version_info < (3, 12),
    }


def _table(profiler: cProfile.Profile) -> str:
    """
    Return cProfile's table of the 25 costliest functions, without folders in its paths.
    """
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    stats.strip_dirs().sort_stats("tottime").print_stats(25)
    return text.getvalue()


BLOCKS: dict[str, Callable[..., dict[str, Any]]] = {
    "round_trip": round_trip,
    "coroutine": coroutine,
    "coroutine_sleep": coroutine_sleep,
    "burst": burst,
    "threads": threads,
    "anatomy": anatomy,
    "profile": profile,
}
