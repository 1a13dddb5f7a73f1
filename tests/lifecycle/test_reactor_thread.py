"""
One run of the reactor in a thread, from its start to its end.

The state machine over the whole library is in test_results.py.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorAlreadyRunning

from crochet import ReactorStopped, _errors
from crochet._core.bridge import Bridge
from crochet._core.decorators import Decorators
from crochet._lifecycle.reactor_thread import GRACE, ReactorThread
from crochet._reactor.restart import make_runnable
from crochet._stash.memory import MemoryStash
from crochet._threads.threads import start_thread
from support.process import FakeChildren, FakeProcess, FakeThreads, FakeWatchdog, LoggedFailures
from support.reactor import FakeReactor, new_real_reactor
from support.stepping import BOUND


class Lived:
    """
    A reactor thread and what it is made of.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.bridge = Bridge(_errors.not_set_up, MemoryStash())
        self.children = FakeChildren()
        self.threads = FakeThreads()
        self.seen: list[str] = []
        self.reactor_thread = ReactorThread(
            reactor, self.bridge, self.children, FakeWatchdog(), lambda: self.seen.append("end")
        )

    def start(self, start_thread: Any = None) -> None:
        self.reactor_thread.start(start_thread or self.threads, lambda: self.seen.append("begun"))


@pytest.fixture
def fake() -> Lived:
    """
    With a fake reactor.
    """
    return Lived(FakeReactor())


@pytest.fixture
def real() -> Iterator[Lived]:
    """
    With a real one, which is to be buried.
    """
    lived = Lived(new_real_reactor())
    yield lived
    lived.reactor_thread.close()


class TestStart:
    """
    ``start()``
    """

    def test_begins(self, fake: Lived) -> None:
        """
        Calls are accepted, and the thread is there.
        """
        assert not fake.reactor_thread.has_begun
        fake.start()
        assert fake.reactor_thread.has_begun
        assert not fake.reactor_thread.has_ended
        assert fake.bridge.refusal is None
        assert fake.reactor_thread.thread is not None
        assert fake.children.calls == ["start"]
        assert fake.seen == ["begun"]

    @pytest.mark.parametrize("who", ["children", "threads"])
    def test_that_fails_leaves_everything_as_it_was(self, real: Lived, who: str) -> None:
        """
        The reactor's readers, its triggers, and why calls are refused.
        """
        error = RuntimeError("can't start new thread")
        real.bridge.refuse(_errors.shut_down)
        before = (real.reactor.getReaders(), real.reactor._eventTriggers.keys())
        if who == "threads":
            real.threads.error = error
        else:
            real.children.errors["start"] = error
        with pytest.raises(RuntimeError, match="can't start new thread"):
            real.start()
        assert (real.reactor.getReaders(), real.reactor._eventTriggers.keys()) == before
        assert real.bridge.refusal is _errors.shut_down
        assert not real.reactor_thread.has_begun
        assert real.seen == []
        assert real.children.calls == ["start", "stop"][: 1 + (who == "threads")]
        real.reactor.callWhenRunning(real.reactor.stop)
        real.reactor.run(False)
        assert real.seen == []


class TestRun:
    """
    What the reactor thread does.
    """

    def test_knows_its_thread_while_it_lasts(self, fake: Lived) -> None:
        """
        And says when it is over.
        """
        idents: list[int | None] = []
        fake.start()
        fake.reactor.callFromThread(lambda: idents.append(fake.bridge.reactor_thread))
        fake.reactor.callFromThread(fake.reactor.stop)
        fake.threads.started[0].run()
        assert idents == [threading.get_ident()]
        assert fake.bridge.reactor_thread is None
        assert fake.reactor_thread.has_ended
        assert fake.seen == ["begun", "end"]
        assert fake.children.calls == ["start", "stop"]

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_that_an_error_leaves_can_be_followed_by_another(
        self, fake: Lived, logged: LoggedFailures, error: type[BaseException]
    ) -> None:
        """
        Although the reactor takes itself to be running.
        """
        main_loop = fake.reactor.mainLoop

        def run_main_loop() -> None:
            fake.reactor.turn()
            raise error("through run()")

        fake.reactor.mainLoop = run_main_loop
        fake.start()
        fake.threads.started[0].run()
        assert [type(each) for each in logged.take()] == [error]
        assert not fake.reactor.running
        assert fake.seen == ["begun", "end"]
        fake.reactor.mainLoop = main_loop
        make_runnable(fake.reactor)
        fake.reactor.callWhenRunning(fake.reactor.stop)
        fake.reactor.run(False)

    def test_does_not_end_a_reactor_that_the_program_runs(
        self, fake: Lived, logged: LoggedFailures
    ) -> None:
        """
        1. The thread is started. 2. The program runs the reactor itself, before the thread does.
        3. The thread finds it running.
        """
        fake.start()
        fake.reactor.start()
        fake.threads.started[0].run()
        assert [type(each) for each in logged.take()] == [ReactorAlreadyRunning]
        assert fake.reactor.running
        assert fake.reactor_thread.has_ended

    def test_says_that_it_is_over_whatever_fails(self, fake: Lived) -> None:
        """
        On the way there.
        """

        def fail() -> None:
            raise ValueError("of a connection")

        fake.reactor.disconnectAll = fail
        fake.start()
        fake.reactor.callFromThread(fake.reactor.crash)
        with pytest.raises(ValueError, match="of a connection"):
            fake.threads.started[0].run()
        assert fake.seen == ["begun", "end"]


