"""
Seconds, as a caller gives them.
"""

from __future__ import annotations

import math
from _thread import TIMEOUT_MAX
from typing import SupportsFloat, SupportsIndex

from . import clock

# What callers may give: any real number, or None for no limit.
Seconds = SupportsFloat | SupportsIndex | None

# The longest single wait, in seconds. A longer one is made of several, for a thread that
# is blocked in one does not see
#
# - a signal that came just before it fell asleep, after the interpreter's last look for one;
# - on Windows any signal;
# - an exception that another thread has set in it (PyThreadState_SetAsyncExc), as job queues do.
LONGEST = 0.1


class _Unsaid(float):
    """
    A default that can be told from the same number given.
    """


# Seconds of a stall that are logged unless setup() is told otherwise.
STALL_WARNING = _Unsaid(1.0)

# Seconds that the interpreter's exit is held up at most, likewise.
EXIT_PATIENCE = _Unsaid(5.0)

# Seconds that exit waits for what is stashed and pending, likewise.
DRAIN = _Unsaid(0.0)

# How many calls may wait for the reactor thread, likewise.
MAX_QUEUED = _Unsaid(math.inf)


def seconds(timeout: Seconds, what: str = "a timeout") -> float:
    """
    Return a timeout as a float; ``math.inf`` stands for no limit. It may be negative.

    Args:
        timeout: as it was given.
        what: it is, for the texts of errors.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN.
    """
    if timeout is None:
        return math.inf
    limit = _float(timeout, f"{what} is a number of seconds, or None for no limit")
    if math.isnan(limit):
        raise ValueError(f"{what} of NaN seconds never ends and never starts; give a number")
    return limit


def _float(number: SupportsFloat | SupportsIndex, wanted: str) -> float:
    if not hasattr(number, "__float__") and not hasattr(number, "__index__"):
        raise TypeError(f"{wanted}, not {_described(number)}")
    try:
        return float(number)
    except OverflowError:  # an int beyond any float: its sign is all that matters
        return math.inf if number > 0 else -math.inf  # type: ignore[operator]


def _described(value: object) -> str:
    if callable(value):
        return f"the function {getattr(value, '__name__', value)!r}"
    return f"{type(value).__name__} {value!r}"


def stall_seconds(limit: Seconds) -> float:
    """
    Return after how many seconds a stall is to be logged; ``math.inf`` stands for never.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN, or not above zero.
    """
    value = seconds(limit, "stall_warning")
    if value <= 0:
        raise ValueError(
            f"stall_warning cannot be {value:g} s: give a number of seconds above zero, or None "
            "for no warnings"
        )
    return value


def exit_seconds(limit: Seconds, name: str = "exit_patience") -> float:
    """
    Return how many seconds exit may take; ``math.inf`` stands for as long as it takes.

    Args:
        limit: as it was given.
        name: of the argument.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN or negative.
    """
    value = seconds(limit, name)
    if value < 0:
        raise ValueError(
            f"{name} cannot be {value:g} s: give a number of seconds from 0 up, or None to "
            "have exit take as long as it takes"
        )
    return value


def most_queued(number: float | None) -> int | None:
    """
    Return how many calls may wait for the reactor thread; None is for any number.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN, below one, or not a whole number.
    """
    if number is None:
        return None
    value = _float(number, "max_queued is a number of calls, or None for any number")
    if value == math.inf:
        return None
    if not value >= 1 or not value.is_integer():
        problem = "that is not a whole number" if value > 1 else "no call could be made"
        raise ValueError(
            f"max_queued cannot be {value:g}: {problem}. Give the number of calls "
            "that may wait for the reactor thread, or None for any number"
        )
    return int(value)


def left_until(end: float) -> float:
    """
    Return the seconds until a moment of ``time.monotonic()``, or infinity, as a lock takes them.
    """
    return min(max(end - clock.monotonic(), 0.0), TIMEOUT_MAX)
