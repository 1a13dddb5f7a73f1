"""
Whether the reactor has something to do, told by the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crochet._reactor.idle import IdleProbe


class Poller:
    """
    What a reactor polls: calls a hook where a real one would wait.
    """

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = list
        self.polls: list[tuple[Any, ...]] = []

    def poll(self, *args: Any) -> str:
        self.polls.append(args)
        self.meanwhile()
        return "events"

    select = poll

    def register(self, fd: int) -> str:
        return f"registered {fd}"


class Polled:
    """
    A reactor that polls such a poller: its own, or that of asyncio's loop.
    """

    def __init__(self, kind: str) -> None:
        self.poller = Poller()
        self.kind = kind
        if kind == "asyncio":
            self._asyncioEventloop = self
            self._selector = self.poller
        elif kind == "epoll":
            self._poller = self.poller

    def poll(self, timeout: float) -> object:
        """
        Do what the reactor does each turn.
        """
        if self.kind == "asyncio":
            return self._selector.select(timeout)
        return self._poller.poll(timeout)


@pytest.fixture(params=["epoll", "asyncio"])
def reactor(request: pytest.FixtureRequest) -> Polled:
    """
    A reactor of one kind and the other.
    """
    return Polled(request.param)


class Seen:
    """
    What the reactor has told.
    """

    def __init__(self, reactor: Any) -> None:
        self.now = 1.0
        self.quiet_when_told: list[bool] = []
        self.probe = IdleProbe(reactor, self._on_stir, lambda: self.now)

    def _on_stir(self) -> None:
        self.quiet_when_told.append(self.probe.is_quiet)


def test_is_quiet_while_the_reactor_waits(reactor: Polled) -> None:
    """
    1. It is asked. 2. It comes to wait for events. 3. There are some, and then it is told.
    """
    seen = Seen(reactor)
    during = []

    def meanwhile() -> None:
        during.append(seen.probe.is_quiet)
        seen.now = 5.0

    reactor.poller.meanwhile = meanwhile
    seen.probe.probe()
    assert not seen.probe.is_quiet
    assert not seen.probe.is_blind
    assert seen.probe.turned_at == 1.0
    assert reactor.poll(0.5) == "events"
    assert during == [True]
    assert seen.quiet_when_told == [False]
    assert seen.probe.turned_at == 5.0
    assert reactor.poller.polls == [(0.5,)]


def test_only_the_turn_that_was_asked_about(reactor: Polled) -> None:
    """
    To ask twice is to ask once; later turns are the reactor's own.
    """
    seen = Seen(reactor)
    seen.probe.probe()
    seen.probe.probe()
    for _ in range(3):
        reactor.poll(0.0)
    assert len(seen.quiet_when_told) == 1
    assert "select" not in vars(reactor.poller)
    assert getattr(reactor, "_poller", reactor.poller) is reactor.poller
    seen.probe.probe()
    reactor.poll(0.0)
    assert len(seen.quiet_when_told) == 2


def test_told_even_if_waiting_fails(reactor: Polled) -> None:
    """
    An interrupted system call is an event, too.
    """
    seen = Seen(reactor)

    def meanwhile() -> None:
        raise InterruptedError

    reactor.poller.meanwhile = meanwhile
    seen.probe.probe()
    with pytest.raises(InterruptedError):
        reactor.poll(0.5)
    assert seen.quiet_when_told == [False]
    assert not seen.probe.is_quiet


def test_poller_can_be_used_meanwhile() -> None:
    """
    By what the reactor does between being asked and waiting.
    """
    reactor = Polled("epoll")
    Seen(reactor).probe.probe()
    assert reactor._poller.register(3) == "registered 3"


def test_other_reactors_are_never_quiet() -> None:
    """
    They tell that they turn, and no more; and that this is so.
    """
    seen = Seen(Polled("select"))
    seen.probe.probe()
    assert seen.probe.turned_at == 1.0
    assert not seen.probe.is_quiet
    assert seen.probe.is_blind
