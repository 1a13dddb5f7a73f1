"""
The event loop on a clock: what holds for it and for the real one alike, and what is its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from crochet import DeadlockError, ReactorStopped
from crochet._diagnostics.watchdog import Watchdog
from crochet._threads import clock as _clock
from crochet._threads import timeouts as _timeouts
from crochet._threads.primitives import Waiter
from crochet.testing import _clock as _clocked
from crochet.testing._clock import ClockedWaiter, CrochetClock, clocked
from crochet.testing._leaks import LeakCheck
from support.process import FakeProcess, FakeThreads, LoggedFailures
from support.stepping import BOUND, Background

# From before the first test that uses it: what it starts is no test's.
pytestmark = pytest.mark.usefixtures("running")

_drink: ContextVar[str] = ContextVar("drink", default="water")

# Seconds that never pass in the real world.
_LONG = 2 * BOUND


def clocked_process(process: FakeProcess | None = None) -> Any:
    """
    Return a context manager for a process on a clock.
    """
    process = process or FakeProcess()
    return clocked(process.loop, LeakCheck(process.bridge, lambda: None))


@pytest.fixture
def clock(process: FakeProcess) -> Iterator[CrochetClock]:
    """
    The clock that a process without a reactor runs on.
    """
    with clocked_process(process) as clock:
        yield clock


@pytest.fixture(params=["clock", "reactor"])
def world(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A process, and what its bodies schedule their calls on: a clock, or a reactor that runs.
    """
    if request.param == "reactor":
        running: FakeProcess = request.getfixturevalue("running")
        yield SimpleNamespace(process=running, clock=running.reactor)
    else:
        process = FakeProcess()
        with clocked_process(process) as clock:
            yield SimpleNamespace(process=process, clock=clock)


class TestContract:
    """
    What code under test can tell of the real event loop, it can tell of the one on a clock.
    """

    def test_values_come_back(self, world: Any) -> None:
        """
        Plain ones, at once, and those that take their time.
        """

        @world.process.wait_for(timeout=BOUND)
        async def brew(kind: str) -> str:
            await deferLater(world.clock, 0.01)
            return f"a cup of {kind}"

        assert brew("tea") == "a cup of tea"
        assert world.process.wait_for(timeout=BOUND)(lambda: 3)() == 3
        result = world.process.run_in_reactor(lambda: deferLater(world.clock, 0.01, lambda: 4))()
        assert result.wait(BOUND) == 4
        assert result.done()

    def test_errors_come_back(self, world: Any) -> None:
        """
        Once they are taken nobody logs them, and the frames of the body are there.
        """

        @world.process.wait_for(timeout=BOUND)
        async def spill() -> None:
            await deferLater(world.clock, 0.01)
            raise ValueError("tea on the floor")

        with pytest.raises(ValueError, match="tea on the floor") as caught:
            spill()
        assert caught.traceback[-1].name.endswith("spill")
        with pytest.raises(ZeroDivisionError):
            world.process.run_in_reactor(lambda: 1 / 0)().wait(BOUND)

    def test_untaken_errors_are_logged(self, world: Any, logged: LoggedFailures) -> None:
        """
        When they are dropped.
        """
        world.process.run_in_reactor(int)("tea")
        world.process.wait_for(timeout=BOUND)(int)()
        assert [type(error) for error in logged.take()] == [ValueError]

    def test_timeouts_cancel(self, world: Any) -> None:
        """
        And wait for the cleanup, which may take its time, too.
        """
        ends = []

        @world.process.wait_for(timeout=0.02)
        async def slow() -> None:
            try:
                await deferLater(world.clock, _LONG)
            except CancelledError:
                await deferLater(world.clock, 0.01)
                ends.append("cleaned up")
                raise

        with pytest.raises(TimeoutError, match=r"slow\(\) has not answered in 0.02 s; its Def"):
            slow()
        assert ends == ["cleaned up"]
        assert not world.process.bridge.calls_in_flight()

    def test_a_wait_for_a_result_leaves_it(self, world: Any) -> None:
        """
        Until it is cancelled.
        """
        result = world.process.run_in_reactor(lambda: deferLater(world.clock, _LONG))()
        with pytest.raises(TimeoutError, match=r"has not answered in 0\.01 s"):
            result.wait(0.01)
        assert not result.done()
        result.cancel()
        with pytest.raises(CancelledError):
            result.wait(BOUND)

    def test_context_variables_reach_the_body(self, world: Any) -> None:
        """
        And none that it sets comes back.
        """

        @world.process.wait_for(timeout=BOUND)
        async def order() -> str:
            drink = _drink.get()
            _drink.set("coffee")
            await deferLater(world.clock, 0.01)
            return f"{drink}, then {_drink.get()}"

        token = _drink.set("tea")
        try:
            assert order() == "tea, then coffee"
            assert _drink.get() == "tea"
        finally:
            _drink.reset(token)

    def test_stashed_results_are_retrieved_once(self, world: Any) -> None:
        """
        By their number.
        """
        uid = world.process.run_in_reactor(lambda: 3)().stash()
        assert world.process.retrieve_result(uid).wait(BOUND) == 3
        with pytest.raises(KeyError):
            world.process.retrieve_result(uid)

    def test_a_wait_in_a_body_is_refused(self, world: Any) -> None:
        """
        For the thread it runs in passes for the reactor's, in timed calls and callbacks, too.
        """
        inner = world.process.wait_for(timeout=BOUND)(lambda: 3)
        with pytest.raises(DeadlockError):
            world.process.wait_for(timeout=BOUND)(lambda: inner())()
        with pytest.raises(DeadlockError):
            world.process.wait_for(timeout=BOUND)(lambda: deferLater(world.clock, 0.0, inner))()

    def test_calls_within_a_body_come_after_it(self, world: Any) -> None:
        """
        In the order made.
        """
        order = []
        note = world.process.run_in_reactor(order.append)

        @world.process.wait_for(timeout=BOUND)
        async def body() -> None:
            note(2)
            note(3)
            order.append(1)
            await deferLater(world.clock, 0.01)
            order.append(4)

        body()
        assert order == [1, 2, 3, 4]

    def test_callbacks_of_results_are_called(self, world: Any) -> None:
        """
        Once each, before or after the answer.
        """
        answers = []
        result = world.process.run_in_reactor(lambda: deferLater(world.clock, 0.01, lambda: 3))()
        result.add_done_callback(lambda result: answers.append(result.wait(0)))
        assert result.wait(BOUND) == 3
        world.process.wait_for(timeout=BOUND)(lambda: None)()
        result.add_done_callback(lambda result: answers.append(result.wait(0)))
        assert answers == [3, 3]


