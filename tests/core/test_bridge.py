"""
The way of calls into the reactor thread.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any
from weakref import ref

import pytest
from twisted.internet.defer import CancelledError, Deferred

from crochet import EventualResult, ReactorStopped, _errors
from crochet._core import bridge as _bridge
from crochet._core.bridge import Bridge
from crochet._core.call import PENDING, Call
from crochet._core.result import call_of
from crochet._diagnostics.explain import Diagnosis
from crochet._errors import ReactorBusy
from crochet._reactor.reactor import call_from_thread_of, route_of
from crochet._stash.memory import MemoryStash
from crochet._threads.threads import start_thread
from support.process import FakeProcess, LoggedFailures, open_bridge
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import BOUND, Background, SteppedDeque, SteppedSet, together


@pytest.fixture
def reactor() -> FakeReactor:
    """
    A reactor that is stepped.
    """
    reactor = FakeReactor()
    reactor.start()
    return reactor


@pytest.fixture
def bridge(reactor: FakeReactor) -> Bridge:
    """
    An open bridge to it.
    """
    return open_bridge(reactor)


def _call(bridge: Bridge, function: Callable[..., object], *args: object) -> Call:
    """
    Make a call, which is not submitted.
    """
    return Call(bridge, "body", (function, args, {}, copy_context()), {})


def _submitted(
    bridge: Bridge, function: Callable[..., object], *args: object
) -> EventualResult[Any]:
    call = _call(bridge, function, *args)
    bridge.submit(call)
    return EventualResult(call)


class TestCalls:
    """
    Of calls that are accepted.
    """

    def test_run_in_the_order_made(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        When the reactor turns.
        """
        ran: list[int] = []
        results = [_submitted(bridge, ran.append, number) for number in range(10)]
        assert ran == []
        assert bridge.calls_in_flight() == {*map(call_of, results)}
        reactor.turn()
        assert ran == list(range(10))
        assert bridge.calls_in_flight() == set()

    def test_wake_the_reactor_once_for_a_burst(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        And once for the next.
        """
        for bursts in (1, 2):
            for _ in range(10):
                _submitted(bridge, int)
            assert reactor.number_of_wakings() == bursts
            reactor.turn()

    def test_may_be_made_by_bodies(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        They run in a later turn.
        """
        ran: list[str] = []

        def outer() -> None:
            _submitted(bridge, ran.append, "inner")
            ran.append("outer")

        _submitted(bridge, outer)
        reactor.turn()
        assert ran == ["outer"]
        reactor.turn()
        assert ran == ["outer", "inner"]

    def test_leave_the_reactor_to_others(
        self, reactor: FakeReactor, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        After each batch of a long burst.
        """
        monkeypatch.setattr(_bridge, "_BATCH", 10)
        ran: list[object] = []
        for number in range(25):
            _submitted(bridge, ran.append, number)
        reactor.callFromThread(ran.append, "other")
        for _ in range(3):
            reactor.turn()
        assert ran == [*range(10), "other", *range(10, 25)]

    def test_leave_nothing_on_the_reactor(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        Once they have run; nor does a pending one.
        """
        _submitted(bridge, int)
        _submitted(bridge, Deferred)
        reactor.turn()
        assert reactor.getDelayedCalls() == []
        assert reactor.threadCallQueue == []

    def test_whose_body_runs_the_loop_itself(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        The rest is run within it, and not again.
        """
        ran: list[str] = []

        def outer() -> None:
            reactor.turn()
            ran.append("outer")

        _submitted(bridge, outer)
        _submitted(bridge, ran.append, "inner")
        reactor.turn()
        assert ran == ["inner", "outer"]

    def test_from_many_threads(self, running: FakeProcess) -> None:
        """
        Each thread's in its order, in the reactor's thread, and each once.
        """
        ran: list[tuple[int, int, int]] = []

        def body(index: int, number: int) -> int:
            ran.append((index, number, threading.get_ident()))
            return number

        def call(index: int) -> list[int]:
            results = [running.run_in_reactor(body)(index, number) for number in range(200)]
            return [result.wait(BOUND) for result in results]

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            assert together(8, call) == [list(range(200))] * 8
        finally:
            sys.setswitchinterval(interval)
        for index in range(8):
            assert [number for i, number, _ in ran if i == index] == list(range(200))
        assert {ident for _, _, ident in ran} == {running.bridge.reactor_thread}
        assert running.bridge.calls_in_flight() == set()


class TestRefusals:
    """
    Of calls that could not be answered.
    """

    def test_before_there_is_a_reactor(self) -> None:
        """
        Nothing is queued, and cancelling has nobody to tell.
        """
        bridge = Bridge(_errors.not_set_up, MemoryStash())
        call = _call(bridge, int)
        with pytest.raises(RuntimeError, match=r"body\(\) was called before crochet\.setup\(\)"):
            bridge.submit(call)
        assert bridge.calls_in_flight() == set()
        bridge.call(call.cancel_in_reactor)
        bridge.wake()
        reactor = FakeReactor()
        reactor.start()
        bridge.open(reactor.callFromThread)
        assert _submitted(bridge, int).done() is False
        reactor.turn()
        assert call.outcome is PENDING

    def test_while_those_accepted_go_on(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        At the interpreter's exit.
        """
        result = _submitted(bridge, int)
        bridge.refuse(_errors.exiting)
        with pytest.raises(ReactorStopped, match="interpreter is exiting"):
            _submitted(bridge, int)
        reactor.turn()
        assert result.wait(0) == 0

    def test_after_the_end(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        The reactor is not even woken.
        """
        bridge.close(_errors.stopped)
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            _submitted(bridge, int)
        bridge.wake()
        assert reactor.number_of_wakings() == 0


class TestWaking:
    """
    A wake-up that is on its way.
    """

    @pytest.fixture
    def queue(self, bridge: Bridge) -> SteppedDeque:
        """
        The bridge's queue, to be stepped.
        """
        bridge._queue = queue = SteppedDeque()
        return queue

    def test_a_drain_before_the_append(
        self, reactor: FakeReactor, bridge: Bridge, queue: SteppedDeque
    ) -> None:
        """
        1. A wake-up is on its way. 2. The reactor thread empties it and takes what is there.
        3. The caller appends its call and finds no wake-up: it wakes.
        """
        _submitted(bridge, int)
        queue.before_append = reactor.turn
        result = _submitted(bridge, int)
        assert not result.done()
        reactor.turn()
        assert result.wait(0) == 0

    def test_a_drain_after_the_append(
        self, reactor: FakeReactor, bridge: Bridge, queue: SteppedDeque
    ) -> None:
        """
        1. A wake-up is on its way. 2. The caller appends its call. 3. The reactor thread empties
        the wake-up and takes the call. 4. The caller finds no wake-up and wakes, for nothing.
        """
        _submitted(bridge, int)
        queue.after_append = reactor.turn
        result = _submitted(bridge, int)
        assert result.wait(0) == 0
        reactor.turn()
        assert bridge.calls_in_flight() == set()

    def test_an_append_within_a_drain(
        self, reactor: FakeReactor, bridge: Bridge, queue: SteppedDeque
    ) -> None:
        """
        1. The reactor thread empties the wake-up. 2. A caller appends its call and finds none on
        its way: it wakes. 3. The reactor thread takes that call, too.
        """
        results = [_submitted(bridge, int)]
        queue.before_len = lambda: results.append(_submitted(bridge, int))
        reactor.turn()
        assert [result.wait(0) for result in results] == [0, 0]
        reactor.turn()

    def test_two_callers_who_find_it_cleared(self, reactor: FakeReactor) -> None:
        """
        1. A caller appends its call and finds no wake-up on its way. 2. So does another, and wakes.
        3. The first wakes, too. 4. The reactor thread finds nothing the second time.
        """
        others: list[Call] = []

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            if not others:
                others.append(_call(bridge, int))
                bridge.submit(others[0])
            reactor.callFromThread(function, *args)

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        result = _submitted(bridge, int)
        assert reactor.number_of_wakings() == 2
        reactor.turn()
        assert [result.wait(0), others[0].outcome] == [0, 0]

    def test_a_handler_that_waits_within_the_waking(self, reactor: FakeReactor) -> None:
        """
        1. A caller finds no wake-up on its way, and is about to wake. 2. A signal handler
        interrupts it, makes a call and waits. It must wake, too, for nobody else will. 3. The
        caller wakes, for nothing.
        """
        nested: list[Call] = []

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            if not nested:
                nested.append(_call(bridge, int))
                bridge.submit(nested[0])
                reactor.turn()  # as it would, while the handler waits
                assert nested[0].outcome == 0
            reactor.callFromThread(function, *args)

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        result = _submitted(bridge, int)
        reactor.turn()
        assert result.wait(0) == 0
        assert reactor.threadCallQueue == []

    def test_one_that_is_heeded_before_it_is_the_last(self, reactor: FakeReactor) -> None:
        """
        1. A caller wakes the reactor. 2. The reactor thread empties the wake-up and takes what is
        there. 3. The caller makes it the last. 4. The next caller finds it empty, and wakes.
        """

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            reactor.callFromThread(function, *args)
            if not bridge._wakeup:
                reactor.turn()

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        assert [_submitted(bridge, int).wait(0) for _ in range(2)] == [0, 0]

    def test_a_signal_within_the_first_waking(self, reactor: FakeReactor) -> None:
        """
        1. A caller wakes the reactor as Twisted does. 2. The reactor thread puts the faster way in
        that one's place. 3. A signal handler raises in the caller, which must not take that for an
        error of a reactor that has ended.
        """

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            reactor.callFromThread(function, *args)
            bridge.use_wakeup(lambda wakeup: None)
            raise OSError("a handler's")

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        with pytest.raises(OSError, match="a handler's"):
            _submitted(bridge, int)

    def test_a_signal_within_the_waking(self, reactor: FakeReactor) -> None:
        """
        Its exception leaves no wake-up behind that nobody heeds, so the next caller wakes.
        """
        errors = [KeyboardInterrupt("Ctrl-C")]

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            if errors:
                raise errors.pop()
            reactor.callFromThread(function, *args)

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        with pytest.raises(KeyboardInterrupt):
            _submitted(bridge, int)
        results = [_submitted(bridge, int)]
        reactor.turn()
        assert results[0].wait(0) == 0
        assert bridge.calls_in_flight() == set()

    def test_an_exception_thrown_into_the_reactor_thread(
        self, reactor: FakeReactor, bridge: Bridge, queue: SteppedDeque, logged: LoggedFailures
    ) -> None:
        """
        Between two calls: the rest is run in the next turn.
        """
        result = _submitted(bridge, int)

        def interrupt() -> None:
            raise KeyboardInterrupt("into the reactor thread")

        queue.before_len = interrupt
        reactor.turn()
        assert [type(error) for error in logged.take()] == [KeyboardInterrupt]
        assert not result.done()
        reactor.turn()
        assert result.wait(0) == 0

    def test_a_signal_while_it_wakes_in_any_case(self, reactor: FakeReactor) -> None:
        """
        Leaves none, either: the next call is answered.
        """
        errors: list[BaseException] = []

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            if errors:
                raise errors.pop()
            reactor.callFromThread(function, *args)

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        _submitted(bridge, int)
        reactor.turn()
        errors.append(KeyboardInterrupt("Ctrl-C"))
        with pytest.raises(KeyboardInterrupt):
            bridge.wake()
        result = _submitted(bridge, int)
        reactor.turn()
        assert result.wait(0) == 0

    def test_wake_does_so_in_any_case(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        Even if a wake-up is on its way.
        """
        _submitted(bridge, int)
        bridge.wake()
        assert reactor.number_of_wakings() == 2


class TestEnd:
    """
    The end, and calls that meet it.
    """

    @pytest.fixture
    def queue(self, bridge: Bridge) -> SteppedDeque:
        """
        The bridge's queue, to be stepped.
        """
        bridge._queue = queue = SteppedDeque()
        return queue

    @pytest.fixture
    def in_flight(self, bridge: Bridge) -> SteppedSet:
        """
        The bridge's calls in flight, to be stepped.
        """
        bridge.in_flight = in_flight = SteppedSet()
        return in_flight

    def test_answers_all_that_is_in_flight(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        And returns the Deferreds that are to be cancelled. What is queued never runs.
        """
        deferred: Deferred[object] = Deferred()
        running = _submitted(bridge, lambda: deferred)
        reactor.turn()
        ran: list[int] = []
        queued = _submitted(bridge, ran.append, 1)
        assert bridge.close(_errors.stopped) == [deferred]
        for result in (running, queued):
            with pytest.raises(ReactorStopped, match=r"body\(\) cannot be answered"):
                result.wait(0)
        reactor.turn()
        assert ran == []
        assert bridge.calls_in_flight() == set()
        assert bridge.close(_errors.stopped) == []

    def test_answers_what_was_withdrawn(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        By a thread that was interrupted before it could answer.
        """
        result = _submitted(bridge, int)
        call_of(result).withdraw()
        bridge.in_flight.discard(ref(call_of(result)))
        bridge.close(_errors.stopped)
        with pytest.raises(ReactorStopped):
            result.wait(0)

    def test_before_the_call_is_entered(
        self, reactor: FakeReactor, bridge: Bridge, in_flight: SteppedSet
    ) -> None:
        """
        1. The caller finds the bridge open. 2. The reactor thread closes it. 3. The caller
        enters its call. 4. It finds the bridge closed, and takes its call back.
        """
        ran: list[int] = []
        in_flight.before_add = lambda: bridge.close(_errors.stopped)
        with pytest.raises(ReactorStopped):
            _submitted(bridge, ran.append, 1)
        assert bridge.calls_in_flight() == set()
        reactor.turn()
        assert ran == []

    def test_while_the_call_is_entered(
        self, reactor: FakeReactor, bridge: Bridge, in_flight: SteppedSet
    ) -> None:
        """
        1. The caller finds the bridge open and lists its call. 2. The reactor thread closes the
        bridge and answers the call. 3. The caller queues it, finds the bridge closed, and the
        call not its own any more.
        """
        ran: list[int] = []
        in_flight.after_add = lambda: bridge.close(_errors.stopped)
        result = _submitted(bridge, ran.append, 1)
        with pytest.raises(ReactorStopped):
            result.wait(0)
        reactor.turn()
        assert ran == []

    def test_after_the_call_is_entered(
        self, reactor: FakeReactor, bridge: Bridge, queue: SteppedDeque
    ) -> None:
        """
        1. The caller finds the bridge open and enters its call. 2. The reactor thread closes the
        bridge and answers the call. 3. The caller finds the bridge closed, and the call
        answered.
        """
        ran: list[int] = []
        queue.after_append = lambda: bridge.close(_errors.stopped)
        result = _submitted(bridge, ran.append, 1)
        with pytest.raises(ReactorStopped):
            result.wait(0)
        reactor.turn()
        assert ran == []

    def test_between_what_is_listed_and_what_is_queued(
        self, bridge: Bridge, queue: SteppedDeque, in_flight: SteppedSet
    ) -> None:
        """
        1. The caller finds the bridge open. 2. The reactor thread closes it and copies the list.
        3. The caller enters its call. 4. The reactor thread answers what is queued. 5. The
        caller finds the bridge closed, and the call answered.
        """
        copied, entered, closed = (threading.Event() for _ in range(3))
        has_begun = threading.Event()

        def wait_to_enter() -> None:
            has_begun.set()
            assert copied.wait(BOUND)

        def wait_to_look() -> None:
            entered.set()
            assert closed.wait(BOUND)

        def wait_for_the_entry() -> None:
            copied.set()
            assert entered.wait(BOUND)

        in_flight.before_add = wait_to_enter
        queue.after_append = wait_to_look
        in_flight.after_copy = wait_for_the_entry
        caller = Background(_submitted, bridge, int)
        assert has_begun.wait(BOUND)
        bridge.close(_errors.stopped)
        closed.set()
        with pytest.raises(ReactorStopped):
            caller.outcome().wait(0)
        assert bridge.calls_in_flight() == set()

    def test_is_called_off_before_the_second_look_acts(
        self, reactor: FakeReactor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The caller enters its call and finds the bridge closed. 2. The bridge is opened again.
        3. The caller looks for the reason, finds none, and leaves the call where it is.
        """
        bridge = open_bridge(reactor)
        refusals = iter([None, _errors.not_set_up, None])
        with monkeypatch.context() as patch:
            patch.setattr(
                Bridge, "refusal", property(lambda self: next(refusals), None), raising=False
            )
            result = _submitted(bridge, int)
        reactor.turn()
        assert result.wait(0) == 0

    def test_under_load(self) -> None:
        """
        Each call is refused or answered, and with a value only if its body has run.
        """
        reactor = new_real_reactor()
        process = FakeProcess(reactor, start_thread)
        process.loop.setup()
        ran: set[tuple[int, int]] = set()
        answered: set[tuple[int, int]] = set()
        begun = threading.Barrier(5)

        def body(index: int, number: int) -> None:
            ran.add((index, number))

        def call(index: int) -> int:
            call = process.run_in_reactor(body)
            results = []
            begun.wait(BOUND)
            for number in range(100_000):
                try:
                    results.append(call(index, number))
                except ReactorStopped:
                    break
            for number, result in enumerate(results):
                try:
                    result.wait(BOUND)
                except ReactorStopped:
                    continue
                answered.add((index, number))
            return len(results)

        callers = [Background(call, index) for index in range(4)]
        begun.wait(BOUND)
        process.wait_for(BOUND)(int)()
        reactor.callFromThread(reactor.stop)
        for caller in callers:
            caller.outcome()
        process.exit()
        close_reactor(reactor)
        assert answered == ran
        assert process.bridge.calls_in_flight() == set()


class TestCancelling:
    """
    Telling the reactor thread to cancel a call that runs.
    """

    def test_happens_in_the_reactor_thread(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        In the order of what else it is told.
        """
        told: list[object] = []
        result = _submitted(bridge, Deferred, told.append)
        bridge.call(call_of(result).cancel_in_reactor)
        assert told == []
        reactor.turn()
        assert len(told) == 1
        with pytest.raises(CancelledError):
            result.wait(0)
        result.cancel()


class TestReactorThatHasEnded:
    """
    And has closed what it is woken by, while a thread was about to wake it.
    """

    @pytest.mark.parametrize(
        "error", [RuntimeError("closed"), AttributeError("o"), OSError(9, "x")]
    )
    def test_answers_a_call(self, error: Exception) -> None:
        """
        Whatever the reactor of that kind raises.
        """

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            bridge.close(_errors.stopped)
            raise error

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        result = _submitted(bridge, int)
        with pytest.raises(ReactorStopped):
            result.wait(0)
        bridge.call(int)  # is for nobody
        assert bridge.calls_in_flight() == set()

    def test_has_another_life(self, reactor: FakeReactor) -> None:
        """
        In which the call is run, and what it is told is done.
        """
        done: list[int] = []

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            bridge.open(reactor.callFromThread)
            raise AttributeError("o")

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        result = _submitted(bridge, int)
        bridge.open(call_from_thread)
        bridge.call(done.append, 1)
        reactor.turn()
        assert result.wait(0) == 0
        assert done == [1]

    def test_has_not_come_for_a_signal(self, reactor: FakeReactor) -> None:
        """
        Whose handler has raised once in the caller. That is raised, and nothing is called twice.
        """
        called: list[int] = []
        errors = [OSError("a handler's")]

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            reactor.callFromThread(function, *args)
            if errors:
                raise errors.pop()

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        with pytest.raises(OSError, match="a handler's"):
            bridge.call(called.append, 1)
        reactor.turn()
        assert called == [1]

    def test_that_is_broken_says_so(self) -> None:
        """
        It has not ended at all.
        """

        def call_from_thread(function: Callable[..., object], *args: object) -> None:
            raise AttributeError("broken")

        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread)
        with pytest.raises(AttributeError, match="broken"):
            _submitted(bridge, int)
        with pytest.raises(AttributeError, match="broken"):
            bridge.call(int)


class TestFork:
    """
    A child that was forked from the process in which the reactor runs.
    """

    def test_answers_in_the_child_what_was_in_flight(
        self, reactor: FakeReactor, bridge: Bridge
    ) -> None:
        """
        Releasing nobody, for those who waited are the parent's.
        """
        bridge.reactor_thread = 1
        called: list[object] = []
        running = _submitted(bridge, Deferred)
        reactor.turn()
        queued = _submitted(bridge, int)
        for result in (running, queued):
            result.add_done_callback(called.append)
        bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
        assert called == []
        for result in (running, queued):
            with pytest.raises(ReactorStopped, match="forked while the call was under way"):
                result.wait(0)
        with pytest.raises(ReactorStopped, match="a reactor does not run on in a child"):
            _submitted(bridge, int)
        assert bridge.reactor_thread is None
        assert bridge.calls_in_flight() == set()
        assert bridge.watched == set()

    def test_wakes_no_reactor_of_the_parent_s(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        Whoever gives up a call there, say.
        """
        bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
        before = reactor.number_of_wakings()
        bridge.wake()
        assert reactor.number_of_wakings() == before

    def test_accepts_the_call_for_which_the_gatekeeper_opens_it(
        self, reactor: FakeReactor, bridge: Bridge
    ) -> None:
        """
        That and later ones; it is asked once.
        """
        asked: list[str] = []

        def gatekeeper(name: str) -> None:
            asked.append(name)
            bridge.open(reactor.callFromThread)

        bridge.after_fork_in_child(_errors.forked, gatekeeper)
        results = [_submitted(bridge, int) for _ in range(2)]
        reactor.turn()
        assert [result.wait(0) for result in results] == [0, 0]
        assert asked == ["body"]


class TestAFullQueue:
    """
    Of a bridge that has been given a bound.
    """

    def test_refuses_calls(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        At once, and with what keeps the reactor; until there is room again.
        """
        bridge.max_queued = 2
        bridge.diagnosis = Diagnosis(bridge)
        accepted = [_submitted(bridge, int) for _ in range(2)]
        refused = _call(bridge, int)
        expected = r"body\(\) was refused: 2 calls wait .*max_queued=2\) allows\. The reactor"
        with pytest.raises(ReactorBusy, match=expected):
            bridge.submit(refused)
        assert bridge.calls_in_flight() == {*map(call_of, accepted)}
        reactor.turn()
        assert _submitted(bridge, int).done() is False
        reactor.turn()
        assert refused.outcome is PENDING

    def test_goes_on_with_what_it_has_accepted(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        And with what is given to ``callFromThread()``, which has nobody to refuse.
        """
        bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
        bridge.max_queued = 1
        ran: list[str] = []
        _submitted(bridge, ran.append, "call")
        reactor.callFromThread(ran.append, "posted")
        reactor.turn()
        assert ran == ["call", "posted"]


class TestCallFromThread:
    """
    The reactor's, while the bridge carries calls.
    """

    @pytest.fixture
    def bridge(self, reactor: FakeReactor) -> Bridge:
        """
        A bridge that it goes by.
        """
        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
        reactor.turn()
        return bridge

    def test_keeps_its_turn_among_calls(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        In every order of the two.
        """
        for order in itertools.product((False, True), repeat=5):
            ran: list[int] = []
            for number, is_call in enumerate(order):
                if is_call:
                    _submitted(bridge, ran.append, number)
                else:
                    reactor.callFromThread(ran.append, number)
            reactor.turn()
            assert ran == list(range(5)), order

    def test_of_before_is_before_the_calls(self) -> None:
        """
        1. The program gives the reactor something. 2. The bridge is opened, with a fast way to wake
        the reactor. 3. A call is made. The reactor looks at ours first.
        """
        reactor = FakeReactor()
        reactor.start()
        bridge = Bridge(_errors.not_set_up, MemoryStash())
        ran: list[int] = []
        reactor.callFromThread(ran.append, 0)
        woken: list[list[None]] = []
        bridge.open(call_from_thread_of(reactor), woken.append, route_of(reactor))
        _submitted(bridge, ran.append, 1)
        for wakeup in woken:
            bridge.drain_in_reactor(wakeup)
        reactor.turn()
        for wakeup in woken:
            bridge.drain_in_reactor(wakeup)
        assert ran == [0, 1]

    def test_takes_arguments_by_name(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        Also ones that are called like its own.
        """
        given: list[object] = []

        def take(*args: object, **kwargs: object) -> None:
            given.append((args, kwargs))

        reactor.callFromThread(take, 1, function=2, self=3)
        reactor.turn()
        assert given == [((1,), {"function": 2, "self": 3})]

    def test_logs_errors(
        self, reactor: FakeReactor, bridge: Bridge, logged: LoggedFailures
    ) -> None:
        """
        As the reactor does, and goes on.
        """
        ran: list[int] = []

        def fail() -> None:
            raise SystemExit("of a function")

        reactor.callFromThread(fail)
        reactor.callFromThread(ran.append, 1)
        reactor.turn()
        assert ran == [1]
        [error] = logged.take()
        assert isinstance(error, SystemExit)

    def test_is_twisteds_own_again_at_the_end(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        Which calls what has not been called by then, as long as it turns.
        """
        ran: list[int] = []
        late = reactor.callFromThread
        reactor.callFromThread(ran.append, 1)
        bridge.close(_errors.stopped)
        assert "callFromThread" not in vars(reactor)
        late(ran.append, 2)  # looked up before the end
        reactor.callFromThread(ran.append, 3)
        reactor.turn()
        assert ran == [1, 2, 3]

    def test_posted_as_the_bridge_is_closed(self, reactor: FakeReactor, bridge: Bridge) -> None:
        """
        1. A thread is about to post. 2. The bridge is closed, and what is there handed to Twisted.
        3. The thread posts, looks, and hands it over itself. Or 2 comes after it has posted.
        """
        for step in ("before_append", "after_append"):
            bridge.close(_errors.stopped)
            bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
            queue = bridge._queue = SteppedDeque()
            setattr(queue, step, lambda: bridge.close(_errors.stopped))
            ran: list[int] = []
            reactor.callFromThread(ran.append, 1)
            reactor.turn()
            assert ran == [1]
            assert not queue

    def test_of_the_programs_own_is_left_alone(self, reactor: FakeReactor) -> None:
        """
        Where it has wrapped the reactor's, or wraps ours meanwhile.
        """
        ran: list[int] = []
        twisteds = reactor.callFromThread
        reactor.callFromThread = lambda *args: twisteds(*args)  # type: ignore[method-assign]
        assert route_of(reactor) is None
        del reactor.callFromThread
        bridge = Bridge(_errors.not_set_up, MemoryStash())
        bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
        ours = reactor.callFromThread
        wrapped = reactor.callFromThread = lambda *args: ours(*args)  # type: ignore[method-assign]
        bridge.close(_errors.stopped)
        assert reactor.callFromThread is wrapped
        wrapped(ran.append, 1)
        bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
        wrapped(ran.append, 2)
        reactor.turn()
        assert ran == [1, 2]
