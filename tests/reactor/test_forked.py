"""
Reactors in a forked child.
"""

from __future__ import annotations

import os
import socket
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from crochet._reactor import forked as _forked
from crochet._reactor.forked import (
    InheritedReactor,
    make_own,
    release_in_child,
    release_signals_in_child,
    stop_inherited_loop,
)
from crochet._reactor.restart import make_runnable, release
from support.reactor import (
    FakeReactor,
    close_reactor,
    new_asyncio_reactor,
    new_real_reactor,
    run_once,
)
from support.stepping import BOUND, Background


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    What is done to a reactor.
    """
    done: list[str] = []
    for name in ("make_own", "make_runnable", "release_in_child"):
        monkeypatch.setattr(_forked, name, lambda *args, name=name: done.append(name))
    return done


def _inherit(monkeypatch: pytest.MonkeyPatch, reactor: Any) -> InheritedReactor:
    monkeypatch.setattr(_forked, "imported_reactor", lambda: reactor)
    inherited = InheritedReactor()
    inherited.find()
    return inherited


def test_of_a_reactor_that_does_not_run(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    It is made the child's own before it runs, once.
    """
    reactor = FakeReactor()
    inherited = _inherit(monkeypatch, reactor)
    assert inherited.reactor is reactor
    for _ in range(2):
        inherited.make_runnable(reactor, None)
    assert done == ["make_own", "make_runnable", "make_runnable"]
    assert inherited.reactor is None


def test_of_another_reactor_than_is_run(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    It stays the parent's.
    """
    _inherit(monkeypatch, FakeReactor()).make_runnable(FakeReactor(), None)
    assert done == ["make_runnable"]


def test_of_none(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    None is imported; or it runs, and is this process's.
    """
    running = FakeReactor()
    running.running = True
    for reactor in (None, running):
        inherited = _inherit(monkeypatch, reactor)
        assert inherited.reactor is None
        inherited.release()
    assert done == []


def test_of_what_is_half_done(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    What is shared is closed.
    """
    _inherit(monkeypatch, FakeReactor()).release()
    assert done == ["release_in_child"]


class TestRelease:
    """
    Of what a reactor keeps open, which is the parent's, too.
    """

    @pytest.mark.parametrize("make", [new_real_reactor, new_asyncio_reactor])
    def test_in_a_child_takes_nothing_from_the_parent(self, make: Any) -> None:
        """
        Whose reactor is not unregistered from: the two share one poller.
        """
        if not hasattr(os, "fork"):
            pytest.skip("there are no forks here")
        reactor = make()
        seen: list[int] = []

        def fork() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                try:
                    release_in_child(reactor)
                    make_runnable(reactor)
                    run_once(reactor)
                    os._exit(7)
                finally:
                    os._exit(1)
            seen.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            waking = Background(reactor.callFromThread, reactor.stop)
            reactor.callLater(BOUND, reactor.crash)
            waking.outcome()

        reactor.callWhenRunning(fork)
        reactor.run(False)
        assert seen == [7]
        for call in reactor.getDelayedCalls():
            call.cancel()
        release(reactor)

    def test_in_a_child_leaves_a_loop_that_cannot_be_gutted(self) -> None:
        """
        Such as uvloop's: it is kept, for a garbage collection would close it.
        """
        stopped: list[None] = []
        loop = SimpleNamespace(
            is_closed=lambda: False, close=pytest.fail, stop=lambda: stopped.append(None)
        )
        reactor = SimpleNamespace(running=True, waker=None, _asyncioEventloop=loop)
        release_in_child(reactor)
        assert stopped  # for a clone of the thread that runs it
        assert reactor._asyncioEventloop is None
        assert not reactor.running
        assert _forked._not_to_be_closed.pop() is loop

    @pytest.mark.parametrize("step", ["_close_self_pipe", "close", "nothing"])
    def test_in_a_child_of_a_parent_that_was_closing_the_loop(self, step: str) -> None:
        """
        In another thread, at whatever step: shutdown() does. What is open still is closed.
        """
        reactor = new_asyncio_reactor()
        run_once(reactor)
        loop = reactor._asyncioEventloop
        getattr(loop, step, int)()
        release_in_child(reactor)
        assert loop.is_closed()
        assert reactor._asyncioEventloop is None
        make_runnable(reactor)
        run_once(reactor)
        release(reactor)


class Reader:
    """
    Something to be read.
    """

    def __init__(self, fileno: Any) -> None:
        self.fileno = fileno

    def logPrefix(self) -> str:
        return "a reader"


class TestInAChild:
    """
    What a forked child does with the reactor that it has inherited. (test_fork.py forks.)
    """

    def test_one_that_has_never_run_gets_its_own_poller(self) -> None:
        """
        And keeps what it has been told to do.
        """
        reactor = new_real_reactor()
        try:
            waker = reactor.waker
            timer = reactor.callLater(1000, lambda: None)
            trigger = reactor.addSystemEventTrigger("before", "shutdown", lambda: None)
            make_own(reactor)
            assert reactor.waker is not waker
            assert timer in reactor.getDelayedCalls()
            reactor.removeSystemEventTrigger(trigger)
            timer.cancel()
        finally:
            close_reactor(reactor)

    def test_one_that_is_to_read_something_is_left_alone(self) -> None:
        """
        As is one that runs.
        """
        reactor = new_real_reactor()
        one, other = socket.socketpair()
        try:
            waker = reactor.waker
            reader = Reader(one.fileno)
            reactor.addReader(reader)
            make_own(reactor)
            assert reactor.waker is waker
            reactor.removeReader(reader)
            reactor.running = True
            make_own(reactor)
            assert reactor.waker is waker
            reactor.running = False
        finally:
            one.close()
            other.close()
            close_reactor(reactor)

    def test_its_sigchld_wakes_nobody(self) -> None:
        """
        The pipe is the parent's, too.
        """
        told: list[str] = []
        waker = SimpleNamespace(
            uninstall=lambda: told.append("uninstalled"),
            connectionLost=lambda reason: told.append("closed"),
        )
        parts = [SimpleNamespace(_childWaker=waker), SimpleNamespace()]
        reactor = SimpleNamespace(_signals=SimpleNamespace(_signalHandlings=parts))
        release_signals_in_child(reactor)
        assert told == ["uninstalled", "closed"]
        release_signals_in_child(reactor)
        assert told == ["uninstalled", "closed"]

    def test_a_clone_of_the_reactor_thread_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        When it comes back to the loop. Another thread of the child may run that.
        """

        class Ended(Exception):
            pass

        def end(status: int) -> None:
            raise Ended(status)

        class Reactor:
            def __init__(self) -> None:
                self.threadCallQueue = [1]
                self.iterated: list[object] = []

            def doIteration(self, delay: float | None) -> None:
                self.iterated.append(delay)

        monkeypatch.setattr(os, "_exit", end)
        reactor = Reactor()
        stop_inherited_loop(reactor)
        assert reactor.threadCallQueue == []
        with pytest.raises(Ended, match="0"):
            reactor.doIteration(0.0)
        Background(reactor.doIteration, 1.0).outcome()
        assert reactor.iterated == [1.0]