class TestEndedFromOutside:
    """
    ``end()``
    """

    def test_waits_for_the_thread(self, real: Lived) -> None:
        """
        And then there is nothing left to be done.
        """
        real.start(start_thread)
        assert real.reactor_thread.end(_errors.shut_down, 1.0, BOUND)
        assert real.reactor_thread.has_ended
        assert real.bridge.refusal is _errors.shut_down
        assert real.reactor_thread.end(_errors.exiting, 1.0, BOUND)

    def test_does_not_wait_for_ever(self, fake: Lived) -> None:
        """
        It can be asked again.
        """
        fake.start()
        assert not fake.reactor_thread.end(_errors.shut_down, 1.0, 0.0)
        fake.threads.started[0].run()
        fake.reactor_thread.thread = fake.threads.started[0]  # type: ignore[assignment]
        assert fake.reactor_thread.end(_errors.shut_down, 1.0, 0.0)

    def test_gives_operations_the_time_it_is_told_to(self, fake: Lived) -> None:
        """
        For their cleanup.
        """
        late: Deferred[None] = Deferred()

        async def operation() -> None:
            try:
                await Deferred()
            except CancelledError:
                await late

        seen: list[float] = []
        fake.reactor.addSystemEventTrigger(
            "during", "shutdown", lambda: seen.append(fake.reactor.seconds())
        )
        fake.start()
        pending: Any = Decorators(fake.bridge).run_in_reactor(operation)()
        assert not fake.reactor_thread.end(_errors.shut_down, 7.0, 0.0)
        fake.threads.started[0].run()
        assert seen == [7.0]
        with pytest.raises(ReactorStopped, match="shutdown"):
            pending.wait(0)
        late.callback(None)


class TestBurial:
    """
    ``close()``
    """

    @pytest.mark.parametrize("is_inherited", [False, True])
    def test_closes_what_the_reactor_had(self, is_inherited: bool) -> None:
        """
        The fixture for all tests sees to it. There is nothing to ring any more.
        """
        lived = Lived(new_real_reactor())
        lived.start(start_thread)
        assert lived.reactor_thread.end(_errors.shut_down, 1.0, BOUND)
        if is_inherited:
            lived.reactor_thread.after_fork_in_child()
        lived.reactor_thread.close()
        lived.reactor_thread.close()
        lived.bridge._wake_reactor([])

    def test_of_a_parent_s(self, fake: Lived) -> None:
        """
        It has ended, here, and has no thread.
        """
        fake.start()
        fake.reactor.start()
        fake.reactor_thread.after_fork_in_child()
        assert fake.reactor_thread.has_ended
        assert fake.reactor_thread.thread is None
        assert fake.children.calls == ["start", "after_fork_in_child"]
        assert fake.reactor_thread.end(_errors.exiting, 1.0, 0.0)
        assert fake.reactor.threadCallQueue == []
        fake.reactor_thread.close()
        assert not fake.reactor.running


class TestWhereabouts:
    """
    Where the reactor thread is.
    """

    def test_are_a_stack(self, fake: Lived) -> None:
        """
        Of that thread.
        """
        blocked, go_on = threading.Event(), threading.Event()

        def a_blocking_body() -> None:
            blocked.set()
            assert go_on.wait(BOUND)

        fake.start(start_thread)
        fake.reactor.callFromThread(a_blocking_body)
        assert blocked.wait(BOUND)
        assert "in a_blocking_body" in fake.reactor_thread.whereabouts()
        go_on.set()
        assert fake.reactor_thread.end(_errors.stopped, 1.0, BOUND)
        assert fake.reactor_thread.whereabouts() == "(nowhere)\n"

    def test_are_nowhere_before_it_lives(self, fake: Lived) -> None:
        """
        Or before it is there.
        """
        assert fake.reactor_thread.whereabouts() == "(nowhere)\n"
        fake.start()
        assert fake.reactor_thread.whereabouts() == "(nowhere)\n"


