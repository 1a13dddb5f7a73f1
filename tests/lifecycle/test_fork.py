"""
Holding the reactor thread still while a thread forks.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.logger import LogBeginner, LogPublisher

from crochet import _errors
from crochet._core.bridge import Bridge
from crochet._core.call import Call
from crochet._core.stash import Stash
from crochet._lifecycle import fork as _parking
from crochet._lifecycle.fork import Parking
from crochet._logs.observer import LogBridge
from crochet._threads.threads import start_thread
from support.process import FakeProcess
from support.reactor import FakeReactor
from support.stepping import BOUND, Background, together


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


class Worker:
    """
    A thread that calls what it is given, in order.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Any] = SimpleQueue()
        self.thread = Background(self._run)

    def _run(self) -> None:
        while True:
            function, args = self._work.get(timeout=BOUND)
            if function is None:
                return
            function(*args)

    def __call__(self, function: Callable[..., object], /, *args: object) -> None:
        self._work.put((function, args))

    def is_idle(self) -> bool:
        """
        Tell whether it goes on to what is given to it now. Blocks for a tenth of BOUND if not.
        """
        came = threading.Event()
        self(came.set)
        return came.wait(0.1)

    def end(self) -> None:
        self(None)  # type: ignore[arg-type]
        self.thread.outcome()


@pytest.fixture
def workers() -> Any:
    """
    Two of them.
    """
    workers = [Worker(), Worker()]
    yield workers
    for each in workers:
        each.end()


class TestThreads:
    """
    Several are held, in real ones.
    """

    def test_holds_them_until_it_is_over(self, workers: list[Worker]) -> None:
        """
        All of them.
        """
        parking = Parking()
        parking.before(*workers)
        assert not any(each.is_idle() for each in workers)
        parking.after()
        assert all(each.is_idle() for each in workers)

    def test_has_nothing_to_hold(self) -> None:
        """
        Nor to let go.
        """
        parking = Parking()
        parking.before()
        parking.after()
        parking.after()

    def test_many_threads_fork(self, workers: list[Worker]) -> None:
        """
        At once. Each has the thread held while it forks, one after another.
        """
        parking = Parking()

        def fork(index: int) -> None:
            for _ in range(20):
                parking.before(*workers)
                parking.after()

        together(8, fork)
        assert all(each.is_idle() for each in workers)
        assert not parking._exits


def log_bridge(logger: logging.Logger) -> LogBridge:
    """
    Return one that hands on what is put into it, and no event of this process's.
    """
    publisher = LogPublisher()
    beginner = LogBeginner(publisher, io.StringIO(), sys, warnings)
    return LogBridge(start_thread, publisher=publisher, beginner=beginner, logger=logger)


class TestLogWriter:
    """
    It is one of those held.
    """

    def test_comes_between_two_records(self) -> None:
        """
        Steps the interleaving that hung children: a fork while the writer is within a handler,
        which holds its stream's lock. The writer finishes that record, and then stays, before the
        next.
        """
        handled: list[str] = []
        entered, way_out = threading.Event(), threading.Event()

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                handled.append(f"begins {record.msg}")
                if record.msg == 1:
                    entered.set()
                    assert way_out.wait(BOUND)
                handled.append(f"ends {record.msg}")

        logger = logging.Logger("of a test")
        logger.setLevel(logging.INFO)
        logger.addHandler(Handler())
        bridge = log_bridge(logger)
        assert bridge.get_caller() is None  # there is no thread
        bridge.start()
        try:
            writer = bridge._writer
            for number in (1, 2):
                writer.put(logging.LogRecord("", logging.INFO, "", 0, number, (), None), 0)
            assert entered.wait(BOUND)
            caller = bridge.get_caller()
            assert caller is not None
            parking = Parking()
            queued = threading.Event()

            def call_writer(function: Callable[..., object], /, *args: object) -> None:
                caller(function, *args)
                queued.set()

            forking = Background(parking.before, call_writer)
            assert queued.wait(BOUND)
            assert handled == ["begins 1"]
            way_out.set()
            forking.outcome()
            assert handled == ["begins 1", "ends 1"]
            parking._exits.popitem()[1][0][0].release()  # as after() does, in the thread that forks
        finally:
            bridge.stop(BOUND)
        assert handled == ["begins 1", "ends 1", "begins 2", "ends 2"]

    def test_is_not_held_by_itself(self) -> None:
        """
        A handler may fork.
        """
        callers: list[object] = []

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                callers.append(bridge.get_caller())

        logger = logging.Logger("of a test")
        logger.setLevel(logging.INFO)
        logger.addHandler(Handler())
        bridge = log_bridge(logger)
        bridge.start()
        bridge._writer.put(logging.LogRecord("", logging.INFO, "", 0, "", (), None), 0)
        assert bridge.stop(BOUND)
        assert callers == [None]
        assert bridge.get_caller() is None  # nor after its end


def test_shutdown_waits_its_time_for_another() -> None:
    """
    That is under way in another thread, and may never end.
    """
    process = FakeProcess()
    process.loop._setup_lock.acquire()
    try:
        with pytest.raises(TimeoutError, match=r"has not stopped in 0\.01 s"):
            Background(process.loop.shutdown, 0.01).outcome()
    finally:
        process.loop._setup_lock.release()


def test_of_a_reactor_that_ends_meanwhile(
    process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    1. This thread is about to fork, and has seen the reactor run. 2. It ends, and another thread
    closes what it is woken by. 3. To have it called raises. That is no news for who forks.
    """
    monkeypatch.setattr(_parking, "_PATIENCE", 0.01)

    def closed(*args: object) -> None:
        raise RuntimeError("Event loop is closed")

    process.loop.setup()
    process.bridge.reactor_thread = -1
    process.bridge._call_from_thread = process.reactor.callFromThread = closed
    process.bridge.refuse(_errors.shut_down)
    process.stay_parent()
    assert not process.loop._parking._exits
    process.bridge.reactor_thread = None


class TestLives:
    """
    A call that is on its way while one life of the reactor ends and the next begins.
    """

    def test_ring_of_an_earlier_life(self) -> None:
        """
        1. A caller finds the bridge open, enters its call, and is about to ring.
        2. The life ends, and another life begins, with another bell.
        3. The caller rings the old bell, which nobody hears.

        The call is in the queue: the new life is woken for it, and it is not refused. Later ones do
        not take the old wake-up for one that is on its way.
        """
        bridge = Bridge(_errors.not_set_up, Stash())
        woken: list[list[None]] = []

        def at_once(function: Callable[..., object], *args: object) -> None:
            function(*args)

        def ring(wakeup: list[None]) -> None:
            if bridge.in_flight:
                bridge.open(at_once, woken.append)
            wakeup.clear()

        bridge.open(at_once, ring)
        call = Call(bridge, "f", (lambda: 1, (), {}, copy_context()), {})
        bridge.submit(call)
        assert woken == [[None]]
        bridge.drain_in_reactor(woken.pop())
        assert call.outcome == 1
        bridge.submit(Call(bridge, "f", (lambda: 1, (), {}, copy_context()), {}))
        assert woken == [[None]]


def _nothing(*args: object) -> None:
    """
    Do nothing.
    """
