"""
Streams whose bodies tell that they have ended, and in which thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator

from _verdict import PATIENCE, Hang, check
from twisted.internet.defer import Deferred

import crochet

# The threads in which a body has ended.
ends: list[int] = []


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


def check_ended(number: int) -> None:
    """
    Check that so many bodies have ended, or do so soon, each in the reactor thread.
    """
    deadline = time.monotonic() + PATIENCE
    while len(ends) < number:
        if time.monotonic() > deadline:
            raise Hang(f"{len(ends)} of {number} bodies have ended")
        time.sleep(0.001)
    check(len(ends) == number, f"{len(ends)} endings of {number} bodies")
    wrong = set(ends) - {crochet.status().ident}
    check(not wrong, f"finally ran in another thread than the reactor's: {wrong}")