class TestEnd:
    """
    However the reactor ends, every call in flight is answered.
    """

    @staticmethod
    def _end(process: FakeProcess, end: Callable[[], object]) -> list[Any]:
        """
        Set up, make a call that hangs, one that does something in the reactor, one after it.
        """
        process.loop.setup()
        results = [process.run_in_reactor(body)() for body in (Deferred, end, Deferred)]
        process.run_reactor()
        return results

    def test_by_a_stop(self, process: FakeProcess) -> None:
        """
        Operations that have started are cancelled.
        """
        told: list[object] = []
        process.loop.setup()
        result = process.run_in_reactor(Deferred)(told.append)
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            result.wait(0)
        assert len(told) == 1
        assert process.children.calls == ["start", "stop"]

    def test_by_a_crash(self, process: FakeProcess) -> None:
        """
        Which fires no triggers.
        """
        hanging, _, queued = self._end(process, process.reactor.crash)
        for result in (hanging, queued):
            with pytest.raises(ReactorStopped, match="the reactor has stopped"):
                result.wait(0)
        assert process.children.calls == ["start", "stop"]

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_by_an_error(
        self, process: FakeProcess, logged: LoggedFailures, error: type[BaseException]
    ) -> None:
        """
        That goes through the reactor's ``run()``; it is logged.
        """

        def run(installSignalHandlers: bool) -> None:
            raise error("through run()")

        process.reactor.run = run
        process.loop.setup()
        result = process.run_in_reactor(int)()
        process.run_reactor()
        text = f"the reactor thread has ended with {error.__name__}: through run().*logged"
        for late in (result.wait, process.run_in_reactor(int)):
            with pytest.raises(ReactorStopped, match=text):
                late()
        assert [type(each) for each in logged.take()] == [error]

    @pytest.mark.parametrize("end", ["stop", "crash"])
    def test_refuses_later_calls(self, process: FakeProcess, end: str) -> None:
        """
        At once, in whichever thread.
        """
        self._end(process, getattr(process.reactor, end))
        for call in (process.run_in_reactor(int), process.wait_for(5)(int)):
            with pytest.raises(ReactorStopped, match="the reactor has stopped"):
                call()

    def test_gives_operations_time_to_clean_up(self, process: FakeProcess) -> None:
        """
        As long as they need, within bounds.
        """
        seen: list[tuple[str, float]] = []
        reactor = process.reactor

        async def operation() -> None:
            try:
                await Deferred()
            except CancelledError:
                cleaned: Deferred[None] = Deferred()
                reactor.callLater(0.75 * GRACE, cleaned.callback, None)
                await cleaned
                seen.append(("cleaned", reactor.seconds()))

        reactor.addSystemEventTrigger(
            "during", "shutdown", lambda: seen.append(("ended", reactor.seconds()))
        )
        process.loop.setup()
        held = [process.run_in_reactor(operation)() for _ in range(2)]  # or they are forgotten
        process.run_in_reactor(reactor.stop)()
        process.run_reactor()
        now = 0.75 * GRACE
        assert all(result.done() for result in held)
        assert seen == [("cleaned", now), ("cleaned", now), ("ended", now)]
        assert reactor.getDelayedCalls() == []

    def test_does_not_wait_for_ever(self, process: FakeProcess) -> None:
        """
        For an operation that will not end; what it answers later is lost.
        """
        late: Deferred[None] = Deferred()
        seen: list[float] = []
        reactor = process.reactor

        async def operation() -> None:
            try:
                await Deferred()
            except CancelledError:
                await late

        reactor.addSystemEventTrigger("during", "shutdown", lambda: seen.append(reactor.seconds()))
        process.loop.setup()
        held = process.run_in_reactor(operation)()
        process.run_in_reactor(reactor.stop)()
        process.run_reactor()
        assert held.done()
        assert seen == [GRACE]
        late.callback(None)

    def test_does_not_wait_for_nothing(self, process: FakeProcess) -> None:
        """
        Without operations, there is not even a timer.
        """
        process.loop.setup()
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        assert process.reactor.seconds() == 0
        assert process.reactor.getDelayedCalls() == []

    def test_logs_what_fails_to_be_cancelled(
        self, process: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        And cancels the others.
        """
        error = ValueError("of a canceller")
        told: list[object] = []

        def fail(deferred: object) -> None:
            raise error

        process.loop.setup()
        # Held, or a garbage collection might come first.
        kept = [process.run_in_reactor(Deferred)(each) for each in (fail, told.append)]
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        assert len(told) == 1
        assert logged.take() == [error]
        assert all(each.done() for each in kept)

    def test_logs_an_error_of_a_cleanup(self, process: FakeProcess, logged: LoggedFailures) -> None:
        """
        For the caller has been told something else.
        """
        error = ValueError("of a cleanup")
        process.loop.setup()
        process.run_in_reactor(Deferred)(lambda deferred: deferred.errback(error))
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        gc.collect()
        assert logged.take() == [error]

    def test_of_an_operation_shared_by_two_calls(self, process: FakeProcess) -> None:
        """
        Is waited for once.
        """
        shared: Deferred[None] = Deferred()
        process.loop.setup()
        results = [process.run_in_reactor(lambda: shared)() for _ in range(2)]
        process.run_in_reactor(process.reactor.stop)()
        process.run_reactor()
        for result in results:
            with pytest.raises(ReactorStopped):
                result.wait(0)
        assert process.reactor.seconds() == 0

    def test_frees_the_thread_s_ident(self, process: FakeProcess) -> None:
        """
        Which is used again for new threads, and those may wait.
        """
        self._end(process, process.reactor.stop)
        assert process.bridge.reactor_thread is None
