"""
One event loop in a thread of its own, from ``setup()`` to the interpreter's exit.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dis import opname
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import crochet
from crochet import DeadlockError, ReactorBusy, ReactorStopped
from crochet._lifecycle import lifecycle as _loop
from crochet._threads.threads import start_thread
from support.process import FakeProcess, FakeThread, LoggedFailures, in_reactor_thread
from support.programs import run_python
from support.reactor import new_real_reactor
from support.stepping import BOUND, Background, FakeClock, Steps, together

_colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture
def threaded() -> Iterator[FakeProcess]:
    """
    A process whose reactor is fake and whose threads are real.
    """
    process = FakeProcess(start_thread=start_thread)
    yield process
    process.exit()


def _thread_of(process: FakeProcess) -> Any:
    """
    Return the thread that the reactor runs in.
    """
    assert process.loop._reactor_thread is not None
    return process.loop._reactor_thread.thread


def _check_that_nothing_is_left(process: FakeProcess) -> None:
    """
    See that a setup() that failed has left nothing behind, and that it can be done again.
    """
    with pytest.raises(RuntimeError, match=r"before crochet\.setup\(\)"):
        process.run_in_reactor(int)()
    process.logs.errors.clear()
    process.children.errors.clear()
    process.threads.error = None
    for calls in (process.logs.calls, process.children.calls):
        assert calls in ([], ["start"], ["start", "stop"])
        calls.clear()
    process.loop.setup()
    assert process.logs.calls == process.children.calls == ["start"]
    assert (len(process.exit_hooks), len(process.fork_hooks)) == (1, 3)
    result = process.run_in_reactor(lambda: 7)()
    called: list[object] = []
    pending = process.run_in_reactor(Deferred)()
    pending.add_done_callback(called.append)
    process.reactor.callFromThread(process.reactor.stop)
    process.run_reactor()
    assert result.wait(0) == 7
    assert called == [pending]


def _interrupt(*args: object) -> None:
    raise KeyboardInterrupt


class TestSetup:
    """
    ``setup()``
    """

    def test_starts_the_reactor_in_a_thread(self, process: FakeProcess) -> None:
        """
        And what goes with it.
        """
        process.loop.setup()
        (thread,) = process.threads.started
        assert thread.name == "crochet-reactor"
        assert process.logs.calls == ["start"]
        assert process.children.calls == ["start"]
        assert (len(process.exit_hooks), len(process.fork_hooks)) == (1, 3)
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7

    def test_leaves_logs_alone_if_told_to(self, process: FakeProcess) -> None:
        """
        At exit and in a forked child, too.
        """
        process.loop.setup(logging=False)
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        process.fork()
        assert process.run_in_reactor(int)() is not None  # the child sets up for itself
        process.exit()
        assert process.logs.calls == []

    def test_acts_once(self, process: FakeProcess) -> None:
        """
        However often it is called.
        """
        for _ in range(3):
            process.loop.setup()
        assert len(process.threads.started) == 1
        assert process.logs.calls == process.children.calls == ["start"]

    def test_acts_once_from_many_threads(self, threaded: FakeProcess) -> None:
        """
        And when it has returned in any of them, calls are accepted.
        """

        def set_up(index: int) -> int:
            threaded.loop.setup()
            return threaded.wait_for(BOUND)(lambda: index)()  # type: ignore[no-any-return]

        assert together(50, set_up) == list(range(50))
        assert threaded.logs.calls == ["start"]

    def test_called_by_what_interrupts_it(self, process: FakeProcess) -> None:
        """
        A signal handler or a ``__del__`` in the same thread finds the work under way, and returns.
        """
        seen: list[int] = []
        import_reactor = process.import_reactor

        def interrupted() -> Any:
            process.loop.setup()
            seen.append(len(process.threads.started))
            return import_reactor()

        process.loop._import_reactor = interrupted
        process.loop.setup()
        assert seen == [0]
        assert len(process.threads.started) == 1

    def test_does_nothing_if_the_program_runs_the_reactor(self, process: FakeProcess) -> None:
        """
        As it has said.
        """
        process.loop.no_setup()
        process.loop.setup()
        assert process.threads.started == []
        assert process.logs.calls == process.children.calls == []

    def test_refuses_a_reactor_that_runs(self, process: FakeProcess) -> None:
        """
        For the program has not said so.
        """
        process.reactor.start()
        with pytest.raises(RuntimeError, match=r"running already.*call crochet\.no_setup\(\)"):
            process.loop.setup()
        assert process.threads.started == []
        process.loop.no_setup()

    def test_keeps_its_callers_context_to_itself(self, process: FakeProcess) -> None:
        """
        What the reactor calls of its own accord sees none of it.
        """
        seen: list[str] = []
        process.reactor.callWhenRunning(lambda: seen.append(_colour.get()))
        token = _colour.set("red")
        process.loop.setup()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        _colour.reset(token)
        assert seen == ["none"]

    def test_runs_a_real_reactor(self, real: FakeProcess) -> None:
        """
        In a daemon thread.
        """
        real.loop.setup()
        thread: Any = real.wait_for(BOUND)(threading.current_thread)()
        assert (thread.name, thread.daemon) == ("crochet-reactor", True)
        assert real.bridge.reactor_thread == thread.ident


class TestFailedSetup:
    """
    A ``setup()`` that fails leaves everything as it was.
    """

    def test_for_lack_of_descriptors(self, process: FakeProcess) -> None:
        """
        Of which the reactor needs some.
        """
        reactors: list[Any] = [process.reactor]

        def import_reactor() -> Any:
            if len(reactors) == 1:
                raise OSError(24, "Too many open files")
            return process.reactor

        process.loop._import_reactor = import_reactor
        with pytest.raises(OSError, match="Too many open files"):
            process.loop.setup()
        assert process.logs.calls == process.children.calls == []
        reactors.append(None)
        _check_that_nothing_is_left(process)

    def test_for_lack_of_a_log_writer(self, process: FakeProcess) -> None:
        """
        Nothing else has been started yet.
        """
        process.logs.errors["start"] = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            process.loop.setup()
        assert process.logs.calls == ["start"]
        assert process.children.calls == []
        _check_that_nothing_is_left(process)

    def test_for_a_child_that_cannot_be_watched(self, process: FakeProcess) -> None:
        """
        The logs are stopped again.
        """
        process.children.errors["start"] = RuntimeError("no descriptor and no thread")
        with pytest.raises(RuntimeError, match="no descriptor and no thread"):
            process.loop.setup()
        assert process.logs.calls == ["start", "stop"]
        _check_that_nothing_is_left(process)

    def test_for_lack_of_a_thread(self, process: FakeProcess) -> None:
        """
        Everything is stopped again.
        """
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            process.loop.setup()
        assert process.logs.calls == process.children.calls == ["start", "stop"]
        _check_that_nothing_is_left(process)

    def test_before_no_setup(self, process: FakeProcess) -> None:
        """
        The program may still run the reactor itself.
        """
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError):
            process.loop.setup()
        process.loop.no_setup()
        process.reactor.start()
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.turn()
        assert result.wait(0) == 7

    def test_takes_its_bell_with_it(self, real: FakeProcess) -> None:
        """
        No descriptor stays open; the fixture for all tests sees to that.
        """
        real.loop._start_thread = real.threads
        real.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError):
            real.loop.setup()


class TestTicket:
    """
    A signal's exception, when nobody knows whether the thread has been started.
    """

    def test_before_the_thread_has_begun(self, process: FakeProcess) -> None:
        """
        1. The thread is started. 2. The exception ends ``setup()``, which takes the ticket. 3. The
        thread finds it gone and ends; the reactor has not run.
        """

        def start_thread(target: Callable[[], object], name: str) -> Any:
            process.threads(target, name)
            raise KeyboardInterrupt("Ctrl-C")

        process.loop._start_thread = start_thread
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            process.loop.setup()
        process.run_reactor()
        assert not process.reactor._startedBefore
        assert process.logs.calls == process.children.calls == ["start", "stop"]
        process.loop._start_thread = process.threads
        _check_that_nothing_is_left(process)

    @pytest.mark.parametrize("has_opened", [False, True])
    def test_as_calls_are_about_to_be_accepted(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch, has_opened: bool
    ) -> None:
        """
        1. The thread is started. 2. The exception ends ``setup()`` when it opens the bridge, and
        takes the ticket. 3. The thread finds it gone. No call is accepted that nobody would run.
        """
        open_bridge = process.bridge.open

        def interrupted(*args: Any) -> None:
            monkeypatch.undo()
            if has_opened:
                open_bridge(*args)
            raise KeyboardInterrupt("Ctrl-C")

        monkeypatch.setattr(process.bridge, "open", interrupted)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            process.loop.setup()
        process.run_reactor()
        assert not process.reactor._startedBefore
        _check_that_nothing_is_left(process)

    def test_after_the_thread_has_begun(self, threaded: FakeProcess) -> None:
        """
        1. The thread is started and takes the ticket. 2. The exception ends ``setup()``, which
        finds the ticket gone, and finishes what it was at.
        """
        is_running = threading.Event()

        def interrupted(target: Callable[[], object], name: str) -> Any:
            threaded.reactor.callWhenRunning(is_running.set)
            start_thread(target, name)
            assert is_running.wait(BOUND)
            raise KeyboardInterrupt("Ctrl-C")

        threaded.loop._start_thread = interrupted
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            threaded.loop.setup()
        assert threaded.wait_for(BOUND)(lambda: 7)() == 7
        threaded.loop.setup()
        assert threaded.logs.calls == threaded.children.calls == ["start"]

    def test_after_the_thread_has_ended(self, process: FakeProcess) -> None:
        """
        1. The thread is started. 2. The reactor ends at once. 3. ``setup()`` opens the bridge, sees
        that it is over, and closes it.
        """

        def start_thread(target: Callable[[], object], name: str) -> Any:
            process.reactor.callFromThread(process.reactor.stop)
            thread = process.threads(target, name)
            thread.run()
            return thread

        process.loop._start_thread = start_thread
        process.loop.setup()
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            process.run_in_reactor(int)()
        process.loop._start_thread = process.threads
        process.threads.started[0].join(BOUND)
        process.loop._reactor_thread.thread = process.threads.started[0]  # type: ignore[union-attr, assignment]
        process.loop.setup()
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7


class TestRestart:
    """
    ``setup()`` once the reactor has ended.
    """

    @pytest.mark.parametrize("end", ["stop", "crash"])
    def test_starts_it_again(self, process: FakeProcess, end: str) -> None:
        """
        With the same logs, and a watcher of the new life's children.
        """
        for life in range(3):
            process.loop.setup()
            result = process.run_in_reactor(lambda life=life: life)()
            process.reactor.callFromThread(getattr(process.reactor, end))
            process.run_reactor()
            assert result.wait(0) == life
        assert len(process.threads.started) == 3
        assert process.logs.calls == ["start"]
        assert process.children.calls == ["start", "stop"] * 3
        assert (len(process.exit_hooks), len(process.fork_hooks)) == (1, 3)

    def test_begins_to_log_if_it_is_told_to(self, process: FakeProcess) -> None:
        """
        Although the life before did not; and goes on to, although the next does not ask for it.
        """
        for logging in (False, True, False):
            process.loop.setup(logging=logging)
            process.reactor.callFromThread(process.reactor.stop)
            process.run_reactor()
        assert process.logs.calls == ["start"]

    def test_waits_for_the_thread_before(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        But not for ever; then nothing was changed.
        """
        process.loop.setup()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        life: Any = process.loop._reactor_thread
        ended, life.thread = life.thread, FakeThread(int, "its pool's workers go on")
        with pytest.raises(TimeoutError, match="the reactor thread has not stopped in"):
            process.loop.setup()
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            process.run_in_reactor(int)()
        life.thread = ended
        process.loop.setup()
        assert len(process.threads.started) == 2

    def test_that_fails_leaves_the_refusal_as_it_was(self, process: FakeProcess) -> None:
        """
        For it is still true.
        """
        process.loop.setup()
        process.will_run_reactor()
        process.loop.shutdown()
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            process.loop.setup()
        with pytest.raises(ReactorStopped, match=r"shutdown\(\) has stopped"):
            process.run_in_reactor(int)()

    def test_is_refused_while_the_interpreter_exits(self, process: FakeProcess) -> None:
        """
        Nobody would stop it.
        """
        process.loop.setup()
        process.will_run_reactor()
        process.exit()
        with pytest.raises(RuntimeError, match="too late"):
            process.loop.setup()


