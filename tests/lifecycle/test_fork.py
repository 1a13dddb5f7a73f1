"""
Around a fork: threads that are held still, and hooks.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import textwrap
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
from crochet._lifecycle import fork as _fork
from crochet._lifecycle.fork import ForkPause, at_fork
from crochet._logs.observer import LogBridge
from crochet._stash.memory import MemoryStash
from crochet._threads.threads import start_thread
from support.process import FakeProcess
from support.programs import run_python
from support.reactor import FakeReactor
from support.stepping import BOUND, Background, together


@pytest.fixture
def pause() -> ForkPause:
    """
    One that holds nobody.
    """
    return ForkPause()


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


def test_holds_the_reactor_thread_from_before_to_after(pause: ForkPause) -> None:
    """
    1. This thread is about to fork. 2. The reactor thread comes, and stays. 3. The fork is over.
    4. The reactor thread goes on.
    """
    reactor = FakeReactor()
    running = Background(reactor.run, False)
    seen: list[str] = []
    has_gone_on = threading.Event()
    pause.before(reactor.callFromThread)
    reactor.callFromThread(seen.append, "gone on")
    reactor.callFromThread(has_gone_on.set)
    assert seen == []
    pause.after()
    assert has_gone_on.wait(BOUND)
    reactor.callFromThread(reactor.stop)
    running.outcome()


def test_does_not_wait_for_one_that_does_not_come(
    pause: ForkPause, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It may be blocked by what this thread holds. When it comes, it does not stay.
    """
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)
    calls = Calls()
    pause.before(calls)
    pause.after()
    calls.make_next()


def test_does_not_hold_it_for_ever(pause: ForkPause, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Should nobody say that the fork is over.
    """
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)
    monkeypatch.setattr(_fork, "_STAY", 0.01)
    calls = Calls()
    pause.before(calls)
    calls.make_next()


def test_lets_several_threads_fork_at_once(
    pause: ForkPause, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The reactor thread stays for each of them, one after the other.
    """
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)
    calls = Calls()
    pause.before(calls)
    Background(pause.before, calls).outcome()
    pause.after()
    calls.make_next()  # it does not stay, for this fork is over
    _, entrance, way_out = calls.calls[0]
    assert not entrance.wait(0)
    assert not way_out.wait(0)


