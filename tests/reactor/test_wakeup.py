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

from crochet._reactor import wakeup as _bell
from crochet._reactor.asyncio_loop import run_in_thread
from crochet._reactor.wakeup import Bell, hang_up
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
    A reactor that has not run, of a kind whose bell has a descriptor of its own.
    """
    reactor = new_real_reactor(request.param)
    yield reactor
    close_reactor(reactor)


def _nothing(wakeup: list[None]) -> None:
    """
    Do nothing but to heed it.
    """
    wakeup.clear()


def _relay() -> Handoff:
    """
    Return one that has nothing to do.
    """
    return Handoff((), lambda: None)


def _hung_up(reactor: Any, answer: Any = _nothing) -> Bell:
    """
    Return the bell that the reactor has been given.
    """
    bell = hang_up(reactor, answer, _relay())
    assert bell is not None
    return bell


def _check_that_it_is_closed(fd: int) -> None:
    """
    See that the descriptor is nobody's.
    """
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class TestBell:
    """
    A descriptor that any thread can ring.
    """

    def test_is_answered_in_the_reactor_thread(self, any_reactor: Any) -> None:
        """
        With what it was rung with, also if it was rung before the reactor ran, and each time.
        """
        reactor = any_reactor
        answers: list[tuple[list[None], int]] = []
        rings: list[list[None]] = [[None], [None], [None]]

        def answer(wakeup: list[None]) -> None:
            answers.append((wakeup, threading.get_ident()))
            wakeup.clear()
            if len(answers) == len(rings):
                reactor.stop()
            else:
                ringing.append(Background(lambda: bell.ring(rings[len(answers)])))

        ringing: list[Background[object]] = []
        bell = _hung_up(reactor, answer)
        bell.ring(rings[0])
        reactor.run(False)
        for each in ringing:
            each.outcome()
        assert [id(wakeup) for wakeup, _ in answers] == [id(each) for each in rings]
        assert {ident for _, ident in answers} == {threading.get_ident()}
        bell.close()

    def test_wakes_a_reactor_that_polls(self, any_reactor: Any) -> None:
        """
        And has nothing else to do.
        """
        reactor = any_reactor

        def answer(wakeup: list[None]) -> None:
            wakeup.clear()
            reactor.stop()

        bell = _hung_up(reactor, answer)
        reactor.callWhenRunning(
            reactor.callLater, 0, lambda: ringing.append(Background(lambda: bell.ring([None])))
        )
        ringing: list[Background[object]] = []
        reactor.run(False)
        ringing[0].outcome()
        bell.close()

    def test_is_not_among_what_the_reactor_reads(self, any_reactor: Any) -> None:
        """
        Nor does a clean-reactor check take it away.
        """
        reactor = any_reactor
        before = reactor.getReaders()
        answers: list[object] = []

        def answer(wakeup: list[None]) -> None:
            answers.append(wakeup)
            wakeup.clear()
            reactor.stop()

        bell = _hung_up(reactor, answer)
        assert reactor.getReaders() == before
        assert reactor.removeAll() == []
        bell.ring([None])
        reactor.run(False)
        assert answers == [[]]
        bell.close()

    def test_holds_no_context(self) -> None:
        """
        Of whoever has hung it up: what is answered has that of nobody.
        """
        reactor = new_real_reactor("asyncio")
        variable: ContextVar[str] = ContextVar("variable", default="nobody's")
        variable.set("the caller's")
        seen: list[str] = []

        def answer(wakeup: list[None]) -> None:
            wakeup.clear()
            seen.append(variable.get())
            reactor.stop()

        bell = _hung_up(reactor, answer)
        bell.ring([None])
        reactor.run(False)
        assert seen == ["nobody's"]
        bell.close()
        close_reactor(reactor)

    def test_may_be_heeded_although_nobody_rang(self) -> None:
        """
        An event loop may be wrong; an error would be logged.
        """
        reactor = new_real_reactor("asyncio")
        loop = reactor._asyncioEventloop
        heeded: list[Any] = []
        add_reader = loop.add_reader
        loop.add_reader = lambda fd, heed: heeded.append(heed) or add_reader(fd, heed)
        bell = _hung_up(reactor)
        heeded[0]()
        bell.close()
        close_reactor(reactor)

    def test_is_closed_without_a_trace(self, reactor: Any) -> None:
        """
        Whether the reactor has run, or it turned out that it was not to run. Once is enough.
        """
        bell = _hung_up(reactor)
        fd = bell._descriptor.fd
        bell.close()
        bell.close()
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
        _hung_up(reactor).close()
        assert "doIteration" not in vars(reactor)
        reactor.doIteration = own = reactor.doIteration
        _hung_up(reactor).close()
        assert reactor.doIteration is own
        bell = _hung_up(reactor)
        reactor.doIteration = later = functools.partial(reactor.doIteration)
        bell.close()
        assert reactor.doIteration is later

    def test_is_closed_after_the_poll(self, reactor: Any) -> None:
        """
        As by a program that ends its event loop itself.
        """
        bell = _hung_up(reactor)
        fd = bell._descriptor.fd
        (getattr(reactor, "_poller", None) or reactor._asyncioEventloop).close()
        bell.close()
        _check_that_it_is_closed(fd)

    def test_is_not_closed_under_a_thread_that_rings(self, reactor: Any) -> None:
        """
        Whose descriptor's number may be some other file's right after.
        """
        bell = _hung_up(reactor)
        fd = bell._descriptor.fd
        ring = bell.ring  # as the interpreter does for a thread that is about to call it
        closing = Background(bell.close)
        ring([None])
        os.fstat(fd)
        assert closing.thread.is_alive()
        del ring
        closing.outcome()
        _check_that_it_is_closed(fd)

    def test_is_closed_by_who_rings_last(
        self, reactor: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Should that take too long to be waited for.
        """
        monkeypatch.setattr(_bell, "_RINGING_TAKES", 0.01)
        bell = _hung_up(reactor)
        fd = bell._descriptor.fd
        ring = bell.ring
        bell.close()
        ring([None])
        del ring
        _check_that_it_is_closed(fd)

    def test_in_a_child_is_closed_at_once(self, reactor: Any) -> None:
        """
        The threads that were ringing are the parent's. And once only: the number may be another's.
        """
        bell = _hung_up(reactor)
        fd = bell._descriptor.fd
        ring = bell.ring
        bell.forget_after_fork()
        _check_that_it_is_closed(fd)
        with pytest.raises(AttributeError):
            ring([None])
        other = os.dup2(1, fd)
        del ring
        bell.forget_after_fork()
        os.fstat(fd)
        os.close(other)
        bell.close()
        bell.forget_after_fork()


