"""
Timeouts, as callers give them and as raw locks take them.
"""

from __future__ import annotations

import _thread
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from crochet._threads import timeouts as _timeouts
from crochet._threads.timeouts import LONGEST, acquire_until, seconds
from support.stepping import FakeClock, FakeLock


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


def test_a_free_lock_is_acquired_at_once() -> None:
    """
    Whatever the limit.
    """
    for end in (-1.0, 0.0, 1.0, math.inf):
        assert acquire_until(FakeLock(), end)  # type: ignore[arg-type]


@pytest.mark.parametrize(("limit", "timeout"), [(-1.0, 0.0), (0.0, 0.0), (1.5, 1.5)])
def test_a_wait_ends_with_its_limit(
    limit: float, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One that is past only looks: a raw lock takes -1 for no limit.
    """
    clock = FakeClock()
    clock.install(monkeypatch)
    lock = FakeLock(clock=clock)
    lock.acquire()
    assert not acquire_until(lock, limit)  # type: ignore[arg-type]
    assert lock.waits == [timeout]


def test_a_lock_that_is_released_meanwhile_is_acquired() -> None:
    """
    Within one wait.
    """
    lock = FakeLock(lambda timeout: lock.release())
    lock.acquire()
    assert acquire_until(lock, math.inf)  # type: ignore[arg-type]
    assert lock.locked()


class TestLongWaits:
    """
    A wait that is longer than any that a raw lock takes is made of several.
    """

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
        """
        A monotonic clock, and waits of ten seconds at most.
        """
        clock = FakeClock()
        clock.install(monkeypatch)
        monkeypatch.setattr(_timeouts, "LONGEST", 10.0)
        return clock

    def _lock(self, clock: FakeClock, released_at: float = math.inf) -> FakeLock:
        def wait(timeout: float) -> None:
            if clock.now + timeout >= released_at:
                clock.now = released_at
                lock.release()

        lock = FakeLock(wait, clock)
        lock.acquire()
        return lock

    def test_end_with_the_limit(self, clock: FakeClock) -> None:
        """
        The last one is what is left.
        """
        lock = self._lock(clock)
        assert not acquire_until(lock, 25.0)  # type: ignore[arg-type]
        assert lock.waits == [10.0, 10.0, 5.0]

    def test_end_when_the_time_is_up_already(self, clock: FakeClock) -> None:
        """
        A wait that took longer than it was told to is the last.
        """

        def oversleep(timeout: float) -> None:
            clock.now += 100

        lock = FakeLock(oversleep)
        lock.acquire()
        assert not acquire_until(lock, 25.0)  # type: ignore[arg-type]
        assert lock.waits == [10.0]

    @pytest.mark.parametrize("limit", [25.0, math.inf])
    def test_end_with_the_release(self, clock: FakeClock, limit: float) -> None:
        """
        In whichever of the waits that comes.
        """
        lock = self._lock(clock, released_at=20.0)
        assert acquire_until(lock, limit)  # type: ignore[arg-type]
        assert lock.waits == [10.0, 10.0]


def test_a_real_lock_takes_the_longest_wait() -> None:
    """
    Without an OverflowError.
    """
    lock = _thread.allocate_lock()
    assert lock.acquire(True, LONGEST)
