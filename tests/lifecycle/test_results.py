"""
The life of results: any sequence of what may happen to them, against a small model.

The model is what the documentation promises. Each step does the same to both, and then both must
say the same. One thread plays all parts: the reactor turns when a step says so, and waits have no
time.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from crochet import EventualResult, ReactorStopped, TimeoutError
from support.process import FakeProcess, LoggedFailures, stepped_process


class Boom(Exception):
    """
    What fails, fails with it; its argument tells which it was.
    """


class Call:
    """
    What the model knows of one call.
    """

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.state = "queued"  # then "running", then one of the answers
        self.answer: Any = None  # the value, or the exception's type
        self.is_cancelled = False
        self.is_to_be_told = False  # the reactor thread is yet to hear of the cancellation
        self.is_collected = False
        self.is_late = False  # its waiters were answered, but its operation goes on
        self.callbacks = 0

    @property
    def is_done(self) -> bool:
        return self.state in ("value", "error")

    @property
    def must_be_logged(self) -> bool:
        return self.state == "error" and not self.is_collected

    def finish(self, answer: Any) -> None:
        """
        Answer, unless that has happened.
        """
        if self.is_done:
            return
        self.state = "error" if isinstance(answer, type) else "value"
        self.answer = answer
        if answer is ReactorStopped or (answer is CancelledError and self.is_cancelled):
            self.is_collected = True


# What a body does. It returns a value, raises, or returns a Deferred with one canceller or another.
KINDS = ["returns", "raises", "hangs", "hangs, answers if cancelled", "hangs, fails if cancelled"]


class Results(RuleBasedStateMachine):
    """
    One process, its reactor, and the calls made in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.process: FakeProcess = stepped_process()
        self.logged = LoggedFailures()
        globalLogPublisher.addObserver(self.logged)
        self.calls: dict[int, Call] = {}
        # What programs hold; a result that was dropped is gone from here.
        self.held: dict[int, EventualResult[Any]] = {}
        self.stashed: dict[int, int] = {}  # a number under which: which call
        self.used: list[int] = []
        self.deferreds: dict[int, Deferred[Any]] = {}
        self.called_back: Counter[int] = Counter()
        # Withdrawn calls, whose callbacks the reactor thread calls when it comes to them.
        self.to_call_back: set[int] = set()
        self.due: Counter[int] = Counter()  # errors that are to be logged
        self.is_stopped = False
        self.made = 0

    def teardown(self) -> None:
        """
        Log what is left, as the exit does, and forget it.
        """
        self.process.exit()
        for call in self.calls.values():
            self._expect_log(call)
        self.calls.clear()
        self.each_error_is_logged_once()
        assert self.due.total() == 0, "errors were lost"
        self.held.clear()
        self.deferreds.clear()
        gc.collect()
        globalLogPublisher.removeObserver(self.logged)

    # What the model says.

    def _expect_log(self, call: Call) -> None:
        if call.must_be_logged:
            self.due[call.number] += 1
            call.is_collected = True

    def _drop_if_unheld(self, call: Call) -> None:
        """
        Nobody has a way to the result any more: neither a program, nor the stash, nor the reactor.
        """
        is_reachable = (
            call.number in self.held
            or call.number in self.stashed.values()
            or call.is_to_be_told
            or not call.is_done
        )
        if not is_reachable:
            self._expect_log(call)

    def _finish(self, call: Call, answer: Any) -> None:
        call.finish(answer)
        self._drop_if_unheld(call)

    def _end_operation(self, call: Call, answer: Any) -> None:
        """
        Its Deferred fires. If its waiters have been told of the reactor's end, errors are logged.
        """
        if call.is_late:
            call.is_late = False
            if isinstance(answer, type) and answer is not CancelledError:
                self.due[call.number] += 1
        else:
            self._finish(call, answer)

    def _cancel_operation(self, call: Call) -> None:
        answers = {"hangs": CancelledError, "hangs, fails if cancelled": Boom}
        self._end_operation(call, answers.get(call.kind, f"cancelled {call.number}"))

    # What happens.

    @precondition(lambda self: not self.is_stopped)
    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def make_calls(self, kinds: list[str]) -> None:
        """
        They are queued.
        """
        for kind in kinds:
            self._make_a_call(kind)

    def _make_a_call(self, kind: str) -> None:
        self.made += 1
        number = self.made
        call = self.calls[number] = Call(number, kind)
        self.held[number] = self.process.run_in_reactor(self._body(call))()
        self.held[number].add_done_callback(lambda result: self.called_back.update([number]))
        call.callbacks += 1

    def _body(self, call: Call) -> Callable[[], Any]:
        number = call.number
        cancellers: dict[str, Any] = {
            "hangs": None,
            "hangs, answers if cancelled": lambda it: it.callback(f"cancelled {number}"),
            "hangs, fails if cancelled": lambda it: it.errback(Boom(number)),
        }

        def body() -> Any:
            assert call.state == "started", "the model says that this must not run"
            if call.kind == "raises":
                raise Boom(number)
            if call.kind == "returns":
                return number
            deferred = self.deferreds[number] = Deferred(cancellers[call.kind])
            return deferred

        return body

    @precondition(lambda self: self.is_stopped)
    @rule()
    def make_a_call_too_late(self) -> None:
        """
        It is refused.
        """
        try:
            self.process.run_in_reactor(int)()
        except ReactorStopped:
            return
        raise AssertionError("it was accepted")

    @rule()
    def turn_the_reactor(self) -> None:
        """
        What is queued is started, and what was cancelled learns of it.
        """
        if not self.is_stopped:
            for call in self.calls.values():
                if call.state == "queued":
                    call.state = "started"
        self.process.reactor.turn()
        self.to_call_back.clear()
        for call in self.calls.values():
            if call.state == "started":
                if call.kind == "returns":
                    self._finish(call, call.number)
                elif call.kind == "raises":
                    self._finish(call, Boom)
                else:
                    call.state = "running"
            elif call.is_to_be_told:
                call.is_to_be_told = False
                if call.state == "running":
                    self._cancel_operation(call)
                else:
                    self._drop_if_unheld(call)

    def _pick(self, data: Any, numbers: Iterable[int]) -> int:
        number: int = data.draw(st.sampled_from(list(numbers)))
        return number

    def _operations(self) -> list[int]:
        return [number for number, deferred in self.deferreds.items() if not deferred.called]

    @precondition(lambda self: self._operations())
    @rule(data=st.data(), is_error=st.booleans())
    def fire(self, data: Any, is_error: bool) -> None:
        """
        An operation ends, well or not.
        """
        number = self._pick(data, self._operations())
        deferred = self.deferreds.pop(number)
        if is_error:
            deferred.errback(Boom(number))
        else:
            deferred.callback(f"fired {number}")
        self._end_operation(self.calls[number], Boom if is_error else f"fired {number}")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        """
        Before the start, while it runs, or after the end.
        """
        number = self._pick(data, self.held)
        call = self.calls[number]
        self.held[number].cancel()
        if not call.is_done:
            call.is_cancelled = True
        if call.state == "queued":
            self._finish(call, CancelledError)
            self.to_call_back.add(number)
        elif call.state == "running":
            call.is_to_be_told = True

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 3))
    def wait(self, data: Any, times: int) -> None:
        """
        The answer is there, or time is over.
        """
        number = self._pick(data, self.held)
        call = self.calls[number]
        for _ in range(times):
            arguments: tuple[object, ...] = ()
            try:
                outcome: Any = self.held[number].wait(0)
            except (Boom, CancelledError, ReactorStopped, TimeoutError) as error:
                outcome, arguments = type(error), error.args
            assert outcome is not Boom or arguments == (number,)
            assert outcome == (call.answer if call.is_done else TimeoutError)
        if call.is_done:
            call.is_collected = True

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ask_for_the_failure(self, data: Any) -> None:
        """
        There is one if there was an error.
        """
        number = self._pick(data, self.held)
        call = self.calls[number]
        failure = self.held[number].original_failure()
        if call.state == "error":
            assert failure is not None
            assert failure.type is call.answer
            call.is_collected = True
        else:
            assert failure is None

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def stash(self, data: Any) -> None:
        """
        Under a number that was never given out.
        """
        number = self._pick(data, self.held)
        uid = self.held[number].stash()
        assert uid not in self.stashed
        assert uid not in self.used
        self.stashed[uid] = number

    @precondition(lambda self: self.stashed)
    @rule(data=st.data())
    def retrieve(self, data: Any) -> None:
        """
        What was stashed, once.
        """
        uid = self._pick(data, self.stashed)
        number = self.stashed.pop(uid)
        self.used.append(uid)
        result = self.process.retrieve_result(uid)
        if number in self.held:
            assert result is self.held[number]
        self.held[number] = result

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def retrieve_again(self, data: Any) -> None:
        """
        In vain.
        """
        uid = self._pick(data, self.used)
        try:
            self.process.retrieve_result(uid)
        except KeyError:
            return
        raise AssertionError("it was retrieved twice")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data: Any) -> None:
        """
        A program forgets a result.
        """
        number = self._pick(data, self.held)
        del self.held[number]
        self._drop_if_unheld(self.calls[number])

    @precondition(lambda self: not self.is_stopped and self.made > 8)
    @rule()
    def stop(self) -> None:
        """
        Whatever was accepted is answered. Operations are cancelled, queued calls never run.
        """
        self.turn_the_reactor()
        self.process.reactor.stop()
        self.process.reactor.turn()
        self.is_stopped = True
        for call in self.calls.values():
            if call.is_done:
                continue
            is_running = call.state == "running"
            call.is_cancelled = True
            self._finish(call, ReactorStopped)
            if is_running:
                call.is_late = True
                self._cancel_operation(call)

    # What must always hold.

    @invariant()
    def each_call_is_as_the_model_says(self) -> None:
        """
        For all that can be seen of it without changing it.
        """
        for number, result in self.held.items():
            call = self.calls[number]
            assert result.done() == call.is_done
            state = {"value": "done", "error": "failed"}.get(call.state, "pending")
            assert re.search(
                rf": {state}(, .+)?>$" if call.is_done else f": {state}>$", repr(result)
            )

    @invariant()
    def callbacks_are_called_once(self) -> None:
        """
        When the answer is there.
        """
        done = {call.number for call in self.calls.values() if call.is_done}
        expected = dict.fromkeys(done - self.to_call_back, 1)
        assert dict(self.called_back) == expected

    @invariant()
    def what_is_in_flight_is_listed(self) -> None:
        """
        And nothing else.
        """
        pending = [call for call in self.calls.values() if not call.is_done]
        assert len(self.process.bridge.in_flight) == len(pending)

    @invariant()
    def what_nobody_has_taken_is_listed(self) -> None:
        """
        And nothing else.
        """
        self.each_error_is_logged_once()
        reachable = [call for call in self.calls.values() if call.must_be_logged]
        assert len(self.process.bridge.uncollected) == len(reachable) + self.due.total()

    @invariant()
    def each_error_is_logged_once(self) -> None:
        """
        If nobody took it, and nobody can take it any more.

        It may take its time: a traceback that is held may hold a frame of Twisted's that holds a
        result. At the exit, it is there.
        """
        for error in self.logged.take():
            assert isinstance(error, Boom), error
            assert self.due[error.args[0]] > 0, error
            self.due[error.args[0]] -= 1


def test_life(logged: LoggedFailures) -> None:
    """
    100 lives, of up to 50 steps each.
    """
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Results,
        settings=settings(
            max_examples=100,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    # Each life has seen to its own.
    assert {type(error) for error in logged.take()} <= {Boom}