class TestHeeding:
    """
    When a ring is taken for heeded. Told at the head of _reactor/wakeup.py.
    """

    def test_of_one_that_an_exception_keeps_from_it(
        self, any_reactor: Any, logged: LoggedFailures
    ) -> None:
        """
        Thrown into the reactor thread before it has begun: the next turn heeds it, unasked.
        """
        reactor = any_reactor
        errors = [KeyboardInterrupt("into the reactor thread")]
        answers: list[object] = []

        def answer(wakeup: list[None]) -> None:
            if errors:
                raise errors.pop()
            answers.append(wakeup)
            wakeup.clear()
            reactor.stop()

        bell = _hung_up(reactor, answer)
        bell.ring([None])
        run_in_thread(reactor)
        asyncio.set_event_loop(None)
        assert len(answers) == 1
        assert [type(error) for error in logged.take()] == [KeyboardInterrupt]
        bell.close()

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
        However many a body rings.
        """
        rung: deque[list[None]] = deque([[None], [None]])
        answers: list[list[None]] = []

        def answer(wakeup: list[None]) -> None:
            answers.append(wakeup)
            wakeup.clear()
            rung.append([None])

        _bell._heed(rung, answer)
        assert len(answers) == 2
        assert list(rung) == [[None], [None]]

    def test_within_itself(self) -> None:
        """
        What the inner one has taken out is not taken for what the outer one answers.
        """
        rung: deque[list[None]] = deque([[None]])
        answers: list[list[None]] = []

        def answer(wakeup: list[None]) -> None:
            wakeup.clear()
            answers.append(wakeup)
            if len(answers) == 1:
                _bell._heed(rung, answer)
                rung.append([None])

        _bell._heed(rung, answer)
        assert list(rung) == [[None]]
        _bell._heed(rung, answer)
        assert not rung


class TestAbsence:
    """
    Where there are no bells.
    """

    def test_on_reactors_of_another_make(self) -> None:
        """
        Of which nothing is known.
        """
        assert hang_up(FakeReactor(), _nothing, _relay()) is None  # type: ignore[arg-type]
        assert hang_up(object(), _nothing, _relay()) is None  # type: ignore[arg-type]

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
    Which is what a bell there is made of, and Twisted's own doing.
    """
    reactor = new_real_reactor("epoll")
    reading, writing = os.pipe()
    os.write(writing, b"rings")
    reactor._poller.register(reading, select.EPOLLIN | select.EPOLLET)
    reactor.callWhenRunning(reactor.callLater, 0, reactor.callLater, 0, reactor.stop)
    reactor.run(False)
    assert os.read(reading, 8) == b"rings"
    os.close(reading)
    os.close(writing)
    close_reactor(reactor)
