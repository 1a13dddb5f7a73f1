"""
The timed blocks in which an asyncio loop awaits what a loop in another thread does.

The awaiting loop is asyncio's own for every contender, in the worker's main thread.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Callable
from typing import Any

from benchmarks.blocks import CLOCKS, no_op
from benchmarks.contenders import Contender


def one_by_one(contender: Contender, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time *calls* awaits, one after the other.
    """
    start = contender.awaitable(no_op)
    now = CLOCKS[clock]

    async def timed() -> float:
        await start()
        gc.collect()
        started = now()
        for _ in itertools.repeat(None, calls):
            await start()
        return now() - started

    return {"seconds_per_call": asyncio.run(timed()) / calls}


def gathered(contender: Contender, calls: int, clock: str = "wall") -> dict[str, Any]:
    """
    Time *calls* awaits at once: all started, then gathered.
    """
    start = contender.awaitable(no_op)
    now = CLOCKS[clock]

    async def timed() -> float:
        await asyncio.gather(start())
        gc.collect()
        started = now()
        await asyncio.gather(*[start() for _ in range(calls)])
        return now() - started

    return {"seconds_per_call": asyncio.run(timed()) / calls}


def stall(contender: Contender, calls: int) -> dict[str, Any]:
    """
    Time the longest turn of the loop while *calls* tasks await operations that all end at once.

    What the loop does first thing in each turn is look at the clock. So a turn in which all tasks
    start their operations counts, and one in which all get their answers.
    """
    start = contender.held(calls)
    now = time.perf_counter

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


BLOCKS: dict[str, Callable[..., dict[str, Any]]] = {
    "await": one_by_one,
    "await_gathered": gathered,
    "stall": stall,
}
