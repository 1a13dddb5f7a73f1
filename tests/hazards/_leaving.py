"""
Things of the reactor thread's that are left in many ways, and have to end once in each.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

from _operations import check_alive
from _verdict import PATIENCE, Hang, check, refusal_of

import crochet

# The threads in which one of them has ended.
ends: list[int] = []


def check_ended(number: int) -> None:
    """
    Check that so many have ended, or do so soon, each in the reactor thread.
    """
    deadline = time.monotonic() + PATIENCE
    while len(ends) < number:
        if time.monotonic() > deadline:
            raise Hang(f"{len(ends)} of {number} have ended")
        time.sleep(0.001)
    check(len(ends) == number, f"{len(ends)} endings of {number}")
    wrong = set(ends) - {crochet.status().ident}
    check(not wrong, f"one ended in another thread than the reactor's: {wrong}")


def leave_in(ways: Mapping[Callable[[], object], type[BaseException] | None]) -> None:
    """
    Begin and leave one in each of these ways, and check that it has ended.

    Args:
        ways: functions, with the error that each has to raise, if it has to.
    """
    gc.disable()  # but for those that are meant
    for number, (way, error) in enumerate(ways.items(), 1):
        if error is None:
            way()
        else:
            refusal_of(way, error)
        gc.collect()
        check_ended(number)
    check_alive()
    left = [call.function for call in crochet.status().calls]
    check(not left, f"these are left: {left}")
