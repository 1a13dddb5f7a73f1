"""
Starting calls in the reactor thread, and what their bodies may do there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from fakes import FakeProcess, call_for, failing_call

_colour: ContextVar[str] = ContextVar("colour", default="none")


class TestBodies:
    """
    What a body may do.
    """

    def test_may_return_a_deferred(self, stepped: FakeProcess) -> None:
        """
        Then its result is the call's.
        """
        deferred: Deferred[int] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        assert not result.done()
        deferred.callback(7)
        assert result.wait(0) == 7

    @pytest.mark.parametrize("value", [7, None, [], {"a": 1}])
    def test_may_return_a_deferred_that_has_fired(
        self, stepped: FakeProcess, value: object
    ) -> None:
        """
        Likewise.
        """
        result = call_for(stepped, succeed(value))
        stepped.reactor.turn()
        assert result.wait(0) == value

    @pytest.mark.parametrize("wrap", [fail, lambda error: Failure(error)])
    def test_may_return_a_failure(
        self, stepped: FakeProcess, wrap: Callable[[Exception], object]
    ) -> None:
        """
        In a Deferred or bare.
        """
        result = call_for(stepped, wrap(ValueError("of a body")))
        stepped.reactor.turn()
        with pytest.raises(ValueError, match="of a body"):
            result.wait(0)

    def test_may_be_a_coroutine(self, stepped: FakeProcess) -> None:
        """
        Which sees the caller's context variables to its end.
        """
        deferred: Deferred[int] = Deferred()

        async def body() -> tuple[int, str]:
            return await deferred, _colour.get()

        token = _colour.set("red")
        result = stepped.run_in_reactor(body)()
        _colour.reset(token)
        stepped.reactor.turn()
        deferred.callback(7)
        assert result.wait(0) == (7, "red")

    def test_sees_the_callers_context(self, stepped: FakeProcess) -> None:
        """
        And keeps what it sets to itself.
        """

        def body() -> str:
            seen = _colour.get()
            _colour.set("green")
            return seen

        seen = []
        for colour in ("red", "blue"):
            token = _colour.set(colour)
            seen.append(stepped.run_in_reactor(body)())
            _colour.reset(token)
        stepped.reactor.turn()
        assert [result.wait(0) for result in seen] == ["red", "blue"]
        assert _colour.get() == "none"

    @pytest.mark.parametrize(
        "error",
        [ValueError(1), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(7)],
        ids=lambda error: type(error).__name__,
    )
    def test_may_raise_anything(self, stepped: FakeProcess, error: BaseException) -> None:
        """
        It reaches the caller, and the reactor goes on.
        """
        result = failing_call(stepped, error)
        after = call_for(stepped, 7)
        stepped.reactor.turn()
        with pytest.raises(type(error)) as caught:
            result.wait(0)
        assert caught.value is error
        assert after.wait(0) == 7

    def test_share_a_deferred_with_others(self, stepped: FakeProcess) -> None:
        """
        Whose callbacks get the value, too; of an error, they need not know.
        """
        deferreds: list[Deferred[Any]] = [Deferred(), Deferred()]
        results = [call_for(stepped, deferred) for deferred in deferreds]
        stepped.reactor.turn()
        seen: list[object] = []
        for deferred in deferreds:
            deferred.addBoth(seen.append)
        deferreds[0].callback(7)
        deferreds[1].errback(ValueError("of a body"))
        assert seen == [7, None]
        assert results[0].wait(0) == 7
        with pytest.raises(ValueError, match="of a body"):
            results[1].wait(0)

    def test_keep_nothing_alive_once_started(self, stepped: FakeProcess) -> None:
        """
        Neither function nor arguments.
        """

        class Argument:
            pass

        def body(argument: Argument) -> Deferred[None]:
            return deferred

        deferred: Deferred[None] = Deferred()
        argument = Argument()
        reference = weakref.ref(argument)
        result = stepped.run_in_reactor(body)(argument)
        del argument
        assert reference() is not None
        stepped.reactor.turn()
        assert reference() is None
        deferred.callback(None)
        assert result.wait(0) is None
