"""
Holding threads still while another forks.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.logger import LogBeginner, LogPublisher

from crochet import _parking
from crochet._logs import LogBridge
from crochet._loop import EventLoop, start_thread
from crochet._parking import Parking
from fakes import BOUND, Background, FakeChildren, FakeLogs, FakeReactor, FakeThreads, together


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


class TestParking:
    """
    Where threads stand.
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

    def test_waits_no_longer_than_its_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        For one that does not come. When it does, the fork is over, and it does not stay.
        """
        monkeypatch.setattr(_parking, "_PATIENCE", 0.01)
        later: list[Any] = []
        parking = Parking()
        parking.before(lambda function, *args: later.append((function, args)))
        parking.after()
        for function, args in later:
            function(*args)

    def test_does_not_hold_them_for_ever(
        self, workers: list[Worker], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Should the end of a fork never be told.
        """
        monkeypatch.setattr(_parking, "_STAY", 0.01)
        parking = Parking()
        parking.before(*workers)
        came = threading.Event()
        workers[0](came.set)
        assert came.wait(BOUND)

    def test_one_fork_within_another(self, workers: list[Worker]) -> None:
        """
        In a signal handler that interrupts it: the outer one still holds the thread.
        """
        parking = Parking()
        parking.before(workers[0])
        parking.before(workers[1])
        parking.after()
        assert workers[1].is_idle()
        assert not workers[0].is_idle()
        parking.after()
        assert workers[0].is_idle()

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

    def test_forgets_in_a_child(self) -> None:
        """
        Where nobody is held.
        """
        parking = Parking()
        parking.before(lambda function, *args: function(*_released(args)))
        parking.clear()
        assert not parking._exits


def _released(args: Any) -> Any:
    """
    Have ``_stay`` return at once.
    """
    args[1].release()
    return args


class Process:
    """
    A process with a fake reactor, whose fork hooks are not called.
    """

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.threads = FakeThreads()
        self.logs = FakeLogs()
        self.import_reactor: Callable[[], Any] = lambda: self.reactor
        self.loop = EventLoop(
            import_reactor=lambda: self.import_reactor(),
            start_thread=self.threads,
            at_exit=lambda hook: None,
            at_fork=lambda **hooks: None,
            logs=self.logs,
            watch_children=lambda reactor: FakeChildren(),
        )

    def end(self) -> None:
        """
        Run the reactor until it has stopped, which it does at once.
        """
        self.reactor.callFromThread(self.reactor.stop)
        self.threads.started[-1].run()
        assert self.loop._life is not None
        self.loop._life.thread = self.threads.started[-1]  # it was this one, which cannot be joined


class TestReentry:
    """
    shutdown() and setup() within each other, in one thread: a signal handler's.
    """

    def test_shutdown_within_setup_is_refused(self) -> None:
        """
        It would release what setup() is about to start.
        """
        process = Process()
        errors: list[str] = []

        def interrupt() -> Any:
            with pytest.raises(RuntimeError, match="in the middle of setup") as caught:
                process.loop.shutdown()
            errors.append(str(caught.value))
            return process.reactor

        process.import_reactor = interrupt
        process.loop.setup()
        assert errors
        assert process.loop._is_set_up
        process.end()

    def test_setup_within_shutdown_does_nothing(self) -> None:
        """
        The shutdown would release what it started.
        """
        process = Process()
        process.loop.setup()
        process.end()
        started = len(process.threads.started)
        stop = process.logs.stop

        def interrupt(timeout: float) -> bool:
            process.loop.setup()
            assert len(process.threads.started) == started
            return stop(timeout)

        process.logs.stop = interrupt  # type: ignore[method-assign]
        process.loop.shutdown()
        assert not process.loop._is_set_up

    def test_shutdown_waits_its_time_for_another(self) -> None:
        """
        That is under way in another thread, and may never end.
        """
        process = Process()
        process.loop._setup_lock.acquire()
        try:
            with pytest.raises(TimeoutError, match=r"has not stopped in 0\.01 s"):
                Background(process.loop.shutdown, 0.01).outcome()
        finally:
            process.loop._setup_lock.release()


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
