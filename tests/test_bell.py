"""
The fast way to wake the reactor.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from crochet import _bell
from crochet._bell import Bell, hang_up
from crochet._threads import start_thread
from fakes import BOUND, Background, FakeProcess, FakeReactor, close_reactor, new_real_reactor

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no eventfd here")


@pytest.fixture(params=["epoll", "asyncio"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run, of a kind that can be given a bell.
    """
    reactor = new_real_reactor(request.param)
    yield reactor
    close_reactor(reactor)


def _nothing(wakeup: list[None]) -> None:
    """
    Do nothing.
    """


def _hung_up(reactor: Any, answer: Any = _nothing) -> Bell:
    """
    Return the bell that the reactor has been given.
    """
    bell = hang_up(reactor, answer)
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

    def test_is_answered_in_the_reactor_thread(self, reactor: Any) -> None:
        """
        With what it was rung with, also if it was rung before the reactor ran, and each time.
        """
        answers: list[tuple[list[None], int]] = []
        rings: list[list[None]] = [[None], [None], [None]]

        def answer(wakeup: list[None]) -> None:
            answers.append((wakeup, threading.get_ident()))
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
        assert [wakeup for wakeup, _ in answers] == rings
        assert {ident for _, ident in answers} == {threading.get_ident()}
        bell.close()

    def test_wakes_a_reactor_that_polls(self, reactor: Any) -> None:
        """
        And has nothing else to do.
        """
        bell = _hung_up(reactor, lambda wakeup: reactor.stop())
        reactor.callWhenRunning(
            reactor.callLater, 0, lambda: ringing.append(Background(lambda: bell.ring([])))
        )
        ringing: list[Background[object]] = []
        reactor.run(False)
        ringing[0].outcome()
        bell.close()

    def test_is_not_among_what_the_reactor_reads(self, reactor: Any) -> None:
        """
        Nor does a clean-reactor check take it away.
        """
        before = reactor.getReaders()
        answers: list[object] = []

        def answer(wakeup: object) -> None:
            answers.append(wakeup)
            reactor.stop()

        bell = _hung_up(reactor, answer)
        assert reactor.getReaders() == before
        assert reactor.removeAll() == []
        bell.ring([])
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

        def answer(wakeup: object) -> None:
            seen.append(variable.get())
            reactor.stop()

        bell = _hung_up(reactor, answer)
        bell.ring([])
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
        ring([])
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
        ring([])
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
            ring([])
        other = os.dup2(1, fd)
        del ring
        bell.forget_after_fork()
        os.fstat(fd)
        os.close(other)
        bell.close()
        bell.forget_after_fork()


class TestAbsence:
    """
    Where there are no bells.
    """

    @pytest.mark.parametrize("name", ["poll", "select"])
    def test_on_other_reactors(self, name: str) -> None:
        """
        Whose polls cannot be given a descriptor that they do not read.
        """
        reactor = new_real_reactor(name)
        assert hang_up(reactor, _nothing) is None
        close_reactor(reactor)

    def test_on_reactors_of_another_make(self) -> None:
        """
        Of which nothing is known.
        """
        assert hang_up(FakeReactor(), _nothing) is None  # type: ignore[arg-type]
        assert hang_up(object(), _nothing) is None  # type: ignore[arg-type]

    def test_for_lack_of_eventfd(self, reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Such as everywhere but on Linux. It is made up for by ``callFromThread()``.
        """
        monkeypatch.delattr(os, "eventfd")
        assert hang_up(reactor, _nothing) is None
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
