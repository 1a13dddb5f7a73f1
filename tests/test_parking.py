"""
Holding the reactor thread still while a thread forks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from crochet import _parking
from crochet._parking import Parking
from fakes import BOUND, Background, FakeReactor


@pytest.fixture
def parking() -> Parking:
    """
    A place where nobody stands.
    """
    return Parking()


class Calls:
    """
    Notes what the reactor thread is to call, for the test to have it called.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, function: Callable[..., object], /, *args: object) -> None:
        self.calls.append((function, *args))

    def make_next(self) -> None:
        """
        Make the call that has been waiting for longest.
        """
        function, *args = self.calls.pop(0)
        function(*args)


def test_holds_the_reactor_thread_from_before_to_after(parking: Parking) -> None:
    """
    1. This thread is about to fork. 2. The reactor thread comes, and stays. 3. The fork is over.
    4. The reactor thread goes on.
    """
    reactor = FakeReactor()
    running = Background(reactor.run, False)
    seen: list[str] = []
    has_gone_on = threading.Event()
    parking.before(reactor.callFromThread)
    reactor.callFromThread(seen.append, "gone on")
    reactor.callFromThread(has_gone_on.set)
    assert seen == []
    parking.after()
    assert has_gone_on.wait(BOUND)
    reactor.callFromThread(reactor.stop)
    running.outcome()


def test_does_not_wait_for_one_that_does_not_come(
    parking: Parking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It may be blocked by what this thread holds. When it comes, it does not stay.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
    calls = Calls()
    parking.before(calls)
    parking.after()
    calls.make_next()


def test_does_not_hold_it_for_ever(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Should nobody say that the fork is over.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
    monkeypatch.setattr(_parking, "_STAY", 0.01)
    calls = Calls()
    parking.before(calls)
    calls.make_next()


def test_lets_several_threads_fork_at_once(
    parking: Parking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The reactor thread stays for each of them, one after the other.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
    calls = Calls()
    parking.before(calls)
    Background(parking.before, calls).outcome()
    parking.after()
    calls.make_next()  # it does not stay, for this fork is over
    _, entrance, way_out = calls.calls[0]
    assert entrance.locked()
    assert way_out.locked()


def test_of_a_fork_within_a_fork(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    1. This thread is about to fork. 2. A signal handler interrupts that and forks. 3. It is done.
    4. So is this thread.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
    calls = Calls()
    parking.before(calls)
    parking.before(calls)
    ways_out = [way_out for _, _, way_out in calls.calls]
    parking.after()
    assert [way_out.locked() for way_out in ways_out] == [True, False]
    parking.after()
    assert [way_out.locked() for way_out in ways_out] == [False, False]


def test_nothing_to_end(parking: Parking, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As after a fork before which there was no reactor thread, and in a child.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
    parking.after()
    parking.before(FakeReactor().callFromThread)
    parking.clear()
    parking.after()
