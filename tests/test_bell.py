"""
The fast way to wake the reactor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure

from crochet._bell import Bell, hang_up
from crochet._loop import start_thread
from fakes import BOUND, Background, FakeProcess, FakeReactor, close_reactor, new_real_reactor

needs_eventfd = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="there is no eventfd here")


@pytest.fixture
def reactor() -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = new_real_reactor()
    yield reactor
    close_reactor(reactor)


def _nothing() -> None:
    """
    Do nothing.
    """


@needs_eventfd
class TestBell:
    """
    A descriptor that any thread can ring.
    """

    def test_is_answered_in_the_reactor_thread(self, reactor: Any) -> None:
        """
        Also if it was rung before the reactor ran.
        """
        answers: list[str] = []

        def answer() -> None:
            answers.append("answered")
            if len(answers) == 1:
                ringing.append(Background(bell.ring))
            else:
                reactor.stop()

        ringing: list[Background[None]] = []
        bell = hang_up(reactor, answer, _nothing)
        assert bell is not None
        bell.ring()
        reactor.run(False)
        ringing[0].outcome()
        assert answers == ["answered"] * 2

    def test_is_answered_once_for_many_rings(self, reactor: Any) -> None:
        """
        That came before it was.
        """
        answers: list[str] = []
        bell = hang_up(reactor, lambda: answers.append("answered"), _nothing)
        assert bell is not None
        for _ in range(10):
            bell.ring()
        reactor.callLater(0, reactor.callLater, 0, reactor.stop)
        reactor.run(False)
        assert answers == ["answered"]

    def test_is_called_by_asyncios_loop_itself(self) -> None:
        """
        And not by the reactor that runs on it, in a log context; yet it is the reactor's reader.
        """
        callers: list[str] = []

        def answer() -> None:
            frame: Any = sys._getframe(1)
            while frame is not None:
                callers.append(frame.f_code.co_name)
                frame = frame.f_back
            reactor.stop()

        reactor = new_real_reactor("asyncio")
        try:
            bell = hang_up(reactor, answer, _nothing)
            assert bell is not None
            assert bell in reactor.getReaders()
            bell.ring()
            reactor.run(False)
        finally:
            close_reactor(reactor)
        assert "_run_once" in callers
        assert "callWithLogger" not in callers

    def test_may_be_read_although_nobody_rang(self) -> None:
        """
        A reactor may be wrong; raising would make it drop the bell.
        """
        answers: list[str] = []
        bell = Bell(lambda: answers.append("answered"), _nothing)
        try:
            bell.doRead()
        finally:
            bell.close()
        assert answers == ["answered"]

    def test_is_a_reader(self, reactor: Any) -> None:
        """
        That a clean-reactor check does not find, and that says nothing of itself in a log.
        """
        bell = hang_up(reactor, _nothing, _nothing)
        assert bell is not None
        assert IReadDescriptor.providedBy(bell)
        assert bell.logPrefix() == "-"
        assert bell not in reactor.removeAll()
        assert bell in reactor.getReaders()

    def test_is_taken_down_without_a_trace(self, reactor: Any) -> None:
        """
        If it turns out that the reactor is not to run.
        """
        before = reactor.getReaders()
        bell = hang_up(reactor, _nothing, _nothing)
        assert bell is not None
        fd = bell.fileno()
        bell.take_down(reactor)
        assert reactor.getReaders() == before
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)

    def test_closed_harms_no_other_file(self) -> None:
        """
        Its number may be another's by then: a thread that rings it late gets an error, twice closed
        is closed once.
        """
        bell = Bell(_nothing, _nothing)
        fd = bell.fileno()
        bell.close()
        reading, writing = os.pipe()
        try:
            if fd not in (reading, writing):
                os.dup2(writing, fd)
            with pytest.raises(ValueError, match="closed file"):
                bell.ring()
            bell.close()
            os.set_blocking(reading, False)
            with pytest.raises(BlockingIOError):
                os.read(reading, 8)
            os.fstat(fd)
        finally:
            for each in {reading, writing, fd}:
                os.close(each)

    def test_tells_that_it_was_lost(self) -> None:
        """
        Should the reactor read it no more.
        """
        lost: list[str] = []
        bell = Bell(_nothing, lambda: lost.append("lost"))
        bell.connectionLost(Failure(ValueError("why")))
        bell.close()
        assert lost == ["lost"]


class TestAbsence:
    """
    Where there are no bells.
    """

    def test_for_lack_of_readers(self) -> None:
        """
        Such as in a reactor of another make.
        """
        assert hang_up(FakeReactor(), _nothing, _nothing) is None  # type: ignore[arg-type]
        assert hang_up(object(), _nothing, _nothing) is None  # type: ignore[arg-type]

    def test_for_lack_of_eventfd(self, reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Such as everywhere but on Linux.
        """
        monkeypatch.delattr(os, "eventfd", raising=False)
        assert hang_up(reactor, _nothing, _nothing) is None

    def test_is_made_up_for(self, reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        By ``callFromThread()``.
        """
        monkeypatch.delattr(os, "eventfd", raising=False)
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        assert process.wait_for(BOUND)(lambda: 7)() == 7
        process.exit()

    @needs_eventfd
    def test_after_a_loss_is_made_up_for(self, reactor: Any) -> None:
        """
        Calls that were on their way are not lost with it.
        """
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        assert process.wait_for(BOUND)(lambda: 7)() == 7

        def lose() -> None:
            (bell,) = (each for each in reactor.getReaders() if isinstance(each, Bell))
            reactor._removeInternalReader(bell)
            bells.append(bell)
            results.append(process.run_in_reactor(lambda: 5)())
            bell.connectionLost(Failure(ValueError("why")))

        bells: list[Bell] = []
        results: list[Any] = []
        process.run_in_reactor(lose)().wait(BOUND)
        assert results[0].wait(BOUND) == 5
        assert process.wait_for(BOUND)(lambda: 7)() == 7
        process.exit()
        bells[0].close()