class TestClock:
    """
    What is its own.
    """

    def test_a_call_runs_at_once_in_this_thread(
        self, process: FakeProcess, clock: CrochetClock
    ) -> None:
        """
        And its result is answered as time is advanced.
        """
        threads = []

        @process.run_in_reactor
        async def body() -> int:
            threads.append(threading.current_thread())
            await deferLater(clock, 3.0)
            return 4

        result = body()
        assert threads == [threading.current_thread()]
        clock.advance(2.9)
        assert not result.done()
        clock.advance(0.2)
        assert result.done()
        assert result.wait(0) == 4
        assert clock.seconds() == pytest.approx(3.1)

    def test_a_wait_takes_as_long_as_it_needs(
        self, process: FakeProcess, clock: CrochetClock
    ) -> None:
        """
        In the clock's time, and each timed call finds the time that it asked for.
        """
        times = []

        @process.wait_for(timeout=None)
        async def body() -> None:
            for delay in (3600.0, 0.0, 1.5):
                await deferLater(clock, delay)
                times.append(clock.seconds())

        clock.callLater(10, lambda: times.append(clock.seconds()))
        body()
        assert times == [10.0, 3600.0, 3600.0, 3601.5]

    def test_a_timeout_passes_in_its_time(self, process: FakeProcess, clock: CrochetClock) -> None:
        """
        Whatever is scheduled after it stays so.
        """
        operation: Deferred[None] = Deferred()
        clock.callLater(100, operation.callback, None)
        result = process.run_in_reactor(lambda: operation)()
        with pytest.raises(TimeoutError):
            result.wait(30)
        assert clock.seconds() == 30
        result.wait(None)
        assert clock.seconds() == 100

    def test_a_timeout_tells_that_time(self, process: FakeProcess) -> None:
        """
        Though a reactor may have run before, by the real one.
        """
        process.bridge.last_drain = 2223.2
        with clocked_process(process), pytest.raises(TimeoutError) as caught:
            process.wait_for(timeout=3)(Deferred)()
        assert caught.value.reason.startswith("It started 3.0 s ago, and waits in a Deferred.")
        assert process.bridge.last_drain == 2223.2

    def test_a_wait_for_ever_is_refused(self, process: FakeProcess, clock: CrochetClock) -> None:
        """
        Where nothing is scheduled that could end it. The operation is cancelled.
        """
        operation: Deferred[None] = Deferred()
        ends: list[Any] = []
        operation.addErrback(ends.append)
        with pytest.raises(DeadlockError, match="nothing is scheduled on crochet_clock"):
            process.wait_for(timeout=None)(lambda: operation)()
        assert len(ends) == 1

    def test_a_wait_that_lasts_for_ever_is_ended(
        self, process: FakeProcess, clock: CrochetClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Where something is scheduled again and again.
        """
        monkeypatch.setattr(_clocked, "_MOST", 100)

        def tick() -> None:
            clock.callLater(1.0, tick)

        tick()
        with pytest.raises(RuntimeError, match="100 timed calls were run in one wait"):
            process.wait_for(timeout=None)(lambda: Deferred())()

    def test_errors_of_timed_calls_are_logged(
        self, clock: CrochetClock, logged: LoggedFailures
    ) -> None:
        """
        As a reactor does, and the next one runs.
        """
        called = []
        clock.callLater(1, int, "tea")
        clock.callLater(1, called.append, 3)
        clock.pump([0.5, 0.5])
        assert called == [3]
        assert [type(error) for error in logged.take()] == [ValueError]

    def test_other_threads_are_refused(self, process: FakeProcess, clock: CrochetClock) -> None:
        """
        And nothing of theirs is run. They may wait as ever.
        """
        called: list[int] = []
        with pytest.raises(RuntimeError, match="crochet_clock runs everything in the test's own"):
            Background(process.run_in_reactor(called.append), 3).outcome()
        clock.advance(1)
        assert called == []

        def wait() -> None:
            before = _clock.monotonic()
            assert abs(before - time.monotonic()) < BOUND
            assert not isinstance(process.bridge.new_waiter(), ClockedWaiter)

        Background(wait).outcome()
        assert isinstance(process.bridge.new_waiter(), ClockedWaiter)
        assert _clock.monotonic() == clock.seconds()

    def test_setup_and_shutdown_do_nothing(self, process: FakeProcess, clock: CrochetClock) -> None:
        """
        And import no reactor.
        """
        process.loop.setup()
        process.loop.shutdown()
        with process.running():
            assert process.wait_for(timeout=5)(lambda: 3)() == 3
        assert process.threads.started == []

    def test_leaves_the_reactors_waiters_alone(self, running: FakeProcess) -> None:
        """
        And does not wait for them: its own do not line up.
        """
        handoff = running.bridge.handoff
        handoff.watchdog = running  # as if there were one
        handoff.turns.append(Waiter())
        handoff._released = math.inf  # it is never late
        answers: list[int] = []

        def caller() -> None:
            for number in range(10):
                running.run_in_reactor(answers.append)(number)

        try:
            with clocked_process(running) as clock:
                running.wait_for(5)(caller)()
                clock.advance(1)
                assert answers == list(range(10))
            assert len(handoff.turns) == 1
        finally:
            handoff.watchdog = None
            handoff.release_all()

    def test_leaves_everything_as_it_was(self, running: FakeProcess) -> None:
        """
        A reactor that runs goes on, and answers what came before, and no other's.
        """
        before: Deferred[int] = Deferred()
        result = running.run_in_reactor(lambda: before)()
        running.wait_for(timeout=BOUND)(lambda: None)()
        ident = running.bridge.reactor_thread
        bridge = running.bridge
        before_it = (bridge.new_waiter, bridge.handoff, _clock.monotonic, _timeouts.LONGEST)
        with clocked_process(running):
            thread = running.wait_for(timeout=5)(threading.current_thread)
            assert thread() is threading.current_thread()
            running.reactor.callFromThread(before.callback, 3)
        assert result.wait(BOUND) == 3
        assert thread() is not threading.current_thread()
        assert running.bridge.reactor_thread == ident
        assert running.loop._is_set_up
        after_it = (bridge.new_waiter, bridge.handoff, _clock.monotonic, _timeouts.LONGEST)
        assert after_it == before_it

    def test_is_not_asked_to_turn_by_the_watchdog(
        self, running: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Which looks after calls of a reactor that goes on, in a thread of its own. Neither if it was
        just about to ask that one, when the test began.
        """
        bridge = running.bridge
        watchdog = Watchdog(running.reactor, bridge, FakeThreads(), math.inf)
        looked: list[str] = []
        monkeypatch.setattr(bridge, "look_for_stranded", lambda: looked.append("at calls"))
        result = running.run_in_reactor(Deferred)()
        with clocked_process(running):
            assert bridge.in_flight
            Background(watchdog._look).outcome()
            Background(watchdog._ask).outcome()
        assert looked == []
        watchdog._look()
        assert looked == ["at calls"]
        result.cancel()
        with pytest.raises(CancelledError):
            result.wait(BOUND)

    def test_notices_that_the_reactor_has_ended_meanwhile(self, process: FakeProcess) -> None:
        """
        What that could not do to its bridge is done afterwards.
        """
        process.loop.setup()
        result = process.run_in_reactor(lambda: 3)()
        process.reactor.callWhenRunning(process.reactor.stop)
        reactor_thread = process.loop._reactor_thread
        with clocked_process(process):
            process.run_reactor()
            assert reactor_thread is not None
            assert reactor_thread.has_ended
        with pytest.raises(ReactorStopped):
            result.wait(0)
        with pytest.raises(ReactorStopped):
            process.run_in_reactor(lambda: 3)()

    def test_leaves_a_process_without_a_reactor_so(self, process: FakeProcess) -> None:
        """
        Whoever forgets setup() in a program learns of it again.
        """
        with clocked_process(process):
            pass
        with pytest.raises(RuntimeError, match=r"before crochet.setup\(\)"):
            process.run_in_reactor(lambda: 3)()


class TestClockedWaiter:
    """
    What is waited at.
    """

    def test_lets_time_pass(self, clock: CrochetClock) -> None:
        """
        Up to the moment at which something is put, or the wait's time is over.
        """
        waiter = ClockedWaiter(clock)
        assert waiter.wait(3.0) is None
        assert clock.seconds() == 3.0
        clock.callLater(1, waiter.put, len)
        assert waiter.wait(3.0) is len
        assert clock.seconds() == 4.0
        waiter.put(None)
        assert waiter.wait(3.0) is None
        assert clock.seconds() == 4.0
