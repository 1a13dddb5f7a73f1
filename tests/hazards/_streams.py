"""
Streams whose bodies tell that they have ended, and in which thread.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from _leaving import ends
from _verdict import PATIENCE
from twisted.internet.defer import Deferred

import crochet


@crochet.iterate_in_reactor(timeout=PATIENCE)
async def numbers(number: int | None = None) -> AsyncIterator[int]:
    """
    Count up to a number, or for ever.
    """
    try:
        each = 0
        while number is None or each < number:
            yield each
            each += 1
    finally:
        ends.append(threading.get_ident())


@crochet.iterate_in_reactor(timeout=None)
async def stuck() -> AsyncIterator[int]:
    """
    Yield one item, then wait for ever.
    """
    try:
        yield 0
        await Deferred()
    finally:
        ends.append(threading.get_ident())
