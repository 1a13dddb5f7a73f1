"""
Several results at once, and what a result tells as futures do.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

import crochet
from crochet import DeadlockError, ReactorStopped, TimeoutError
from crochet._core.run_in_caller import run_in_caller
from crochet._streams.together import as_completed, gather
from support.process import LoggedFailures
from support.stepping import BOUND, Background, wait_until


def started(process: Any, number: int) -> tuple[list[Any], list[Any]]:
    """
    Return results, and the Deferreds of their operations.
    """
    deferreds: list[Any] = [Deferred() for _ in range(number)]

    def operate(index: int) -> Any:
        return deferreds[index]

    return [process.run_in_reactor(operate)(index) for index in range(number)], deferreds


def fire(process: Any, deferred: Any, value: object) -> None:
    """
    Answer one.
    """
    process.wait_for(BOUND)(deferred.callback)(value)


class TestGather:
    """
    ``gather()``.
    """

    def test_returns_the_values_in_the_order_given(self, either: Any) -> None:
        """
        Whichever comes first.
        """
        results, deferreds = started(either, 5)
        waiting = Background(gather, tuple(results), BOUND, False)
        for index in (3, 0, 4, 1, 2):
            fire(either, deferreds[index], 10 * index)
        assert waiting.outcome() == [0, 10, 20, 30, 40]
        assert gather(tuple(results), 0, False) == [0, 10, 20, 30, 40]
        assert gather((), 0, False) == []
        assert not either.bridge.waits

    def test_raises_the_first_error_and_cancels_the_others(self, either: Any) -> None:
        """
        At once, though the others would go on for ever.
        """
        results, deferreds = started(either, 3)
        waiting = Background(gather, tuple(results), None, False)
        either.run_in_reactor(lambda: deferreds[1].errback(KeyError("of the second")))()
        with pytest.raises(KeyError, match="of the second"):
            waiting.outcome()
        for index in (0, 2):
            with pytest.raises(CancelledError):
                results[index].wait(BOUND)
            assert results[index].cancelled()

    def test_can_return_errors(self, either: Any) -> None:
        """
        In the place of values; nobody is cancelled.
        """
        results, deferreds = started(either, 3)
        error = KeyError()
        waiting = Background(gather, tuple(results), BOUND, True)
        either.run_in_reactor(lambda: deferreds[0].errback(error))()
        for index in (1, 2):
            fire(either, deferreds[index], index)
        values = waiting.outcome()
        assert isinstance(values[0], KeyError)
        assert values[1:] == [1, 2]

    def test_times_out(self, either: Any) -> None:
        """
        By its timeout or a deadline, and leaves the operations as they are.
        """
        results, deferreds = started(either, 2)
        fire(either, deferreds[0], 0)
        with pytest.raises(TimeoutError, match=r"operate\(\) has not answered in 0\.0\d* s"):
            gather(tuple(results), 0.02, False)
        with crochet.deadline(0.02), pytest.raises(TimeoutError, match="deadline"):
            gather(tuple(results), None, False)
        fire(either, deferreds[1], 1)
        assert gather(tuple(results), BOUND, False) == [0, 1]

    def test_lets_an_exception_of_a_signal_through(
        self, either: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Where an answer is there already no callback is called, of which errors are logged.
        """
        results, deferreds = started(either, 2)
        fire(either, deferreds[0], 1)
        fire(either, deferreds[1], 2)

        def interrupted(*args: Any) -> None:
            raise OSError("a signal handler's")

        monkeypatch.setattr("crochet._streams.together._note", interrupted)
        assert gather(tuple(results), BOUND, False) == [1, 2]

    def test_takes_results_only(self, either: Any) -> None:
        """
        Not a list of them, say.
        """
        with pytest.raises(TypeError, match=r"not 'list': write gather\(\*results\)"):
            gather(([],), 0, False)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"not 'int': write as_completed\(results\)"):
            as_completed([7], 0)  # type: ignore[list-item]
        results, _ = started(either, 1)
        with pytest.raises(TypeError, match=r"write as_completed\(\[result, \.\.\.\]\)"):
            as_completed(results[0], 0)
        with pytest.raises(TypeError, match="number of seconds"):
            as_completed(results, "soon")  # type: ignore[arg-type]

    def test_is_not_for_the_reactor_thread(self, either: Any) -> None:
        """
        It would wait for itself.
        """
        results, deferreds = started(either, 1)
        with pytest.raises(DeadlockError):
            either.wait_for(BOUND)(gather)(tuple(results), BOUND, False)
        fire(either, deferreds[0], 1)

    def test_ends_with_the_reactor(self, own: Any) -> None:
        """
        At once.
        """
        results, _ = started(own, 3)
        waiting = Background(gather, tuple(results), None, False)
        wait_until(lambda: bool(own.bridge.waits), "the wait")
        own.loop.shutdown()
        with pytest.raises(ReactorStopped):
            waiting.outcome()

    def test_serves_bodies_that_ask_for_the_caller(self, either: Any) -> None:
        """
        The one that is waited for, as each is in turn.
        """

        async def body() -> int:
            while not either.bridge.waits:  # until the caller waits
                turn: Deferred[None] = Deferred()
                either.reactor.callLater(0, turn.callback, None)
                await turn
            return await run_in_caller(either.bridge, threading.get_ident)  # type: ignore[return-value]

        either.run_in_reactor(int)().wait(BOUND)
        result = either.run_in_reactor(body)()
        assert gather((result,), BOUND, False) == [threading.get_ident()]


