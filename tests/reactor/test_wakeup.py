"""
The fast way to wake the reactor.
"""

from __future__ import annotations

import asyncio
import functools
import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from crochet._reactor import wakeup as _wakeup
from crochet._reactor.asyncio_loop import run_in_thread
from crochet._reactor.wakeup import Wakeup, install_wakeup
from crochet._threads.handoff import Handoff
from crochet._threads.threads import start_thread
from support.process import FakeProcess, LoggedFailures
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import BOUND, Background

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no eventfd here")


@pytest.fixture(params=["epoll", "asyncio", "poll", "select"])
def any_reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = new_real_reactor(request.param)
    yield reactor
    close_reactor(reactor)


@pytest.fixture(params=["epoll", "asyncio"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run, of a kind whose wakeup has a descriptor of its own.
    """
    reactor = new_real_reactor(request.param)
    yield reactor
    close_reactor(reactor)


def _nothing(request: list[None]) -> None:
    """
    Do nothing but empty it.
    """
    request.clear()


def _relay() -> Handoff:
    """
    Return one that has nothing to do.
    """
    return Handoff((), lambda: None)


def _installed(reactor: Any, answer: Any = _nothing) -> Wakeup:
    """
    Return the wakeup that was installed.
    """
    wakeup = install_wakeup(reactor, answer, _relay())
    assert wakeup is not None
    return wakeup


def _check_that_it_is_closed(fd: int) -> None:
    """
    See that the descriptor is nobody's.
    """
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class TestWakeup:
    """
    What any thread can wake the reactor by.
    """

    def test_is_answered_in_the_reactor_thread(self, any_reactor: Any) -> None:
        """
        With each request, also one that came before the reactor ran.
        """
        reactor = any_reactor
        answers: list[tuple[list[None], int]] = []
        requests: list[list[None]] = [[None], [None], [None]]

        def answer(request: list[None]) -> None:
            answers.append((request, threading.get_ident()))
            request.clear()
            if len(answers) == len(requests):
                reactor.stop()
            else:
                waking.append(Background(lambda: wakeup.wake(requests[len(answers)])))

        waking: list[Background[object]] = []
        wakeup = _installed(reactor, answer)
        wakeup.wake(requests[0])
        reactor.run(False)
        for each in waking:
            each.outcome()
        assert [id(request) for request, _ in answers] == [id(each) for each in requests]
        assert {ident for _, ident in answers} == {threading.get_ident()}
        wakeup.close()

    def test_wakes_a_reactor_that_polls(self, any_reactor: Any) -> None:
        """
        And has nothing else to do.
        """
        reactor = any_reactor

        def answer(request: list[None]) -> None:
            request.clear()
            reactor.stop()

        wakeup = _installed(reactor, answer)
        reactor.callWhenRunning(
            reactor.callLater, 0, lambda: waking.append(Background(lambda: wakeup.wake([None])))
        )
        waking: list[Background[object]] = []
        reactor.run(False)
        waking[0].outcome()
        wakeup.close()

    def test_is_not_among_what_the_reactor_reads(self, any_reactor: Any) -> None:
        """
        Nor does a clean-reactor check take it away.
        """
        reactor = any_reactor
        before = reactor.getReaders()
        answers: list[object] = []

        def answer(request: list[None]) -> None:
            answers.append(request)
            request.clear()
            reactor.stop()

        wakeup = _installed(reactor, answer)
        assert reactor.getReaders() == before
        assert reactor.removeAll() == []
        wakeup.wake([None])
        reactor.run(False)
        assert answers == [[]]
        wakeup.close()

    def test_holds_no_context(self) -> None:
        """
        Of the code that has installed it: what is answered has nobody's.
        """
        reactor = new_real_reactor("asyncio")
        variable: ContextVar[str] = ContextVar("variable", default="nobody's")
        variable.set("the caller's")
        seen: list[str] = []

        def answer(request: list[None]) -> None:
            request.clear()
            seen.append(variable.get())
            reactor.stop()

        wakeup = _installed(reactor, answer)
        wakeup.wake([None])
        reactor.run(False)
        assert seen == ["nobody's"]
        wakeup.close()
        close_reactor(reactor)

    def test_may_be_called_although_nobody_wrote(self) -> None:
        """
        An event loop may be wrong; an error would be logged.
        """
        reactor = new_real_reactor("asyncio")
        loop = reactor._asyncioEventloop
        drained: list[Any] = []
        add_reader = loop.add_reader
        loop.add_reader = lambda fd, drain: drained.append(drain) or add_reader(fd, drain)
        wakeup = _installed(reactor)
        drained[0]()
        wakeup.close()
        close_reactor(reactor)

    def test_is_closed_without_a_trace(self, reactor: Any) -> None:
        """
        Whether the reactor has run, or it turned out that it was not to run. Once is enough.
        """
        wakeup = _installed(reactor)
        fd = wakeup._descriptor.fd
        wakeup.close()
        wakeup.close()
        _check_that_it_is_closed(fd)
        poller: Any = getattr(reactor, "_poller", None)
        if poller is not None:
            with pytest.raises(OSError):  # noqa: PT011 the system says which, in its own words
                poller.unregister(fd)

    def test_leaves_the_reactor_as_it_was(self, any_reactor: Any) -> None:
        """
        With whatever somebody else has put there before, or after.
        """
        reactor = any_reactor
        if hasattr(reactor, "_asyncioEventloop"):
            return  # nothing is put there
        _installed(reactor).close()
        assert "doIteration" not in vars(reactor)
        reactor.doIteration = own = reactor.doIteration
        _installed(reactor).close()
        assert reactor.doIteration is own
        wakeup = _installed(reactor)
        reactor.doIteration = later = functools.partial(reactor.doIteration)
        wakeup.close()
        assert reactor.doIteration is later

    def test_is_closed_after_the_poll(self, reactor: Any) -> None:
        """
        As by a program that ends its event loop itself.
        """
        wakeup = _installed(reactor)
        fd = wakeup._descriptor.fd
        (getattr(reactor, "_poller", None) or reactor._asyncioEventloop).close()
        wakeup.close()
        _check_that_it_is_closed(fd)

    def test_is_not_closed_under_a_thread_that_uses_it(self, reactor: Any) -> None:
        """
        Whose descriptor's number may be some other file's right after.
        """
        wakeup = _installed(reactor)
        fd = wakeup._descriptor.fd
        wake = wakeup.wake  # as the interpreter does for a thread that is about to call it
        closing = Background(wakeup.close)
        wake([None])
        os.fstat(fd)
        assert closing.thread.is_alive()
        del wake
        closing.outcome()
        _check_that_it_is_closed(fd)

    def test_is_closed_by_the_last_that_uses_it(
        self, reactor: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Should that take too long to be waited for.
        """
        monkeypatch.setattr(_wakeup, "_WAKING_TAKES", 0.01)
        wakeup = _installed(reactor)
        fd = wakeup._descriptor.fd
        wake = wakeup.wake
        wakeup.close()
        wake([None])
        del wake
        _check_that_it_is_closed(fd)

    def test_in_a_child_is_closed_at_once(self, reactor: Any) -> None:
        """
        The threads that were waking are the parent's. And once only: the number may be another's.
        """
        wakeup = _installed(reactor)
        fd = wakeup._descriptor.fd
        wake = wakeup.wake
        wakeup.after_fork_in_child()
        _check_that_it_is_closed(fd)
        with pytest.raises(AttributeError):
            wake([None])
        other = os.dup2(1, fd)
        del wake
        wakeup.after_fork_in_child()
        os.fstat(fd)
        os.close(other)
        wakeup.close()
        wakeup.after_fork_in_child()


class TestDraining:
    """
    When a request is taken out.
    """

    def test_of_one_that_an_exception_keeps_from_it(
        self, any_reactor: Any, logged: LoggedFailures
    ) -> None:
        """
        Thrown into the reactor thread before it has begun: the next turn answers it, unasked.
        """
        reactor = any_reactor
        errors = [KeyboardInterrupt("into the reactor thread")]
        answers: list[object] = []

        def answer(request: list[None]) -> None:
            if errors:
                raise errors.pop()
            answers.append(request)
            request.clear()
            reactor.stop()

        wakeup = _installed(reactor, answer)
        wakeup.wake([None])
        run_in_thread(reactor)
        asyncio.set_event_loop(None)
        assert len(answers) == 1
        assert [type(error) for error in logged.take()] == [KeyboardInterrupt]
        wakeup.close()

    @pytest.mark.parametrize("name", ["epoll", "poll", "select"])
    def test_within_a_turn_that_a_body_makes(self, name: str) -> None:
        """
        1. A body runs the reactor's loop itself. 2. Meanwhile another thread calls. 3. The body
        ends. The call is answered, and so are later ones.
        """
        reactor = new_real_reactor(name)
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        results: list[Any] = []

        def body() -> None:
            reactor.iterate(0)
            submitting = Background(lambda: results.append(process.run_in_reactor(int)()))
            submitting.outcome()

        for _ in range(3):
            process.wait_for(BOUND)(body)()
            assert results.pop().wait(BOUND) == 0
        process.exit()
        close_reactor(reactor)

    def test_of_another_in_the_meantime_is_for_the_next_turn(self) -> None:
        """
        However many a body makes.
        """
        pending: deque[list[None]] = deque([[None], [None]])
        answers: list[list[None]] = []

        def answer(request: list[None]) -> None:
            answers.append(request)
            request.clear()
            pending.append([None])

        _wakeup._drain(pending, answer)
        assert len(answers) == 2
        assert list(pending) == [[None], [None]]

    def test_within_itself(self) -> None:
        """
        What the inner one has taken out is not taken for what the outer one answers.
        """
        pending: deque[list[None]] = deque([[None]])
        answers: list[list[None]] = []

        def answer(request: list[None]) -> None:
            request.clear()
            answers.append(request)
            if len(answers) == 1:
                _wakeup._drain(pending, answer)
                pending.append([None])

        _wakeup._drain(pending, answer)
        assert list(pending) == [[None]]
        _wakeup._drain(pending, answer)
        assert not pending


class TestAbsence:
    """
    Where there is none.
    """

    def test_on_reactors_of_another_make(self) -> None:
        """
        Of which nothing is known.
        """
        assert install_wakeup(FakeReactor(), _nothing, _relay()) is None  # type: ignore[arg-type]
        assert install_wakeup(object(), _nothing, _relay()) is None  # type: ignore[arg-type]

    def test_for_lack_of_eventfd(self, reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Such as everywhere but on Linux: the reactor's own waker wakes it, or ``callFromThread()``.
        """
        monkeypatch.delattr(os, "eventfd")
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        assert process.wait_for(BOUND)(lambda: 7)() == 7
        process.exit()


def test_epoll_takes_no_notice_of_what_it_does_not_know() -> None:
    """
    Which is what a wakeup there rests on, and Twisted's own doing.
    """
    reactor = new_real_reactor("epoll")
    reading, writing = os.pipe()
    os.write(writing, b"wakes")
    reactor._poller.register(reading, select.EPOLLIN | select.EPOLLET)
    reactor.callWhenRunning(reactor.callLater, 0, reactor.callLater, 0, reactor.stop)
    reactor.run(False)
    assert os.read(reading, 8) == b"wakes"
    os.close(reading)
    os.close(writing)
    close_reactor(reactor)