class Looks(Steps):
    """
    The same, but only where Python looks for signals, as their exceptions come nowhere else.
    """

    def __init__(self, at: int, meanwhile: Callable[[], object], source: str) -> None:
        super().__init__(at, meanwhile, source)
        self._looks_next: set[FrameType] = set()

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            looks = frame in self._looks_next
            self._looks_next.discard(frame)
            name = opname[frame.f_code.co_code[frame.f_lasti]]
            if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")):
                self._looks_next.add(frame)
            if not looks:
                return self._trace
        return super()._trace(frame, event, argument)


class TestShutdown:
    """
    ``shutdown()``
    """

    def test_stops_everything(self, threaded: FakeProcess) -> None:
        """
        And refuses calls, until the next ``setup()``.
        """
        for _ in range(2):
            threaded.loop.setup()
            thread: Any = threaded.wait_for(BOUND)(threading.current_thread)()
            pending = threaded.run_in_reactor(Deferred)()
            threaded.loop.shutdown(BOUND)
            assert not thread.is_alive()
            for call in (pending.wait, threaded.run_in_reactor(int)):
                with pytest.raises(ReactorStopped, match=r"shutdown\(\) has stopped"):
                    call()
        assert threaded.logs.calls == ["start", "stop"] * 2
        assert threaded.children.calls == ["start", "stop"] * 2

    def test_has_nothing_to_do_without_setup(self, process: FakeProcess) -> None:
        """
        Or twice.
        """
        process.loop.shutdown()
        process.loop.setup()
        process.will_run_reactor()
        process.loop.shutdown()
        process.loop.shutdown(0)
        assert process.logs.calls == process.children.calls == ["start", "stop"]

    def test_of_a_reactor_that_has_ended(self, process: FakeProcess) -> None:
        """
        Gives back what it had.
        """
        process.loop.setup()
        process.reactor.callFromThread(process.reactor.crash)
        process.run_reactor()
        process.loop.shutdown()
        assert process.logs.calls == ["start", "stop"]

    def test_may_be_called_again_if_it_was_not_done_in_time(self, process: FakeProcess) -> None:
        """
        Meanwhile calls are refused.
        """
        process.loop.setup()
        with pytest.raises(crochet.TimeoutError, match=r"has not stopped in 0\.5 s"):
            process.loop.shutdown(0.5)
        with pytest.raises(ReactorStopped, match=r"shutdown\(\) has stopped"):
            process.run_in_reactor(int)()
        assert process.logs.calls == ["start"]
        process.will_run_reactor()
        process.loop.shutdown()
        assert process.logs.calls == ["start", "stop"]

    @pytest.mark.parametrize("timeout", [0, -5, 0.5, None])
    def test_with_little_time_or_all(self, process: FakeProcess, timeout: Any) -> None:
        """
        Cancels operations.
        """
        told: list[object] = []
        process.loop.setup()
        result = process.run_in_reactor(Deferred)(told.append)
        process.will_run_reactor()
        process.loop.shutdown(timeout)
        assert len(told) == 1
        assert result.done()

    def test_is_followed_by_setup_only_when_it_is_done(self, process: FakeProcess) -> None:
        """
        ``setup()`` does not take a reactor that is to stop for one that runs.
        """
        process.loop.setup()
        with pytest.raises(TimeoutError):
            process.loop.shutdown(0)
        with pytest.raises(TimeoutError, match="the reactor thread has not stopped"):
            process.loop.setup()
        process.will_run_reactor()
        process.loop.setup()
        assert len(process.threads.started) == 2

    def test_that_was_interrupted_before_it_told_the_reactor(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Is finished by the setup() that comes next.
        """
        process.loop.setup()
        with monkeypatch.context() as patch:
            patch.setattr(process.bridge, "call", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                process.loop.shutdown()
        process.will_run_reactor()
        process.loop.setup()
        assert len(process.threads.started) == 2

    def test_whose_join_was_interrupted(self, process: FakeProcess) -> None:
        """
        Also where the thread then passes for one that has ended, as up to CPython 3.12.
        """
        process.loop.setup()
        thread: Any = process.threads.started[0]
        thread.is_alive = lambda: False
        with pytest.raises(TimeoutError, match="the reactor thread has not stopped"):
            process.loop.shutdown(0.01)
        process.will_run_reactor()
        process.loop.shutdown()
        assert process.loop._reactor_thread is None

    def test_is_not_interrupted_by_setup(self, process: FakeProcess) -> None:
        """
        Nor the other way round, which a signal handler may try.
        """
        refused: list[str] = []

        def try_to(function: Callable[[], object]) -> None:
            with pytest.raises(RuntimeError, match=r"in the middle of") as caught:
                function()
            refused.append(str(caught.value).split()[0])

        import_reactor = process.import_reactor

        def interrupted() -> Any:
            try_to(process.loop.shutdown)
            return import_reactor()

        process.loop._import_reactor = interrupted
        process.loop.setup()
        process.will_run_reactor()
        thread: Any = process.threads.started[0]
        run = thread.join

        def run_and_try(timeout: float | None = None) -> None:
            run()
            if not refused[1:]:
                try_to(process.loop.setup)

        thread.join = run_and_try
        process.loop.shutdown()
        assert refused == ["shutdown()", "setup()"]
        assert len(process.threads.started) == 1

    def test_says_that_logs_were_not_written_in_time(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The reactor has stopped; it can be asked again.
        """
        process.loop.setup()
        process.will_run_reactor()
        with monkeypatch.context() as patch:
            patch.setattr(process.logs, "stop", lambda timeout: False)
            with pytest.raises(TimeoutError, match="handlers of the logger 'twisted' block"):
                process.loop.shutdown()
        process.loop.shutdown()
        assert process.logs.calls == ["start", "stop"]

    def test_is_refused_in_the_reactor_thread(self, process: FakeProcess) -> None:
        """
        Which it would wait for.
        """
        process.loop.setup()
        refused = process.run_in_reactor(process.loop.shutdown)()
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        with pytest.raises(DeadlockError, match=r"shutdown\(\) in the reactor thread"):
            refused.wait(0)

    def test_is_refused_after_no_setup(self, stepped: FakeProcess) -> None:
        """
        The reactor is the program's.
        """
        with pytest.raises(RuntimeError, match=r"call reactor\.stop\(\)"):
            stepped.loop.shutdown()
        assert stepped.reactor.running

    @pytest.mark.parametrize("timeout", [float("nan"), "5"])
    def test_refuses_what_is_no_timeout(self, process: FakeProcess, timeout: Any) -> None:
        """
        Before it does anything.
        """
        process.loop.setup()
        with pytest.raises((ValueError, TypeError)):
            process.loop.shutdown(timeout)
        assert not process.run_in_reactor(int)().done()

    def test_leaves_no_descriptor_open(self) -> None:
        """
        The fixture for all tests sees to that.
        """
        process = FakeProcess(new_real_reactor(), start_thread)
        for _ in range(3):
            process.loop.setup()
            assert process.wait_for(BOUND)(lambda: 7)() == 7
            process.loop.shutdown(BOUND)

    def test_interrupted_at_each_point_where_python_looks_for_signals(self) -> None:
        """
        By an exception. The lock of setup() and shutdown() is not left locked, for other threads
        would then wait for it for ever; and what was begun can be done. Python looks when a call
        has returned, when a function begins, and where a loop begins anew.
        """

        def shut_down(process: FakeProcess) -> None:
            process.loop.setup()
            process.will_run_reactor()
            process.loop.shutdown(0.1)

        def shut_down_again(process: FakeProcess) -> None:
            process.loop.setup()
            with pytest.raises(TimeoutError):
                process.loop.shutdown(0)
            process.will_run_reactor()
            process.loop.shutdown(0)

        def interrupt() -> None:
            raise KeyboardInterrupt

        for scene in (
            shut_down,
            shut_down_again,
            lambda process: process.loop.no_setup(),
            lambda process: process.loop.setup() or process.stay_parent(),
        ):
            for at in itertools.count():
                process = FakeProcess()
                steps = Looks(at, interrupt, _loop.__file__)
                with suppress(KeyboardInterrupt):
                    steps.run(partial(scene, process))
                lock: Any = process.loop._setup_lock
                assert not lock._is_owned(), (scene, at)
                assert Background(lock.acquire, False).outcome()
                if not steps.is_over:
                    assert at > 10
                    break

    def test_refused_in_the_middle_of_setup_leaves_the_lock_to_that(
        self, process: FakeProcess
    ) -> None:
        """
        It is released once, by whoever has acquired it.
        """

        def interrupted() -> Any:
            with pytest.raises(RuntimeError, match="in the middle of"):
                process.loop.shutdown()
            assert lock._is_owned()
            assert not Background(lock.acquire, False).outcome()
            return process.reactor

        lock: Any = process.loop._setup_lock
        process.loop._import_reactor = interrupted
        process.loop.setup()
        assert not lock._is_owned()

    def test_of_a_block_whose_setup_was_interrupted(
        self, threaded: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        By a signal's exception, when it was done: the reactor is shut down all the same. One that
        ran before is not, nor is one that was not to be set up so.
        """
        setup = threaded.loop.setup

        def interrupted(**options: Any) -> None:
            setup(**options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threaded.loop, "setup", interrupted)
            with pytest.raises(KeyboardInterrupt), threaded.running(timeout=BOUND):
                pass
            with pytest.raises(ReactorStopped):
                threaded.run_in_reactor(int)()
            setup()
            with pytest.raises(KeyboardInterrupt), threaded.running(timeout=BOUND):
                pass
        with pytest.raises(RuntimeError), threaded.running(reactor="select"):
            pass
        assert threaded.wait_for(BOUND)(lambda: 7)() == 7

    def test_after_a_block(self, threaded: FakeProcess) -> None:
        """
        However it ends.
        """
        with threaded.running(logging=False, timeout=BOUND):
            assert threaded.wait_for(BOUND)(lambda: 7)() == 7
        with pytest.raises(ZeroDivisionError), threaded.running(timeout=BOUND):
            1 / 0  # noqa: B018
        with pytest.raises(ReactorStopped):
            threaded.run_in_reactor(int)()
        assert threaded.logs.calls == ["start", "stop"]


class TestExit:
    """
    The interpreter's exit.
    """

    def test_stops_the_reactor(self, threaded: FakeProcess) -> None:
        """
        And writes the logs.
        """
        threaded.loop.setup()
        thread: Any = threaded.wait_for(BOUND)(threading.current_thread)()
        threaded.exit()
        assert not thread.is_alive()
        assert threaded.logs.calls == ["start", "finish"]
        with pytest.raises(ReactorStopped, match="the interpreter is exiting"):
            threaded.run_in_reactor(int)()

    def test_ends_what_is_pending(self, threaded: FakeProcess) -> None:
        """
        With a text that says why.
        """
        told: list[object] = []
        threaded.loop.setup()
        result = threaded.run_in_reactor(Deferred)(told.append)
        threaded.exit()
        assert len(told) == 1
        with pytest.raises(ReactorStopped, match="the interpreter is exiting"):
            result.wait(0)

    def test_of_a_reactor_that_has_stopped(self, threaded: FakeProcess) -> None:
        """
        There is nothing to wait for.
        """
        threaded.loop.setup()
        threaded.run_in_reactor(threaded.reactor.stop)()
        _thread_of(threaded).join(BOUND)
        threaded.exit()
        assert threaded.reactor.threadCallQueue == []

    def test_of_a_reactor_that_is_stopping(
        self, threaded: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        1. The program stops the reactor. 2. The exit hook, which cannot know, does, too.
        """
        blocked, go_on = threading.Event(), threading.Event()

        def block() -> None:
            blocked.set()
            assert go_on.wait(BOUND)

        threaded.loop.setup()
        threaded.run_in_reactor(block)()
        assert blocked.wait(BOUND)
        threaded.reactor.callFromThread(threaded.reactor.stop)
        call_from_thread = threaded.reactor.callFromThread

        def call_and_go_on(*args: Any) -> None:
            call_from_thread(*args)
            go_on.set()

        threaded.reactor.callFromThread = call_and_go_on
        threaded.exit()
        assert logged.events == []

    def test_refuses_calls_that_come_after_it(self, process: FakeProcess) -> None:
        """
        While the reactor is still to stop; those that were accepted are answered.
        """
        process.loop.setup()
        result = process.run_in_reactor(lambda: 7)()
        process.exit()
        with pytest.raises(ReactorStopped, match="the interpreter is exiting"):
            process.run_in_reactor(int)()
        process.run_reactor()
        assert result.wait(0) == 7

    def test_right_after_setup(
        self, process: FakeProcess, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        1. ``setup()`` has returned. 2. The exit hook tells the reactor to stop, and waits. 3. The
        thread gets to run, and ends.
        """
        process.loop.setup()
        (thread,) = process.threads.started
        process.will_run_reactor()
        process.exit()
        assert not thread.is_alive()
        assert not process.reactor.running
        assert capsys.readouterr() == ("", "")

    def test_is_not_held_up_for_ever(
        self, threaded: FakeProcess, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        By a reactor that is blocked; it is said where.
        """
        blocked, go_on = threading.Event(), threading.Event()

        def a_blocking_body() -> None:
            blocked.set()
            assert go_on.wait(BOUND)

        threaded.loop.setup()
        threaded.run_in_reactor(a_blocking_body)()
        assert blocked.wait(BOUND)
        threaded.loop.setup(exit_patience=0.01)
        threaded.exit()
        said = capsys.readouterr().err
        assert "the reactor thread has not stopped within 0.01 s" in said
        assert "in a_blocking_body" in said
        go_on.set()
        _thread_of(threaded).join(BOUND)

    def test_says_nothing_if_there_is_nobody_to_tell(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        As in a program without a console.
        """
        process.loop.setup()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", None)
            process.exit()
        process.run_reactor()

    def test_says_what_it_knows(
        self, process: FakeProcess, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        Of a thread that has not come to life.
        """
        process.loop.setup()
        process.exit()
        said = capsys.readouterr().err
        assert said.endswith("exiting without it. It is here:\n(nowhere)\n")
        process.run_reactor()

    def test_logs_errors_that_nobody_has_taken(
        self, threaded: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        Of results that are still held.
        """
        error = ValueError("of a body")

        def body() -> None:
            raise error

        threaded.loop.setup()
        result = threaded.run_in_reactor(body)()
        threaded.exit()
        assert logged.take() == [error]
        threaded.exit()
        del result
        gc.collect()
        assert logged.events == []

    def test_without_setup(self, process: FakeProcess) -> None:
        """
        Is none of our business.
        """
        assert process.exit_hooks == []

    def test_after_no_setup(self, process: FakeProcess, logged: LoggedFailures) -> None:
        """
        Errors are logged; the reactor is the program's.
        """
        error = ValueError("of a body")

        def body() -> None:
            raise error

        process.loop.no_setup()
        result = process.run_in_reactor(body)()
        process.reactor.start()
        process.reactor.turn()
        process.exit()
        assert process.reactor.running
        assert logged.take() == [error]
        assert process.logs.calls == []
        assert result.done()


class TestExitPatience:
    """
    ``setup(exit_patience=...)``
    """

    @pytest.mark.parametrize(
        ("patience", "reactor", "futures", "logs"),
        [
            ({}, 4.9, 1.9, 2.0),
            ({"exit_patience": 20}, 19.9, 16.9, 17.0),
            ({"exit_patience": 2.0}, 1.9, 0.0, 0.0),
            ({"exit_patience": 0}, 0.0, 0.0, 0.0),
            ({"exit_patience": 0.5}, 0.45, 0.0, 0.0),
        ],
    )
    def test_is_one_for_all_that_exit_waits_for(
        self,
        process: FakeProcess,
        monkeypatch: pytest.MonkeyPatch,
        patience: dict[str, float],
        reactor: float,
        futures: float,
        logs: float,
    ) -> None:
        """
        The reactor thread takes three seconds here. Something is kept for the logs.
        """
        clock = FakeClock()
        waits: list[float | None] = []

        def join(timeout: float | None = None) -> None:
            waits.append(timeout)
            clock.now += 3.0

        process.loop.setup(**patience)
        (thread,) = process.threads.started
        with monkeypatch.context() as patch:
            clock.install(patch)
            patch.setattr(_loop, "monotonic", clock)
            patch.setattr(thread, "join", join)
            patch.setattr(process.loop, "_deliveries", SimpleNamespace(stop=waits.append))
            process.exit()
        assert waits == pytest.approx([reactor, futures])
        assert process.logs.patience == pytest.approx(logs)
        process.run_reactor()

    def test_none_waits_as_long_as_it_takes(self, process: FakeProcess) -> None:
        """
        As far as a lock can be told.
        """
        waits: list[float | None] = []
        process.loop.setup(exit_patience=None)
        (thread,) = process.threads.started
        thread.join = waits.append  # type: ignore[assignment]
        process.exit()
        assert waits == [threading.TIMEOUT_MAX]
        assert process.logs.patience == threading.TIMEOUT_MAX
        process.run_reactor()

    def test_leaves_half_of_a_short_one_after_the_cleanup(self, process: FakeProcess) -> None:
        """
        So that what does not clean up is not what exit waits for in vain.
        """
        process.loop.setup(exit_patience=0.5)
        process.exit()
        assert process.loop._reactor_thread is not None
        assert process.loop._reactor_thread._grace == 0.25
        process.run_reactor()

    @pytest.mark.parametrize(
        ("wrong", "kind", "text"),
        [
            ("1", TypeError, "number of seconds"),
            (print, TypeError, "number of seconds"),
            (-1, ValueError, "exit_patience cannot be -1 s: give a number of seconds from 0 up"),
            (float("nan"), ValueError, "NaN"),
        ],
    )
    def test_is_checked(self, process: FakeProcess, wrong: Any, kind: Any, text: str) -> None:
        """
        Before anything is changed.
        """
        with pytest.raises(kind, match=text):
            process.loop.setup(exit_patience=wrong, stall_warning=9.0)
        assert process.threads.started == []
        assert process.loop._stall_warning == 1.0

    def test_what_was_given_last_holds(self, process: FakeProcess) -> None:
        """
        What was not given changes nothing; a forked child has what its parent was given.
        """
        loop, seen = process.loop, list[float]()
        for given in [{}, {"exit_patience": 2}, {}, {"exit_patience": None}, {}]:
            loop.setup(**given)  # type: ignore[arg-type]
            seen.append(loop._exit_patience)
        assert seen == [5.0, 2.0, 2.0, math.inf, math.inf]
        process.fork()
        loop.setup()
        assert loop._exit_patience == math.inf
        process.exit()
        process.run_reactor()

    def test_of_running(self, threaded: FakeProcess) -> None:
        """
        The same.
        """
        with threaded.running(exit_patience=3.0, timeout=BOUND):
            assert threaded.loop._exit_patience == 3.0
        assert threaded.loop._exit_patience == 3.0

    @pytest.mark.parametrize("patience", ["None", "float(sys.argv[1])"])
    def test_work_of_the_thread_pool_is_finished(self, patience: str) -> None:
        """
        Which was under way when the reactor began to stop.
        """
        finished = run_python(
            f"""
            import sys, threading
            import crochet
            crochet.setup(exit_patience={patience})

            from twisted.internet import reactor
            from twisted.internet.threads import deferToThread

            has_begun, stops = threading.Event(), threading.Event()

            def work():
                has_begun.set()
                assert stops.wait()
                print("finished", flush=True)

            @crochet.wait_for(float(sys.argv[1]))
            def begin():
                reactor.addSystemEventTrigger("before", "shutdown", stops.set)
                deferToThread(work)

            begin()
            has_begun.wait()
            """
        )
        assert finished == (0, "finished\n", "")

    def test_what_is_cut_off_is_said_in_a_line(self) -> None:
        """
        Each function that the pool was at, one in C included, and how many wait for a thread.
        """
        finished = run_python(
            """
            import _thread, functools, sys, threading
            import crochet
            crochet.setup(exit_patience=0.2)

            from twisted.internet import reactor
            from twisted.internet.threads import deferToThread

            class Report:
                def write(self):
                    has_begun.release()
                    threading.Event().wait()

            has_begun = threading.Semaphore(0)
            stuck = _thread.allocate_lock()
            stuck.acquire()

            @crochet.wait_for(float(sys.argv[1]))
            def begin():
                reactor.suggestThreadPoolSize(3)
                for work in (Report().write, functools.partial(Report().write), stuck.acquire, int):
                    deferToThread(work)

            begin()
            has_begun.acquire()
            has_begun.acquire()
            while not any(
                sys._current_frames().get(each.ident, sys._getframe()).f_code.co_name
                == "callWithContext" for each in reactor.threadpool.threads
            ):
                pass
            """
        )
        assert finished.stderr == (
            "crochet: cut off at exit, in the reactor's thread pool, for it was not done within "
            "0.2 s: Report.write(), Report.write(), lock.acquire(), 1 that had not begun. "
            "crochet.setup(exit_patience=None) waits for it.\n"
        )

    def test_a_blocked_reactor_and_work_in_its_pool_are_both_said(self) -> None:
        """
        The former with its stack, for it is a mistake.
        """
        finished = run_python(
            """
            import threading
            import crochet
            crochet.setup(exit_patience=0.2)

            from twisted.internet.threads import deferToThread

            def work():
                both.wait()
                threading.Event().wait()

            both = threading.Barrier(3)

            @crochet.run_in_reactor
            def body():
                deferToThread(work)
                work()

            body()
            both.wait()
            """
        )
        line, rest = finished.stderr.split("\n", 1)
        assert line.startswith("crochet: cut off at exit, in the reactor's thread pool")
        assert "within 0.2 s: work(). " in line
        assert rest.startswith("crochet: the reactor thread has not stopped within 0.2 s")
        assert "in body" in rest

    def test_none_at_all_is_quiet(self) -> None:
        """
        Who does not wait is not told that the reactor was still stopping.
        """
        finished = run_python(
            """
            import crochet
            crochet.setup(exit_patience=0)
            assert crochet.wait_for(30)(lambda: 7)() == 7
            """
        )
        assert finished == (0, "", "")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
    def test_of_a_forked_child(self) -> None:
        """
        It is its parent's.
        """
        finished = run_python(
            """
            import os, sys, threading
            import crochet
            crochet.setup(exit_patience=0.1)
            has_begun = threading.Event()

            @crochet.run_in_reactor
            def body():
                has_begun.set()
                threading.Event().wait()

            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                body()
                has_begun.wait()
            """,
            flags=(),
        )
        assert "the reactor thread has not stopped within 0.1 s" in finished.stderr


class TestFork:
    """
    A child that is forked from a process, seen from the child.
    """

    def test_answers_what_was_in_flight(self, process: FakeProcess) -> None:
        """
        The parent's reactor thread is not here to do it.
        """
        process.loop.setup()
        result = process.run_in_reactor(Deferred)()
        process.fork()
        with pytest.raises(ReactorStopped, match=r"forked.*Make the call again in this process"):
            result.wait(0)
        assert process.logs.calls == ["start", "after_fork_in_child"]
        assert process.children.calls == ["start", "after_fork_in_child"]

    def test_starts_nothing_of_its_own_accord(self, process: FakeProcess) -> None:
        """
        Most children run another program at once.
        """
        process.loop.setup()
        process.fork()
        assert len(process.threads.started) == 1

    @pytest.mark.parametrize("logging", [True, False])
    def test_sets_up_for_the_first_call(self, process: FakeProcess, logging: bool) -> None:
        """
        A reactor thread of its own, and what the parent's ``setup()`` asked for.
        """
        process.loop.setup(logging=logging)
        process.fork()
        results = [process.run_in_reactor(lambda: 7)() for _ in range(2)]
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert [result.wait(0) for result in results] == [7, 7]
        assert len(process.threads.started) == 2
        assert process.logs.calls == ["start", "after_fork_in_child", "start"] * logging
        assert process.children.calls == ["start", "after_fork_in_child", "start", "stop"]

    def test_may_set_up_itself(self, process: FakeProcess) -> None:
        """
        As if nobody had, with logs or without.
        """
        process.loop.setup()
        process.fork()
        process.loop.setup(logging=False)
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7
        assert process.logs.calls == ["start", "after_fork_in_child"]

    def test_refuses_a_call_for_which_it_cannot_set_up(self, process: FakeProcess) -> None:
        """
        And accepts the next if that can be.
        """
        process.loop.setup()
        process.fork()
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            process.run_in_reactor(int)()
        process.threads.error = None
        assert not process.run_in_reactor(int)().done()
        assert len(process.threads.started) == 2

    def test_may_fork_in_turn(self, process: FakeProcess) -> None:
        """
        Before it has made any call, or after.
        """
        process.loop.setup()
        process.fork()
        process.fork()
        lost = process.run_in_reactor(int)()
        process.fork()
        with pytest.raises(ReactorStopped, match="forked"):
            lost.wait(0)
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7
        assert process.logs.calls == ["start", "after_fork_in_child"] * 2 + ["start"]

    def test_exits_without_it(
        self, process: FakeProcess, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        There is no thread to wait for, and nothing to be logged.
        """
        process.loop.setup()
        process.fork()
        process.exit()
        assert process.logs.calls == ["start", "after_fork_in_child"]
        assert capsys.readouterr() == ("", "")

    def test_needs_not_be_shut_down(self, process: FakeProcess) -> None:
        """
        But may be.
        """
        process.loop.setup()
        process.fork()
        process.loop.shutdown()
        with pytest.raises(ReactorStopped, match=r"shutdown\(\) has stopped"):
            process.run_in_reactor(int)()
        assert len(process.threads.started) == 1

    def test_finds_the_reactor_thread_parked(self, threaded: FakeProcess) -> None:
        """
        In the parent, before and until it has been forked.
        """
        threaded.loop.setup()
        seen: list[str] = []
        threaded.fork_hooks["before"]()
        result = threaded.run_in_reactor(lambda: seen.append("gone on"))()
        assert seen == []
        threaded.fork_hooks["after_in_parent"]()
        assert result.wait(BOUND) is None
        assert seen == ["gone on"]

    @pytest.mark.parametrize("name", ["setup", "no_setup"])
    def test_waits_until_no_other_thread_imports_the_reactor(
        self, name: str, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        For a while, and not for its own thread: the child would find the lock of that import held.
        """
        importing, may_end = threading.Event(), threading.Event()
        waits: list[float] = []

        def import_reactor() -> Any:
            process.stay_parent()  # a fork in the middle of it, by the thread that is at it
            assert waits == []
            importing.set()
            assert may_end.wait(BOUND)
            return process.reactor

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                may_end.set()
                setting_up.outcome()

        monkeypatch.setattr(process.loop, "_import_reactor", import_reactor)
        monkeypatch.setattr(_loop, "time", SimpleNamespace(sleep=sleep))
        setting_up = Background(getattr(process.loop, name))
        assert importing.wait(BOUND)
        with monkeypatch.context() as patch:
            patch.setattr(_loop, "_STARTING_TAKES", -1.0)
            process.stay_parent()
        assert waits == []  # and not for longer than that
        process.stay_parent()
        assert len(waits) == 2

    def test_of_the_reactor_thread_needs_no_parking(self, stepped: FakeProcess) -> None:
        """
        It is here; nor of a process whose reactor does not run.
        """
        with in_reactor_thread(stepped.bridge):
            stepped.stay_parent()
        stepped.bridge.reactor_thread = None
        stepped.stay_parent()
        assert stepped.reactor.threadCallQueue == []

    def test_leaves_errors_to_the_parent(
        self, process: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        Which logs them, once for both.
        """

        def body() -> None:
            raise ValueError("of a body")

        process.loop.setup()
        result = process.run_in_reactor(body)()
        process.reactor.callFromThread(process.reactor.crash)
        process.run_reactor()
        process.fork()
        process.exit()
        del result
        gc.collect()
        assert logged.events == []

    def test_while_a_clock_takes_the_reactors_place(self, process: FakeProcess) -> None:
        """
        Has no reactor, and none to let go of.
        """
        process.loop._prepare()  # an earlier setup() has
        process.bridge.open(lambda function, *args: None)
        with in_reactor_thread(process.bridge):
            result = process.run_in_reactor(int)()
            process.fork()
        for call in (lambda: result.wait(0), process.run_in_reactor(int)):
            with pytest.raises(ReactorStopped, match="forked"):
                call()

    def test_may_be_the_first_to_set_up(self, process: FakeProcess) -> None:
        """
        Even if the parent has tried in vain.
        """
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            process.loop.setup()
        process.fork()
        _check_that_nothing_is_left(process)

    def test_in_the_middle_of_setup(self, process: FakeProcess) -> None:
        """
        1. Another thread is in ``setup()`` and holds its lock. 2. This one forks. 3. The child,
        which does not have that thread, calls ``setup()``: it does not wait for the lock, nor
        take the other's work for under way.
        """
        is_starting, go_on = threading.Event(), threading.Event()
        import_reactor = process.import_reactor

        def interrupted() -> Any:
            is_starting.set()
            assert go_on.wait(BOUND)
            raise OSError(24, "of the parent")

        process.loop._import_reactor = interrupted
        other = Background(process.loop.setup)
        assert is_starting.wait(BOUND)
        process.fork()
        with pytest.raises(RuntimeError, match=r"before crochet\.setup\(\)"):
            process.run_in_reactor(int)()
        process.loop._import_reactor = import_reactor
        process.loop.setup()
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7
        assert process.logs.calls == ["after_fork_in_child", "start"]
        go_on.set()
        with pytest.raises(OSError, match="of the parent"):
            other.outcome()

    def test_as_the_thread_is_started(self, process: FakeProcess) -> None:
        """
        1. Another thread is in ``setup()`` and has started everything but the reactor's thread.
        2. This one forks. 3. The child forgets what it has of that, and begins anew.
        """
        is_starting, go_on = threading.Event(), threading.Event()

        def start_thread(target: Callable[[], object], name: str) -> Any:
            is_starting.set()
            assert go_on.wait(BOUND)
            raise SystemExit  # the parent goes on elsewhere, and not with this memory

        process.loop._start_thread = start_thread
        other = Background(process.loop.setup)
        assert is_starting.wait(BOUND)
        process.fork()
        process.loop._start_thread = process.threads
        result = process.run_in_reactor(lambda: 7)()
        process.reactor.callFromThread(process.reactor.stop)
        process.run_reactor()
        assert result.wait(0) == 7
        assert process.logs.calls == ["start", "after_fork_in_child", "start"]
        assert process.children.calls == ["start", "after_fork_in_child", "start", "stop"]
        go_on.set()
        other.thread.join(BOUND)


class TestPrograms:
    """
    Whole programs, each in a process of its own.
    """

    def test_that_ends(self) -> None:
        """
        In silence.
        """
        finished = run_python(
            """
            import crochet
            crochet.setup()
            print(crochet.wait_for(timeout=30)(lambda: 7)())
            """
        )
        assert finished == (0, "7\n", "")

    def test_that_ends_right_after_setup(self) -> None:
        """
        Likewise.
        """
        assert run_python("import crochet; crochet.setup()") == (0, "", "")

    def test_that_ends_with_a_status(self) -> None:
        """
        Keeps it, with operations pending.
        """
        finished = run_python(
            """
            import sys
            import crochet
            from twisted.internet.defer import Deferred

            crochet.setup()
            pending = crochet.run_in_reactor(Deferred)()
            sys.exit(3)
            """,
            status=3,
        )
        assert finished == (3, "", "")

    def test_whose_workers_go_on(self) -> None:
        """
        They are served until they end, if they are no daemons.
        """
        finished = run_python(
            """
            import threading
            import crochet
            from twisted.internet.defer import Deferred

            crochet.setup()

            @crochet.wait_for(timeout=30)
            def fetch():
                from twisted.internet import reactor
                deferred = Deferred()
                reactor.callLater(0.1, deferred.callback, "served")
                return deferred

            def work():
                threading.main_thread().join()
                print(fetch(), flush=True)

            threading.Thread(target=work).start()
            """
        )
        assert finished == (0, "served\n", "")

    def test_that_calls_at_exit(self) -> None:
        """
        Is answered if its hook was registered after ``setup()``, and refused otherwise.
        """
        finished = run_python(
            """
            import atexit
            import crochet

            @crochet.wait_for(timeout=30)
            def fetch():
                return "answered"

            def call():
                try:
                    print(fetch(), flush=True)
                except crochet.ReactorStopped as error:
                    print(error, flush=True)

            atexit.register(call)
            crochet.setup()
            atexit.register(call)
            """
        )
        assert finished.stdout.startswith("answered\nfetch() cannot be answered: the ")
        assert finished.stderr == ""

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
    def test_that_forks(self) -> None:
        """
        The child gets a reactor of its own, and the parent goes on.
        """
        finished = run_python(
            """
            import os
            import crochet
            from twisted.internet.defer import Deferred

            crochet.setup()
            call = crochet.wait_for(timeout=30)(os.getpid)
            pending = crochet.run_in_reactor(Deferred)()
            call()
            pid = os.fork()
            if pid == 0:
                try:
                    pending.wait()
                except crochet.ReactorStopped as error:
                    print("forked" in str(error), flush=True)
                print(call() == os.getpid(), flush=True)
                raise SystemExit(5)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print(status, call() == os.getpid(), pending.done(), flush=True)
            """,
            flags=("-W", "error", "-W", "ignore:This process.*fork:DeprecationWarning"),
        )
        assert finished == (0, "True\nTrue\n5 True False\n", "")


class TestWatch:
    """
    What watches the reactor thread.
    """

    def test_begins_and_ends_with_a_life(self, threaded: FakeProcess) -> None:
        """
        It is told to end when the reactor has, and waited for by the next setup() or shutdown().
        """
        threaded.loop.setup()
        assert threaded.watchdog.calls == ["start"]
        threaded.loop.shutdown(BOUND)
        assert threaded.watchdog.calls == ["start", "stop", "join"]

    def test_setup_that_fails_later_ends_it(self, process: FakeProcess) -> None:
        """
        The reactor's thread cannot be started.
        """
        process.threads.error = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="new thread"):
            process.loop.setup()
        assert process.watchdog.calls == ["start", "stop", "join"]
        _check_that_nothing_is_left(process)

    def test_setup_fails_without_it(self, process: FakeProcess) -> None:
        """
        Likewise its own.
        """
        process.watchdog.errors["start"] = RuntimeError("can't start new thread")
        with pytest.raises(RuntimeError, match="new thread"):
            process.loop.setup()
        process.watchdog.errors.clear()
        _check_that_nothing_is_left(process)


class TestMaxQueued:
    """
    ``setup(max_queued=...)``
    """

    def test_is_the_bridges_bound(self, process: FakeProcess) -> None:
        """
        From when it is given, also while the reactor runs, until it is given anew.
        """
        seen: list[object] = []
        given: list[dict[str, Any]] = [{}, {"max_queued": 3}, {}, {"max_queued": 2.0}]
        for arguments in [*given, {"max_queued": None}, {"max_queued": math.inf}]:
            process.loop.setup(**arguments)
            seen.append(process.bridge.max_queued)
        assert seen == [None, 3, 3, 2, None, None]

    @pytest.mark.parametrize(
        ("wrong", "error", "text"),
        [
            (0, ValueError, "cannot be 0: no call could be made"),
            (0.5, ValueError, "cannot be 0.5: no call could be made"),
            (-1, ValueError, "cannot be -1: no call could be made"),
            (math.nan, ValueError, "cannot be nan: no call could be made"),
            (1.5, ValueError, "cannot be 1.5: that is not a whole number"),
            ("5", TypeError, "is a number of calls, or None for any number, not str '5'"),
            (len, TypeError, "is a number of calls, .* not the function 'len'"),
        ],
    )
    def test_that_is_no_number_is_refused(
        self, process: FakeProcess, wrong: Any, error: type[Exception], text: str
    ) -> None:
        """
        And nothing was changed.
        """
        with pytest.raises(error, match=f"^max_queued {text}"):
            process.loop.setup(max_queued=wrong, stall_warning=9.0)
        assert process.bridge.max_queued is None
        assert process.loop._stall_warning != 9.0

    def test_refuses_calls_at_once(self, running: FakeProcess) -> None:
        """
        While the reactor thread is busy, and says with what. Those accepted are answered.
        """
        running.bridge.max_queued = 2
        entered, let_go = threading.Event(), threading.Event()

        def keep_busy() -> None:
            entered.set()
            assert let_go.wait(BOUND)

        busy = running.run_in_reactor(keep_busy)()
        assert entered.wait(BOUND)
        accepted = [running.run_in_reactor(int)() for _ in range(2)]
        with pytest.raises(ReactorBusy, match=r"int\(\) was refused: 2 calls .* keep_busy\(\)"):
            running.wait_for(BOUND)(int)()
        let_go.set()
        assert [each.wait(BOUND) for each in (busy, *accepted)] == [None, 0, 0]
