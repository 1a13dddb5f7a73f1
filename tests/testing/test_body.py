"""
A test's body, in the reactor thread.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from crochet.testing import _body
from crochet.testing._body import run_body, stacks
from crochet.testing._clock import clocked
from crochet.testing._leaks import LeakCheck
from support.process import FakeProcess
from support.stepping import BOUND, Background

# From before the first test that uses it: what it starts is no test's.
pytestmark = pytest.mark.usefixtures("running")


def test_is_run_with_its_arguments(running: FakeProcess) -> None:
    """
    In the reactor thread.
    """
    seen: list[Any] = []

    async def body(number: int) -> None:
        seen.append((number, threading.current_thread().name))

    assert run_body(running.loop, "test_body", body, {"number": 3}, BOUND) is None
    assert seen == [(3, "crochet-reactor")]


@pytest.mark.parametrize("error", [ValueError, TimeoutError, pytest.skip.Exception])
def test_raises_what_it_raises(running: FakeProcess, error: type[BaseException]) -> None:
    """
    Whatever it is.
    """

    async def body() -> None:
        raise error("mine")

    with pytest.raises(error, match="mine"):
        run_body(running.loop, "test_body", body, {}, BOUND)


def test_is_refused_a_value(running: FakeProcess) -> None:
    """
    It would be dropped unseen.
    """
    with pytest.raises(TypeError, match=r"test_body\(\) returned a int"):
        run_body(running.loop, "test_body", int, {}, BOUND)


def test_says_what_it_awaits_when_time_is_over() -> None:
    """
    And whether it could be cancelled; time is virtual here.
    """
    process = FakeProcess()
    with clocked(process.loop, LeakCheck(process.bridge, lambda: None)) as clock:
        text = run_body(process.loop, "test_body", Deferred, {}, 3.0)
        assert text is not None
        assert text.startswith(
            "test_body() has not ended in 3 s; its Deferred was cancelled.\n"
            "It awaits, the innermost last:\n"
            "  a Deferred\n"
        )
        assert clock.seconds() == 3.0
        stubborn: Deferred[None] = Deferred(lambda deferred: deferred.callback(None))
        stubborn.addCallback(lambda _: late)
        late: Deferred[None] = Deferred()
        text = run_body(process.loop, "test_body", lambda: stubborn, {}, 3.0)
        assert text is not None
        assert "it was told to cancel but has not ended yet" in text
        assert clock.seconds() == 7.0
        late.callback(None)


def test_is_looked_at_before_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Afterwards threads are elsewhere.
    """
    process = FakeProcess()
    events: list[str] = []

    def look() -> str:
        events.append("looked at")
        return ""

    monkeypatch.setattr(_body, "stacks", look)
    with clocked(process.loop, LeakCheck(process.bridge, lambda: None)):
        slow: Deferred[None] = Deferred(lambda _: events.append("cancelled"))
        assert run_body(process.loop, "test_body", lambda: slow, {}, 3.0) is not None
    assert events == ["looked at", "cancelled"]


def test_may_wait_for_what_cannot_be_told() -> None:
    """
    A Deferred that has fired and is paused, say.
    """
    process = FakeProcess()
    with clocked(process.loop, LeakCheck(process.bridge, lambda: None)):
        paused: Deferred[None] = Deferred()
        paused.pause()
        text = run_body(process.loop, "test_body", lambda: paused, {}, 3.0)
        assert text is not None
        assert "It awaits" in text
        paused.addErrback(lambda failure: None)
        paused.unpause()


def test_is_cancelled_when_its_waiter_is_interrupted() -> None:
    """
    By a signal's exception.
    """
    process = FakeProcess()
    ends: list[Any] = []
    with clocked(process.loop, LeakCheck(process.bridge, lambda: None)) as clock:

        def interrupt() -> bool:
            raise KeyboardInterrupt

        operation: Deferred[None] = Deferred()
        operation.addErrback(ends.append)
        once = [interrupt]
        advance_until = clock.advance_until

        def wait(is_over: Any, limit: float) -> None:
            if once:
                once.pop()()
            advance_until(is_over, limit)

        clock.advance_until = wait  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            run_body(process.loop, "test_body", lambda: operation, {}, None)
    assert len(ends) == 1


def test_stacks_name_every_other_thread(running: FakeProcess) -> None:
    """
    The reactor's first. But for those of ours that say nothing of the test.
    """
    gate = threading.Event()
    watch = threading.Thread(target=gate.wait, args=(BOUND,), name="crochet-watch")
    watch.start()
    other = Background(gate.wait, BOUND)
    text = stacks()
    gate.set()
    other.outcome()
    watch.join(BOUND)
    assert text.startswith("The thread crochet-reactor is here:\n")
    assert "The thread test's background is here:\n" in text
    assert "test_stacks_name_every_other_thread" not in text
    assert "crochet-watch" not in text
