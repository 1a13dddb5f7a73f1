"""
What stashes have in common: numbers, times and bounds.
"""

from __future__ import annotations

import math
from typing import Literal

from .. import _errors
from .._threads.timeouts import Seconds, seconds

# How many results are kept if a stash is told nothing else.
MAX_RESULTS = 100_000

# Seconds from which on a ttl is as good as none: 300 years. Redis cannot count much further.
_FOR_EVER = 1e10

# What can have become of a result. A lost one has no answer, and no process that could give one.
State = Literal["pending", "done", "failed", "cancelled", "lost"]


def number_of(result_id: object) -> int:
    """
    Return the number that a program means; -1, which no result has, for what is none.

    As an int, or in decimal digits, as it comes out of a form or of JavaScript's JSON.
    """
    if isinstance(result_id, int) and type(result_id) is not bool:  # True is equal to one
        return int(result_id)
    # Of any class of text: templates and forms have their own.
    if isinstance(result_id, str) and 0 < len(result_id) < 20 and result_id.isascii():
        return int(result_id) if result_id.isdigit() else -1
    return -1


def ttl_seconds(ttl: Seconds) -> float:
    """
    Return a ttl in seconds; ``math.inf`` stands for no end.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN or not above zero.
    """
    if type(ttl) is float and 0 < ttl < _FOR_EVER:  # as nearly always, and stash() is to be quick
        return ttl
    value = seconds(ttl, "a ttl")
    if value <= 0:
        raise _errors.ttl_not_positive(value)
    return value if value < _FOR_EVER else math.inf


def most_results(number: int) -> int:
    """
    Return how many results may be kept.

    Raises:
        ValueError: it is below one.
    """
    if number < 1:
        raise ValueError(
            f"max_results cannot be {number}: nothing could be stashed. Give 1 or more"
        )
    return number
