"""
A reactor that the program runs itself, after ``no_setup()``.
"""

from __future__ import annotations

import os
import threading

import pytest
from twisted.internet.defer import Deferred

from crochet import DeadlockError, ReactorStopped
from support.process import FakeProcess, in_reactor_thread
from support.stepping import BOUND, Background


class TestNoSetup:
    """
    ``no_setup()``
    """

    def test_leaves_the_reactor_to_the_program(self, process: FakeProcess) -> None:
        """
        Calls made before it runs are run when it does.
        """
        process.loop.no_setup()
        assert process.threads.started == []
        assert process.logs.calls == process.children.calls == []
        seen: list[int | None] = []
        result = process.run_in_reactor(lambda: seen.append(process.bridge.reactor_thread))()
        process.reactor.start()
        process.reactor.turn()
        assert result.wait(0) is None
        assert seen == [threading.get_ident()]

    def test_may_be_called_again(self, process: FakeProcess) -> None:
        """
        To no effect.
        """
        for _ in range(3):
            process.loop.no_setup()
        assert (len(process.exit_hooks), len(process.fork_hooks)) == (1, 3)

    def test_may_come_too_late(self, process: FakeProcess) -> None:
        """
        After a ``setup()`` that has acted.
        """
        process.loop.setup()
        with pytest.raises(RuntimeError, match=r"no_setup\(\) came too late.*top of the program"):
            process.loop.no_setup()

    def test_while_the_reactor_runs(self, process: FakeProcess) -> None:
        """
        The reactor's thread is learned in that thread, not in this one.
        """
        running = Background(process.reactor.run, False)
        is_running = threading.Event()
        process.reactor.callFromThread(is_running.set)
        assert is_running.wait(BOUND)
        process.loop.no_setup()
        assert process.wait_for(BOUND)(threading.get_ident)() == running.thread.ident
        assert process.bridge.reactor_thread == running.thread.ident
        process.reactor.callFromThread(process.reactor.stop)
        running.outcome()

    def test_with_a_real_reactor(self, real: FakeProcess) -> None:
        """
        That gets a wakeup once it runs.
        """
        real.loop.no_setup()
        running = Background(real.reactor.run, False)
        assert real.wait_for(BOUND)(threading.get_ident)() == running.thread.ident
        has_wakeup = hasattr(os, "eventfd") or not hasattr(real.reactor, "_asyncioEventloop")
        assert (real.loop._program_reactor._wakeup is not None) == has_wakeup
        assert real.wait_for(BOUND)(lambda: 7)() == 7
        real.reactor.callFromThread(real.reactor.stop)
        running.outcome()

    def test_releases_waiters_when_the_reactor_stops(self, process: FakeProcess) -> None:
        """
        Like ``setup()``.
        """
        process.loop.no_setup()
        told: list[object] = []
        result = process.run_in_reactor(Deferred)(told.append)
        process.run_in_reactor(process.reactor.stop)()
        process.reactor.run(False)
        assert len(told) == 1
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            result.wait(0)

    def test_refuses_calls_when_the_reactor_has_stopped(self, process: FakeProcess) -> None:
        """
        In what was the reactor's thread for that reason, too.
        """
        process.loop.no_setup()
        refused: list[BaseException] = []

        def wait() -> None:
            try:
                process.wait_for(5)(int)()
            except DeadlockError as error:
                refused.append(error)

        process.run_in_reactor(wait)()
        process.run_in_reactor(process.reactor.stop)()
        process.reactor.run(False)
        assert len(refused) == 1
        for call in (process.run_in_reactor(int), process.wait_for(5)(int)):
            with pytest.raises(ReactorStopped, match="the reactor has stopped"):
                call()


class TestCrash:
    """
    It ends in another way than by ``stop()``.
    """

    def test_releases_waiters(self, process: FakeProcess) -> None:
        """
        And says why.
        """
        process.loop.no_setup()
        result = process.run_in_reactor(Deferred)()
        process.run_in_reactor(process.reactor.crash)()
        process.reactor.run(False)
        for call in (lambda: result.wait(0), process.run_in_reactor(int)):
            with pytest.raises(ReactorStopped, match="crash"):
                call()
        assert process.watchdog.calls == ["start", "stop", "join"]
        assert process.bridge.reactor_thread is None

    def test_may_be_followed_by_another_run(self, process: FakeProcess) -> None:
        """
        Then calls are accepted again; and not after a ``stop()``.
        """
        process.loop.no_setup()
        process.reactor.callWhenRunning(process.reactor.crash)
        process.reactor.run(False)
        answers: list[int] = []

        def call() -> None:
            process.run_in_reactor(answers.append)(7)
            process.run_in_reactor(process.reactor.stop)()

        process.reactor.callWhenRunning(call)
        process.reactor.run(False)
        assert answers == [7]
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            process.run_in_reactor(int)()
        assert process.watchdog.calls == ["start", "stop", "join"] * 2


class TestWatch:
    """
    What watches its thread.
    """

    def test_the_programs_reactor_runs_without_it(self, process: FakeProcess) -> None:
        """
        Its thread cannot be started. Calls are answered, and forks find nothing amiss.
        """
        process.watchdog.errors["start"] = RuntimeError("can't start new thread")
        process.loop.no_setup()
        answers = []
        process.reactor.callLater(1.0, process.fork)
        process.reactor.callLater(2.0, process.reactor.stop)
        process.run_in_reactor(int)().add_done_callback(answers.append)
        process.reactor.run(installSignalHandlers=False)
        assert process.watchdog.calls == ["start"]
        assert len(answers) == 1

    def test_ends_with_the_programs_reactor(self, process: FakeProcess) -> None:
        """
        However often it is told to.
        """
        process.loop.no_setup()
        process.loop.setup(stall_warning=2.0)
        process.reactor.callWhenRunning(lambda: limits.append(process.watchdog.stall_warning))
        process.reactor.callWhenRunning(process.reactor.stop)
        limits: list[float] = []
        process.reactor.run(installSignalHandlers=False)
        assert process.watchdog.calls == ["start", "stop", "join"]
        assert limits == [2.0]


class TestFork:
    """
    A forked child.
    """

    def test_may_run_the_reactor_itself(self, process: FakeProcess) -> None:
        """
        If it did not run before: so do daemons that fork.
        """
        process.loop.no_setup()
        result = process.run_in_reactor(lambda: 7)()
        process.fork()
        process.reactor.start()
        process.reactor.turn()
        assert result.wait(0) == 7

    def test_of_a_process_that_ran_the_reactor_itself(self, stepped: FakeProcess) -> None:
        """
        Has none.
        """
        with in_reactor_thread(stepped.bridge):
            stepped.fork()
        with pytest.raises(ReactorStopped, match="forked"):
            stepped.run_in_reactor(int)()

    def test_may_run_a_reactor_that_ran_before(self, process: FakeProcess) -> None:
        """
        In the parent. It says so once more, and hears of that reactor's end once.
        """
        process.loop.no_setup()
        process.reactor.start()
        process.reactor.turn()
        process.fork()
        run = process.reactor.run
        process.loop.no_setup()
        assert process.reactor.run is run
        result = process.run_in_reactor(lambda: 7)()
        process.run_in_reactor(process.reactor.stop)()
        process.reactor.run(False)
        assert result.wait(0) == 7
