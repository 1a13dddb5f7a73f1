"""
Timed blocks: items that an async generator in the loop's thread yields, for a blocking loop.
"""

from __future__ import annotations

import gc
from collections import deque
from typing import Any

from benchmarks.contenders import Contender
from benchmarks.figures import Bar
from benchmarks.hand_overs import Clock
from benchmarks.registry import measure

#: Who offers that, or has the means for it; and two threads with queues between them.
ITERATING = ("asyncio", "anyio", "synchronicity")
WHO = ("crochet", "crochet-asyncio", *ITERATING, "queues")


def _items(contender: Contender, now: Clock, items: int, ahead: int) -> dict[str, Any]:
    deque(contender.stream(3, ahead), 0)
    gc.collect()
    stream = contender.stream(items, ahead)
    started = now()
    taken = sum(1 for _ in stream)
    seconds = now() - started
    assert taken == items
    return {"seconds_per_item": seconds / items}


@measure(
    (60, 12, 1),
    WHO,
    Bar("floor", "ours / a ping-pong of two threads", 2.5, bottom="queues"),
    Bar(
        "others", "{top} / ours (the nearest)", 2.5, at_most=False, top=ITERATING, bottom="crochet"
    ),
    items=(500, 300, 5),
    pins=True,
)
def stream(contender: Contender, now: Clock, items: int) -> dict[str, Any]:
    """
    Seconds per item of an async generator that is asked for each item.
    """
    return _items(contender, now, items, 0)


@measure(
    (40, 12, 1),
    (*WHO, "culsans"),
    Bar("floor", "ours / two threads and a queue.Queue(64)", 1.5, bottom="queues"),
    Bar("culsans", "ours / culsans", 1.0, bottom="culsans"),
    Bar(
        "synchronicity",
        "synchronicity / ours",
        25.0,
        at_most=False,
        top=("synchronicity",),
        bottom="crochet",
    ),
    items=(20_000, 10_000, 100),
    pins=True,
)
def stream_ahead(contender: Contender, now: Clock, items: int) -> dict[str, Any]:
    """
    Seconds per item of an async generator that may be 64 items ahead, where that can be told.
    """
    return _items(contender, now, items, 64)