def test_of_a_fork_within_a_fork(pause: ForkPause, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    1. This thread is about to fork. 2. A signal handler interrupts that and forks. 3. It is done.
    4. So is this thread.
    """
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)
    calls = Calls()
    pause.before(calls)
    pause.before(calls)
    ways_out = [way_out for _, _, way_out in calls.calls]
    pause.after()
    assert [way_out.wait(0) for way_out in ways_out] == [False, True]
    pause.after()
    assert [way_out.wait(0) for way_out in ways_out] == [True, True]


def test_nothing_to_end(pause: ForkPause, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As after a fork before which there was no reactor thread, and in a child.
    """
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)
    pause.after()
    pause.before(FakeReactor().callFromThread)
    pause.after_fork_in_child()
    pause.after()


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
        pause = ForkPause()
        pause.before(*workers)
        assert not any(each.is_idle() for each in workers)
        pause.after()
        assert all(each.is_idle() for each in workers)

    def test_has_nothing_to_hold(self) -> None:
        """
        Nor to let go.
        """
        pause = ForkPause()
        pause.before()
        pause.after()
        pause.after()

    def test_many_threads_fork(self, workers: list[Worker]) -> None:
        """
        At once. Each has the thread held while it forks, one after another.
        """
        pause = ForkPause()

        def fork(index: int) -> None:
            for _ in range(20):
                pause.before(*workers)
                pause.after()

        together(8, fork)
        assert all(each.is_idle() for each in workers)
        assert not pause._exits


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
            pause = ForkPause()
            queued = threading.Event()

            def call_writer(function: Callable[..., object], /, *args: object) -> None:
                caller(function, *args)
                queued.set()

            forking = Background(pause.before, call_writer)
            assert queued.wait(BOUND)
            assert handled == ["begins 1"]
            way_out.set()
            forking.outcome()
            assert handled == ["begins 1", "ends 1"]
            pause._exits.popitem()[1][0][0].open()  # as after() does, in the thread that forks
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
    monkeypatch.setattr(_fork, "_PATIENCE", 0.01)

    def closed(*args: object) -> None:
        raise RuntimeError("Event loop is closed")

    process.loop.setup()
    process.bridge.reactor_thread = -1
    process.bridge._call_from_thread = process.reactor.callFromThread = closed
    process.bridge.refuse(_errors.shut_down)
    process.stay_parent()
    assert not process.loop._fork_pause._exits
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
        bridge = Bridge(_errors.not_set_up, MemoryStash())
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestHooks:
    """
    What is raised in hooks around a fork reaches the program, once, in the parent.
    """

    BEGINNING = """
    import os, signal, sys, traceback
    from crochet._lifecycle.fork import at_fork

    class Interruption(Exception):
        pass

    def handler(number, frame):
        handled.append(number)
        raise Interruption("by a signal")

    def interrupt():
        os.kill(os.getpid(), signal.SIGUSR1)
        raise AssertionError("was not interrupted")

    def state():
        return signal.getsignal(signal.SIGUSR1), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return pid

    def caught():
        try:
            fork()
        except Interruption as error:
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 7  # and not in the child
            return error
        raise AssertionError("nothing was raised")

    handled = []
    nothing = lambda: None
    signal.signal(signal.SIGUSR1, handler)
    before = state()
    """

    def run(self, code: str) -> None:
        """
        Run a program.
        """
        run_python(textwrap.dedent(self.BEGINNING) + textwrap.dedent(code))

    @pytest.mark.parametrize("hook", ["before", "after_in_parent"])
    def test_signal_s_exception(self, hook: str) -> None:
        """
        The handler is called once. Another hook that comes after this, and the one before, are not
        broken; and nothing is left behind for the next fork.
        """
        self.run(
            f"""
            hooks = dict(before=nothing, after_in_parent=nothing, after_in_child=nothing)
            hooks["{hook}"] = interrupt
            seen = []
            os.register_at_fork(after_in_parent=lambda: seen.append("first"))
            at_fork(**hooks)
            os.register_at_fork(after_in_parent=lambda: [seen.append(each) for each in "second"])
            error = caught()
            assert handled == [signal.SIGUSR1], handled
            assert "".join(seen) == "firstsecond", seen
            text = "".join(traceback.format_exception(error))
            assert text.index("in fork") < text.index("in interrupt"), text
            assert state() == before and sys.gettrace() is None
            """
        )

    def test_of_a_fork_that_failed(self) -> None:
        """
        The exception comes all the same.
        """
        self.run(
            """
            import resource
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            os.setuid(65534) if os.getuid() == 0 else None  # root has no limit
            at_fork(before=interrupt, after_in_parent=nothing, after_in_child=nothing)
            try:
                fork()
            except Interruption:
                try:
                    os.wait()
                except ChildProcessError:
                    raise SystemExit(0)
            raise AssertionError("it was to fail, and be interrupted")
            """
        )

    def test_is_the_parent_s(self) -> None:
        """
        The child goes on, and so do forks that nobody interrupts.
        """
        self.run(
            """
            interrupted = [interrupt]
            at_fork(
                before=lambda: interrupted and interrupted.pop()(),
                after_in_parent=nothing, after_in_child=nothing,
            )
            try:
                pid = os.fork()
            except Interruption:
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
                end = fork()
                assert os.waitstatus_to_exitcode(os.waitpid(end, 0)[1]) == 7
            else:
                assert pid == 0
                pid = fork()
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
                os._exit(5)
            """
        )

    def test_of_a_thread(self) -> None:
        """
        Into which an exception was thrown, as there are libraries that do that.
        """
        self.run(
            """
            import threading
            def throw():
                raise Interruption("thrown")
            raised = []
            at_fork(before=throw, after_in_parent=nothing, after_in_child=nothing)
            thread = threading.Thread(target=lambda: raised.append(caught()))
            thread.start()
            thread.join()
            assert str(raised[0]) == "thrown"
            """
        )


def test_a_fork_is_heard_of_where_there_are_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Elsewhere nothing is to be done.
    """
    registered: list[Any] = []
    monkeypatch.setattr(
        os, "register_at_fork", lambda **hooks: registered.append(hooks), raising=False
    )
    called: list[str] = []
    hooks = {
        name: lambda name=name: called.append(name)
        for name in ("before", "after_in_parent", "after_in_child")
    }
    at_fork(**hooks)
    assert list(registered[0]) == list(hooks)
    for hook in registered[0].values():
        hook()
    assert called == list(hooks)
    monkeypatch.delattr(os, "register_at_fork")
    at_fork(**hooks)
    assert len(registered) == 1
