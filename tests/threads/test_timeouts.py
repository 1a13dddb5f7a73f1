"""
Timeouts, as callers give them and as raw locks take them.
"""

from __future__ import annotations

import math
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from crochet._threads.timeouts import left_until, seconds
from support.stepping import FakeClock


class Index:
    """
    An integer of the program's own.
    """

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (None, math.inf),
        (math.inf, math.inf),
        (0, 0.0),
        (-0.0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        (-1, -1.0),
        (True, 1.0),
        (Fraction(1, 4), 0.25),
        (Decimal("0.5"), 0.5),
        (Index(), 3.0),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_any_real_number_is_a_timeout(given: Any, taken: float) -> None:
    """
    None stands for no limit, and so does what is beyond any float.
    """
    limit = seconds(given)
    assert type(limit) is float
    assert limit == taken


@pytest.mark.parametrize(
    ("given", "text"),
    [("5", "not str '5'"), ([], r"not list \[\]"), (1j, "not complex"), (len, "function 'len'")],
)
def test_anything_else_is_refused(given: Any, text: str) -> None:
    """
    With what it was.
    """
    with pytest.raises(TypeError, match=f"number of seconds, or None.*{text}"):
        seconds(given)


@pytest.mark.parametrize("given", [math.nan, Decimal("nan")])
def test_nan_is_refused(given: Any) -> None:
    """
    It compares with nothing, so no wait would end by it.
    """
    with pytest.raises(ValueError, match="NaN"):
        seconds(given)


@pytest.mark.parametrize(
    ("end", "left"), [(-1.0, 0.0), (0.0, 0.0), (1.5, 1.5), (math.inf, threading.TIMEOUT_MAX)]
)
def test_what_is_left_is_what_a_lock_takes(
    end: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of a moment that is past nothing: a raw lock takes -1 for no limit, and infinity not at all.
    """
    FakeClock().install(monkeypatch)
    assert left_until(end) == left
