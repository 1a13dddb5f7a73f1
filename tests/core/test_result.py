"""
An answer that is still to come, and those who wait for it.
"""

from __future__ import annotations

import copy
import gc
import itertools
import math
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from crochet import DeadlockError, EventualResult, ReactorStopped, TimeoutError, _errors
from crochet._core.bridge import Bridge
from crochet._core.call import Call
from crochet._core.result import call_of
from crochet._threads.primitives import Waiter
from support.memory import cycles_of
from support.process import FakeProcess, LoggedFailures, call_for, failing_call, in_reactor_thread
from support.stepping import BOUND, Background, FakeWaiter, SteppedDict, Steps, together


def _nothing() -> None:
    """
    Do nothing, as a body.
    """


def _submitted(
    bridge: Bridge, function: Callable[..., object] = _nothing, callbacks: Any = None
) -> EventualResult[Any]:
    """
    Return the result of a call that waits to be started.
    """
    work = (function, (), {}, copy_context())
    call = Call(bridge, "body", work, {} if callbacks is None else callbacks)
    bridge.submit(call)
    return EventualResult(call)


class TestWaiting:
    """
    ``wait()``
    """

    def test_returns_the_value(self, stepped: FakeProcess) -> None:
        """
        As often as one likes.
        """
        value = object()
        result = call_for(stepped, value)
        stepped.reactor.turn()
        assert result.wait() is value
        assert result.wait(0) is value
        assert result.wait(-3) is value

    def test_blocks_until_the_answer(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        Once.
        """
        waiter = waits(lambda timeout: stepped.reactor.turn())
        assert call_for(stepped, 7).wait(5) == 7
        assert waiter.waits == [5.0]

    @pytest.mark.parametrize("timeout", [None, math.inf, 10**400, threading.TIMEOUT_MAX * 2])
    def test_may_have_no_limit(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], timeout: Any
    ) -> None:
        """
        Or one that no raw lock takes.
        """
        waiter = waits(lambda timeout: stepped.reactor.turn())
        assert call_for(stepped, 7).wait(timeout) == 7
        assert waiter.waits == [threading.TIMEOUT_MAX]

    @pytest.mark.parametrize("timeout", [0, -1, 0.01])
    def test_ends_for_lack_of_time(self, stepped: FakeProcess, timeout: float) -> None:
        """
        The operation goes on, and leaves no trace of those who waited.
        """
        result = _submitted(stepped.bridge, lambda: 7)
        for _ in range(3):
            with pytest.raises(
                TimeoutError, match=r"has not answered.*has not come to it.* wait\(\)"
            ):
                result.wait(timeout)
        assert call_of(result).callbacks == {}
        stepped.reactor.turn()
        assert result.wait(0) == 7

    def test_ends_with_a_signals_exception(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        The operation goes on, and the next wait is as if there had been none.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        waits(interrupt)
        result = _submitted(stepped.bridge, lambda: 7)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
                result.wait(5)
        assert call_of(result).callbacks == {}
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("is_answered", [False, True])
    @pytest.mark.parametrize(
        ("timeout", "error"), [("5", TypeError), (math.nan, ValueError), (len, TypeError)]
    )
    def test_refuses_what_is_no_time(
        self, stepped: FakeProcess, timeout: Any, error: type[Exception], is_answered: bool
    ) -> None:
        """
        Even if there is nothing to wait for, or the mistake would show only sometimes.
        """
        result = call_for(stepped, 7)
        if is_answered:
            stepped.reactor.turn()
        with pytest.raises(error, match="timeout"):
            result.wait(timeout)

    def test_is_refused_in_the_reactor_thread(self, stepped: FakeProcess) -> None:
        """
        Where only this very thread could answer. It does no harm.
        """
        result = call_for(stepped, 7)
        expected = pytest.raises(DeadlockError, match="in the reactor thread")
        with in_reactor_thread(stepped.bridge), expected:
            result.wait(5)
        stepped.reactor.turn()
        assert result.wait(0) == 7

    def test_is_for_any_thread_once_answered(self, stepped: FakeProcess) -> None:
        """
        The reactor's, too: there is nothing to wait for.
        """
        result = call_for(stepped, 7)
        failed = failing_call(stepped, ValueError("of a body"))
        stepped.reactor.turn()
        with in_reactor_thread(stepped.bridge):
            assert result.wait(5) == 7
            with pytest.raises(ValueError, match="of a body"):
                failed.wait(5)

    def test_reads_an_answer_after_the_reactor_has_stopped(self, stepped: FakeProcess) -> None:
        """
        In whichever thread.
        """
        result = call_for(stepped, 7)
        stepped.reactor.turn()
        stepped.reactor.stop()
        stepped.reactor.turn()
        assert not stepped.reactor.running
        assert result.wait() == 7
        assert Background(result.wait).outcome() == 7

    def test_releases_everybody(self, running: FakeProcess) -> None:
        """
        In many threads, each with the value.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(running, deferred)
        value = object()
        barrier = threading.Barrier(9)

        def wait(index: int) -> object:
            barrier.wait(BOUND)
            return result.wait(BOUND)

        waiters = [Background(wait, index) for index in range(8)]
        barrier.wait(BOUND)
        running.reactor.callFromThread(deferred.callback, value)
        assert [waiter.outcome() for waiter in waiters] == [value] * 8

    def test_raises_the_error(self, stepped: FakeProcess) -> None:
        """
        To everybody, with the frames of both sides.
        """

        def body() -> None:
            raise ValueError("of a body")

        result = stepped.run_in_reactor(body)()
        stepped.reactor.turn()
        for _ in range(3):
            with pytest.raises(ValueError, match="of a body") as caught:
                result.wait(0)
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert names == ["test_raises_the_error", "wait", "throw", "body"]


class TestSecondLook:
    """
    A waiter looks again after it has put itself among the callbacks.
    """

    def test_sees_an_answer_that_came_before_it_was_entered(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        1. The waiter finds no answer. 2. The answering thread stores it and finds nobody to
        release. 3. The waiter puts itself among the callbacks and looks again.
        """
        callbacks = SteppedDict()
        result = _submitted(stepped.bridge, lambda: 7, callbacks)
        callbacks.before_set = stepped.reactor.turn
        waiter = waits()
        assert result.wait(BOUND) == 7
        assert waiter.waits == []
        assert callbacks == {}

    def test_sees_an_answer_that_came_after_it_was_entered(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        1. The waiter puts itself among the callbacks. 2. The answering thread stores the answer and
        releases it. 3. The waiter looks again.
        """
        callbacks = SteppedDict()
        result = _submitted(stepped.bridge, lambda: 7, callbacks)
        callbacks.after_set = stepped.reactor.turn
        waiter = waits()
        assert result.wait(BOUND) == 7
        assert waiter.waits == []
        assert callbacks == {}

    def test_may_be_too_early(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        1. The waiter puts itself among the callbacks and looks again: no answer. 2. The answering
        thread stores it and releases the waiter. 3. The waiter waits.
        """
        callbacks = SteppedDict()
        result = _submitted(stepped.bridge, lambda: 7, callbacks)
        waits(lambda timeout: stepped.reactor.turn())
        assert result.wait(BOUND) == 7
        assert callbacks == {}

    def test_saves_a_wait_that_is_out_of_time(self, stepped: FakeProcess) -> None:
        """
        1. The answering thread stores the answer and finds the waiter. 2. The time is over, and the
        waiter takes itself out. 3. The answering thread releases it, for nobody. 2 may come at any
        other step, too.
        """
        for at in itertools.count():
            waiter = Waiter()
            result = _submitted(stepped.bridge, callbacks={waiter: None})
            call = call_of(result)
            steps = Steps(at, partial(call.callbacks.pop, waiter, None))
            steps.run(partial(call.answer, 7))
            assert result.wait(0) == 7
            assert call.callbacks == {}
            if not steps.is_over:
                break
        assert at > 20


class TestClaims:
    """
    The thread that empties the slot ``work`` starts the call, or withdraws it.
    """

    def test_withdrawing_while_it_is_being_started(self, stepped: FakeProcess) -> None:
        """
        1. The reactor thread has read ``work``. 2. Another thread empties it: withdrawn. 3. The
        reactor thread finds it empty, so that the body never runs. At each other step, too, the
        body runs or the call is withdrawn.
        """
        seen: set[bool] = set()
        for at in itertools.count():
            ran: list[bool] = []
            withdrawn: list[bool] = []
            call = call_of(_submitted(stepped.bridge, partial(ran.append, True)))

            def withdraw(call: Call = call, withdrawn: list[bool] = withdrawn) -> None:
                withdrawn.append(call.withdraw())
                call.cancel_requested = True

            steps = Steps(at, withdraw)
            steps.run(stepped.reactor.turn)
            if not steps.is_over:
                break
            assert [bool(ran)] != withdrawn, f"at step {at}"
            assert not call.withdraw()
            seen.update(withdrawn)
        assert seen == {True, False}

    def test_that_is_to_be_cancelled_is_not_started(self, stepped: FakeProcess) -> None:
        """
        1. A thread that has come to the end of its stack notes that its call is to end, and can do
        no more. 2. The reactor thread comes to the call, and withdraws it.
        """
        ran: list[bool] = []
        result = _submitted(stepped.bridge, lambda: ran.append(True))
        call_of(result).cancel_requested = True
        stepped.reactor.turn()
        with pytest.raises(CancelledError, match="before it started"):
            result.wait(0)
        assert not ran
        assert not stepped.bridge.in_flight

    def test_withdrawing_after_it_has_been_started(self, stepped: FakeProcess) -> None:
        """
        1. The reactor thread empties ``work``. 2. Another thread finds it empty, so that the call
        takes its way.
        """
        withdrawn: list[bool] = []
        result = _submitted(stepped.bridge, lambda: withdrawn.append(call_of(result).withdraw()))
        stepped.reactor.turn()
        assert withdrawn == [False]
        assert result.wait(0) is None

    def test_withdrawing_before_it_is_started(self, stepped: FakeProcess) -> None:
        """
        1. A thread empties ``work``, and a signal ends it before it can answer. 2. The reactor
        thread finds it empty, and answers.
        """
        ran: list[bool] = []
        result = _submitted(stepped.bridge, lambda: ran.append(True))
        call_of(result).cancel_requested = True
        assert call_of(result).withdraw()
        assert not result.done()
        stepped.reactor.turn()
        assert ran == []
        with pytest.raises(CancelledError, match="before it started"):
            result.wait(0)

    def test_racing_threads(self, running: FakeProcess) -> None:
        """
        Each of many calls is either run or cancelled, never both and never neither.
        """
        ran: set[int] = set()
        results = [running.run_in_reactor(ran.add)(number) for number in range(300)]

        def cancel_all(index: int) -> None:
            for result in reversed(results):
                result.cancel()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            together(4, cancel_all)
        finally:
            sys.setswitchinterval(interval)
        cancelled = set()
        for number, result in enumerate(results):
            try:
                result.wait(BOUND)
            except CancelledError:
                cancelled.add(number)
        assert ran | cancelled == set(range(300))
        assert ran & cancelled == set()


class TestMemory:
    """
    No call leaves a reference cycle behind.
    """

    def test_of_a_success(self, stepped: FakeProcess) -> None:
        """
        Whichever way it came.
        """

        def act() -> None:
            for value in (7, succeed(7)):
                result = call_for(stepped, value)
                stepped.reactor.turn()
                assert result.wait(0) == 7

        assert cycles_of(act, 10) == 0

    @pytest.mark.parametrize("kind", ["raised", "awaited", "called back", "returned"])
    def test_of_an_error(self, running: FakeProcess, kind: str) -> None:
        """
        Though its traceback holds frames of both sides, and those lead to others.
        """

        def body() -> Any:
            if kind == "raised":
                raise ValueError("of a body")
            if kind == "awaited":
                return coroutine()
            deferred: Deferred[object] = Deferred()
            deferred.addCallback(callback)
            if kind == "returned":
                deferred.callback(None)
            else:
                running.reactor.callLater(0, deferred.callback, None)
            return deferred

        async def coroutine() -> None:
            raise ValueError("of a body")

        def callback(value: object) -> None:
            raise ValueError("of a body")

        def act() -> None:
            result = running.run_in_reactor(body)()
            for _ in range(2):
                try:
                    result.wait(BOUND)
                except ValueError:
                    continue
            # Once this has been answered, the reactor thread has done with the other.
            for _ in range(2):
                call_for(running).wait(BOUND)

        assert cycles_of(act, 10) == 0

    def test_of_a_cancellation(self, stepped: FakeProcess) -> None:
        """
        Before the call started and after that.
        """

        def act() -> None:
            results = [call_for(stepped, Deferred()) for _ in range(2)]
            results[0].cancel()
            stepped.reactor.turn()
            results[1].cancel()
            stepped.reactor.turn()
            assert all(result.done() for result in results)

        assert cycles_of(act, 10) == 0


class TestCancelling:
    """
    ``cancel()``
    """

    def test_before_the_start(self, stepped: FakeProcess) -> None:
        """
        The body never runs, and the answer is there at once.
        """
        ran: list[bool] = []
        result = stepped.run_in_reactor(lambda: ran.append(True))()
        result.cancel()
        with pytest.raises(CancelledError, match=r"was cancelled before it started"):
            result.wait(0)
        stepped.reactor.turn()
        assert ran == []
        assert stepped.bridge.calls_in_flight() == set()

    def test_while_it_runs(self, stepped: FakeProcess) -> None:
        """
        The Deferred is cancelled, in the reactor thread.
        """
        told: list[object] = []
        deferred: Deferred[object] = Deferred(told.append)
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        result.cancel()
        assert told == []
        stepped.reactor.turn()
        assert told == [deferred]
        with pytest.raises(CancelledError):
            result.wait(0)

    def test_without_a_canceller(self, stepped: FakeProcess) -> None:
        """
        What comes later is swallowed.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        deferred.callback(7)
        with pytest.raises(CancelledError):
            result.wait(0)

    def test_of_what_answers_otherwise(self, stepped: FakeProcess) -> None:
        """
        With a value, or an error of its own.
        """
        answers: Deferred[object] = Deferred(lambda it: it.callback(7))
        fails: Deferred[object] = Deferred(lambda it: it.errback(ValueError("of a canceller")))
        results = [call_for(stepped, answers), call_for(stepped, fails)]
        stepped.reactor.turn()
        for result in results:
            result.cancel()
        stepped.reactor.turn()
        assert results[0].wait(0) == 7
        with pytest.raises(ValueError, match="of a canceller"):
            results[1].wait(0)

    def test_of_what_ignores_it(self, stepped: FakeProcess) -> None:
        """
        The operation goes on.
        """
        last: Deferred[int] = Deferred()

        async def body() -> int:
            try:
                await Deferred()
            except CancelledError:
                return await last
            return 0

        result = stepped.run_in_reactor(body)()
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        assert not result.done()
        last.callback(7)
        assert result.wait(0) == 7

    def test_of_what_fails_to_cancel(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        That is the answer, for the operation may never fire. What comes of it later is dropped.
        """
        error = ValueError("of a canceller")

        def cancel(deferred: object) -> None:
            raise error

        deferred: Deferred[object] = Deferred(cancel)
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        with pytest.raises(ValueError, match="of a canceller") as raised:
            result.wait(0)
        assert raised.value is error
        assert raised.traceback[-1].name == "cancel"
        deferred.callback(7)
        with pytest.raises(ValueError, match="of a canceller"):
            result.wait(0)
        assert logged.take() == []

    def test_after_the_end(self, stepped: FakeProcess) -> None:
        """
        Nothing happens.
        """
        result = call_for(stepped, 7)
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        assert result.wait(0) == 7

    def test_as_it_ends(self, stepped: FakeProcess) -> None:
        """
        1. A thread finds the call running and asks the reactor thread to cancel it. 2. The
        operation ends. 3. The reactor thread finds nothing to cancel.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        result.cancel()
        deferred.callback(7)
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("has_started", [False, True])
    def test_twice(self, stepped: FakeProcess, has_started: bool) -> None:
        """
        Is like once.
        """
        told: list[object] = []
        result = call_for(stepped, Deferred(told.append))
        if has_started:
            stepped.reactor.turn()
        result.cancel()
        result.cancel()
        stepped.reactor.turn()
        assert len(told) == has_started
        with pytest.raises(CancelledError):
            result.wait(0)

    @pytest.mark.parametrize("has_started", [False, True])
    def test_is_no_news(
        self, stepped: FakeProcess, logged: LoggedFailures, has_started: bool
    ) -> None:
        """
        The CancelledError that nobody collects is not logged.
        """
        result = call_for(stepped, Deferred())
        if has_started:
            stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        del result
        gc.collect()
        assert logged.events == []

    def test_any_other_error_is_news(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        Nobody ordered it.
        """
        error = ValueError("of a canceller")
        result = call_for(stepped, Deferred(lambda it: it.errback(error)))
        stepped.reactor.turn()
        result.cancel()
        stepped.reactor.turn()
        del result
        gc.collect()
        assert logged.take() == [error]

    def test_is_news_if_nobody_asked(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        Such as a CancelledError of the operation's own.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        deferred.cancel()
        del result, deferred
        gc.collect()
        assert [type(error) for error in logged.take()] == [CancelledError]

    def test_by_two_threads(self, stepped: FakeProcess) -> None:
        """
        1. A thread withdraws the call, answers, and is about to release the waiters. 2. The
        reactor thread finds the call withdrawn, answers it, too, and releases them. 3. The first
        finds nobody left. 2 may come at any other step, too.
        """
        for at in itertools.count():
            result = _submitted(stepped.bridge)
            called: list[object] = []
            result.add_done_callback(called.append)
            steps = Steps(at, stepped.reactor.turn)
            steps.run(result.cancel)
            stepped.reactor.turn()
            assert called == [result]
            if not steps.is_over:
                break
        assert at > 20
        with pytest.raises(CancelledError):
            result.wait(0)


class TestCallbacks:
    """
    ``done()`` and ``add_done_callback()``
    """

    def test_done_tells_whether_the_answer_is_there(self, stepped: FakeProcess) -> None:
        """
        A value or an error.
        """
        results = [call_for(stepped, 7), failing_call(stepped, ValueError("of a body"))]
        assert [result.done() for result in results] == [False, False]
        stepped.reactor.turn()
        assert [result.done() for result in results] == [True, True]
        results[1].original_failure()

    def test_repr_tells_the_state(self, stepped: FakeProcess) -> None:
        """
        With the name of the function.
        """

        def fetch() -> None:
            raise ValueError("of a body")

        pending, failed, done = (
            stepped.run_in_reactor(fetch)(),
            stepped.run_in_reactor(fetch)(),
            stepped.run_in_reactor(int)(),
        )
        assert repr(pending) == "<EventualResult of fetch(): pending>"
        stepped.reactor.turn()
        assert repr(failed) == "<EventualResult of fetch(): failed, ValueError('of a body')>"
        assert repr(done) == "<EventualResult of int(): done, 0>"
        pending.original_failure()
        failed.original_failure()

    def test_are_called_in_order(self, stepped: FakeProcess) -> None:
        """
        Once each, with the result, when the answer is there to be read.
        """
        result = call_for(stepped, 7)
        called: list[object] = []
        for number in range(3):
            result.add_done_callback(lambda it, n=number: called.append((n, it, it.wait())))
        assert called == []
        stepped.reactor.turn()
        assert called == [(number, result, 7) for number in range(3)]
        stepped.reactor.turn()
        assert len(called) == 3

    def test_are_called_at_once_if_the_answer_is_there(self, stepped: FakeProcess) -> None:
        """
        By the thread that adds them.
        """
        result = call_for(stepped, 7)
        stepped.reactor.turn()
        called: list[object] = []
        result.add_done_callback(called.append)
        assert called == [result]

    def test_added_as_the_answer_comes(self, stepped: FakeProcess) -> None:
        """
        1. The answer is stored, and nobody is found to be told. 2. The callback is added. 3. The
        thread that adds it looks, finds the answer, takes the callback out and calls it.
        """
        callbacks = SteppedDict()
        result = _submitted(stepped.bridge, callbacks=callbacks)
        called: list[object] = []
        callbacks.before_set = stepped.reactor.turn
        result.add_done_callback(called.append)
        assert called == [result]

    def test_added_before_the_answer_comes(self, stepped: FakeProcess) -> None:
        """
        1. The callback is added. 2. The answer is stored, and the callback called. 3. The thread
        that adds it looks, finds the answer, and finds the callback gone.
        """
        callbacks = SteppedDict()
        result = _submitted(stepped.bridge, callbacks=callbacks)
        called: list[object] = []
        callbacks.after_set = stepped.reactor.turn
        result.add_done_callback(called.append)
        assert called == [result]

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_that_raise_are_logged(
        self, stepped: FakeProcess, logged: LoggedFailures, error: type[BaseException]
    ) -> None:
        """
        And keep nobody from being released who comes after them.
        """

        def callback(result: object) -> None:
            raise error("of a callback")

        result = call_for(stepped, 7)
        result.add_done_callback(callback)
        called: list[object] = []
        result.add_done_callback(called.append)
        stepped.reactor.turn()
        assert called == [result]
        assert [type(each) for each in logged.take()] == [error]

    def test_that_raise_at_once_are_logged(
        self, stepped: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        They are no concern of the code that adds them.
        """
        result = call_for(stepped, 7)
        stepped.reactor.turn()
        result.add_done_callback(lambda it: 1 / 0)
        assert [type(each) for each in logged.take()] == [ZeroDivisionError]

    def test_may_use_the_result(self, stepped: FakeProcess) -> None:
        """
        Whatever they do with it.
        """
        result = call_for(stepped, 7)
        called: list[object] = []

        def use(it: EventualResult[int]) -> None:
            it.cancel()
            it.add_done_callback(called.append)
            called.append(it.wait(0))

        result.add_done_callback(use)
        stepped.reactor.turn()
        assert called == [result, 7]


class TestFailures:
    """
    ``original_failure()``
    """

    def test_is_none_while_there_is_no_error(self, stepped: FakeProcess) -> None:
        """
        Be it pending or a value.
        """
        result = call_for(stepped, 7)
        assert result.original_failure() is None
        stepped.reactor.turn()
        assert result.original_failure() is None

    def test_has_the_error(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        Which need not be logged after that.
        """
        error = ValueError("of a body")
        result = failing_call(stepped, error)
        stepped.reactor.turn()
        failure = result.original_failure()
        assert failure is not None
        assert failure.value is error
        assert failure.frames[-1][0] == "body"
        del result
        gc.collect()
        assert logged.events == []

    def test_starts_its_traceback_with_the_body(self, stepped: FakeProcess) -> None:
        """
        Crochet's own frame says nothing of the program.
        """
        result = failing_call(stepped, ValueError("of a body"))
        stepped.reactor.turn()
        failure = result.original_failure()
        assert failure is not None
        assert [frame[0] for frame in failure.frames] == ["body"]

    def test_nobody_collects_is_logged(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        When the result is dropped.
        """
        error = ValueError("of a body")
        result = failing_call(stepped, error)
        stepped.reactor.turn()
        gc.collect()
        assert logged.events == []
        del result
        gc.collect()
        assert logged.take() == [error]


class TestEnds:
    """
    An answer from whoever ends the reactor.
    """

    def test_release_with_an_error(self, stepped: FakeProcess, logged: LoggedFailures) -> None:
        """
        That is not logged, be there nobody who waits.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        assert call_of(result).end(_errors.stopped("body")) is deferred
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            result.wait(0)
        assert call_of(result).end(_errors.stopped("body")) is None
        del result
        gc.collect()
        assert logged.events == []

    def test_before_the_start(self, stepped: FakeProcess) -> None:
        """
        There is nothing to cancel, and the body never runs.
        """
        ran: list[bool] = []
        result = stepped.run_in_reactor(lambda: ran.append(True))()
        assert call_of(result).end(_errors.stopped("body")) is None
        stepped.reactor.turn()
        assert ran == []
        with pytest.raises(ReactorStopped):
            result.wait(0)

    def test_after_the_answer(self, stepped: FakeProcess) -> None:
        """
        Change nothing.
        """
        result = call_for(stepped, 7)
        stepped.reactor.turn()
        assert call_of(result).end(_errors.stopped("body")) is None
        assert result.wait(0) == 7

    @pytest.mark.parametrize("is_error", [False, True])
    def test_before_an_answer(
        self, stepped: FakeProcess, logged: LoggedFailures, is_error: bool
    ) -> None:
        """
        Which comes too late; if it is an error, it is logged.
        """
        deferred: Deferred[object] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        call_of(result).end(_errors.stopped("body"))
        error = ValueError("of a body")
        if is_error:
            deferred.errback(error)
        else:
            deferred.callback(7)
        assert logged.take() == [error] * is_error
        with pytest.raises(ReactorStopped):
            result.wait(0)

    @pytest.mark.parametrize("is_end", [False, True])
    def test_before_a_connection_is_closed(
        self, stepped: FakeProcess, logged: LoggedFailures, is_end: bool
    ) -> None:
        """
        By the reactor's end, which is no news. One that was closed as its caller gave up is.
        """
        error = ResponseNeverReceived([Failure(ConnectionLost())])
        deferred: Deferred[object] = Deferred(lambda deferred: deferred.errback(error))
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        if is_end:
            call_of(result).end(_errors.stopped("body"))
            deferred.cancel()
        else:
            result.cancel()
            stepped.reactor.turn()
        del result
        gc.collect()
        assert [type(each) for each in logged.take()] == [ResponseNeverReceived] * (not is_end)

    def test_in_a_forked_child_release_nobody(self, stepped: FakeProcess) -> None:
        """
        The waiters and callbacks are the parent's.
        """
        result = call_for(stepped, 7)
        called: list[object] = []
        result.add_done_callback(called.append)
        call_of(result).after_fork_in_child(_errors.forked("body"))
        assert called == []
        with pytest.raises(ReactorStopped, match="forked"):
            result.wait(0)


def test_a_program_may_set_attributes(stepped: FakeProcess) -> None:
    """
    As it could in 2.1.1: what a result is for, say.
    """
    result: Any = call_for(stepped)
    with pytest.raises(AttributeError):
        _ = result.purpose
    result.purpose = "to be shown"
    assert result.purpose == "to be shown"
    assert vars(result) == {"purpose": "to be shown"}


class TestForgotten:
    """
    A call that nobody can answer, and that nobody can ask for.
    """

    def test_is_gone(self, stepped: FakeProcess) -> None:
        """
        Its Deferred and its result were dropped.
        """
        for _ in range(100):
            stepped.run_in_reactor(lambda: Deferred())()
        stepped.reactor.turn()
        gc.collect()
        assert stepped.bridge.calls_in_flight() == set()
        assert not stepped.bridge.in_flight

    def test_is_not_one_whose_deferred_is_held(self, stepped: FakeProcess) -> None:
        """
        It is listed, and cancelled at the reactor's end.
        """
        told: list[object] = []
        deferred: Deferred[object] = Deferred(told.append)
        stepped.run_in_reactor(lambda: deferred)()
        stepped.reactor.turn()
        gc.collect()
        assert len(stepped.bridge.calls_in_flight()) == 1
        [unfinished] = stepped.bridge.close(_errors.stopped)
        assert unfinished is deferred

    def test_is_not_one_with_a_done_callback(self, stepped: FakeProcess) -> None:
        """
        Which is called at the reactor's end, whoever holds what.
        """
        called: list[object] = []
        stepped.run_in_reactor(lambda: Deferred())().add_done_callback(called.append)
        stepped.reactor.turn()
        gc.collect()
        stepped.bridge.close(_errors.stopped)
        assert len(called) == 1
        assert stepped.bridge.watched == set()


def test_a_copy_is_refused(stepped: FakeProcess) -> None:
    """
    Nobody would answer it. A pickle would be one.
    """
    result = call_for(stepped, 7)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"only this one, of .* will be answered"):
            copied(result)


def test_cancelling_leaves_callbacks_to_the_reactor_thread(stepped: FakeProcess) -> None:
    """
    1. A thread cancels a call that has not started, and is interrupted at any step of it. 2. The
    reactor thread comes to the call, and calls back, as it does where nothing has interrupted that.
    """

    def interrupt() -> None:
        raise KeyboardInterrupt("Ctrl-C")

    for at in itertools.count():
        result = call_for(stepped, 7)
        called: list[object] = []
        result.add_done_callback(called.append)
        steps = Steps(at, interrupt, is_signal=True)
        with suppress(KeyboardInterrupt):
            steps.run(result.cancel)
        assert called == []
        stepped.reactor.turn()
        assert called == [result]
        if not steps.is_over:
            break
        with suppress(CancelledError):
            result.wait(0)
    assert at > 3