class TestAsCompleted:
    """
    ``as_completed()``.
    """

    def test_yields_results_as_they_are_answered(self, either: Any) -> None:
        """
        In that order, failed ones too.
        """
        results, deferreds = started(either, 4)
        completed = as_completed(results, BOUND)
        for index in (2, 0, 3, 1):
            waiting = Background(next, completed)
            fire(either, deferreds[index], index) if index else either.run_in_reactor(
                lambda: deferreds[0].errback(KeyError())
            )()
            assert waiting.outcome() is results[index]
        assert list(completed) == []
        with pytest.raises(KeyError):
            results[0].wait(0)

    def test_yields_those_that_are_there_at_once(self, either: Any) -> None:
        """
        Before the others.
        """
        results, deferreds = started(either, 3)
        for index in (2, 1):
            fire(either, deferreds[index], index)
        completed = as_completed(results, 0)
        assert {next(completed), next(completed)} == set(results[1:])
        with pytest.raises(TimeoutError):
            next(completed)
        fire(either, deferreds[0], 0)

    def test_of_many(self, either: Any) -> None:
        """
        Each comes once.
        """
        results = [either.run_in_reactor(lambda: 7)() for _ in range(1000)]
        assert sorted(map(id, as_completed(results, BOUND))) == sorted(map(id, results))


class TestFutures:
    """
    The names of futures' methods.
    """

    def test_result_and_exception(self, either: Any, logged: LoggedFailures) -> None:
        """
        Wait, and tell of either. An error that was asked for is not logged.
        """

        def fail() -> None:
            raise KeyError("of the body")

        value, failed = either.run_in_reactor(lambda: 42)(), either.run_in_reactor(fail)()
        assert value.result(BOUND) == 42
        assert value.exception() is None
        assert isinstance(failed.exception(BOUND), KeyError)
        assert not failed.cancelled()
        with pytest.raises(KeyError):
            failed.result()
        assert repr(value).endswith("done, 42>")
        assert repr(failed).endswith("fail(): failed, KeyError('of the body')>")
        assert len(repr(either.run_in_reactor(lambda: "x" * 10_000)())) < 200

    def test_of_a_cancelled_one(self, either: Any) -> None:
        """
        Both raise.
        """
        (result,), _ = started(either, 1)
        assert not result.cancelled()
        result.cancel()
        for ask in (result.result, result.exception):
            with pytest.raises(CancelledError):
                ask(BOUND)
        assert result.cancelled()

    def test_without_an_answer(self, either: Any) -> None:
        """
        They time out.
        """
        (result,), deferreds = started(either, 1)
        for ask in (result.result, result.exception):
            with pytest.raises(TimeoutError):
                ask(0)
        fire(either, deferreds[0], 1)
