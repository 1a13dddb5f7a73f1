"""
What fixtures are: each hands on to the check of its test.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail

from crochet.testing import CrochetReactor
from crochet.testing._body import run_body
from crochet.testing._clock import ClockedWaiter, CrochetClock, clocked
from crochet.testing._leaks import LeakCheck
from support.process import FakeProcess, LoggedFailures


@pytest.mark.parametrize("kind", [CrochetReactor, CrochetClock])
def test_takes_errors_and_allows_leaks(
    kind: type[CrochetReactor | CrochetClock], process: FakeProcess, logged: LoggedFailures
) -> None:
    """
    Errors that were taken are not found, nor what is allowed; there is no kind but those.
    """
    clock = CrochetClock(LeakCheck(process.bridge, lambda: None))
    check = LeakCheck(process.bridge, lambda: clock)
    check.begin()
    fixture = kind(check)
    fail(ValueError("lost"))
    assert [str(error) for error in fixture.logged_errors()] == ["lost"]
    assert len(logged.take()) == 1
    clock.callLater(3.0, print)
    with pytest.raises(ValueError, match="no kind of leak called 'tea'"):
        fixture.allow_leaks("tea")
    fixture.allow_leaks("delayed_calls")
    assert check.find_and_clear() == []


def test_a_clock_is_cleared(process: FakeProcess) -> None:
    """
    In this thread, for it has no other.
    """
    clock = CrochetClock(LeakCheck(process.bridge, lambda: None))
    check = LeakCheck(process.bridge, lambda: clock)
    check.begin()
    call = clock.callLater(3.0, print)
    assert check.find_and_clear() == ["a delayed call of print(), due in 3.0 s"]
    assert not call.active()


def test_no_time_passes_at_a_waiter_that_was_released(process: FakeProcess) -> None:
    """
    Whatever is scheduled.
    """
    clock = CrochetClock(LeakCheck(process.bridge, lambda: None))
    clock.callLater(1.0, print)
    clock.advance_until(lambda: True, 3.0)
    waiter = ClockedWaiter(clock)
    waiter.put(None)
    assert waiter.wait(3.0) is None
    assert clock.seconds() == 0.0


def test_a_body_that_has_not_been_called_is_said_so(process: FakeProcess) -> None:
    """
    Or has not come back; nobody can tell from outside.
    """
    with clocked(process.loop, LeakCheck(process.bridge, lambda: None)):
        queued: list[object] = []
        process.bridge.use_wakeup(queued.append)
        text = run_body(process.loop, "test_body", Deferred, {}, 3.0)
        assert text is not None
        assert "It has not come back from its call, or has not been called yet" in text
