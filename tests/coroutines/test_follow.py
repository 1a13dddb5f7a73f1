"""
What a body returned, as a Deferred to follow.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from crochet._coroutines.follow import explained, follow

_colour: ContextVar[str] = ContextVar("colour", default="none")


def _successes(deferred: Any) -> list[object]:
    seen: list[object] = []
    deferred.addCallback(seen.append)
    return seen


def _errors(deferred: Any) -> list[BaseException]:
    seen: list[BaseException] = []
    deferred.addErrback(lambda failure: seen.append(failure.value))
    return seen


@pytest.mark.parametrize(
    "value", [None, True, 7, 7.5, "s", b"b", (), [], {}, {7}, object(), Deferred, contextvars]
)
def test_a_plain_value_is_not_followed(value: object) -> None:
    """
    Be it of a common type or not.
    """
    assert follow(value, Context()) is value


def test_a_generator_is_a_plain_value() -> None:
    """
    The caller may iterate over it.
    """
    generator = (each for each in "abc")
    assert follow(generator, Context()) is generator


def test_a_deferred_is_followed_itself() -> None:
    """
    No second one is made for it, subclasses included.
    """

    class Mine(Deferred[object]):
        pass

    for deferred in (Deferred[object](), succeed(3), Mine()):
        assert follow(deferred, Context()) is deferred


def test_a_failure_is_a_failed_deferred() -> None:
    """
    With that failure.
    """
    error = ValueError("of a body")
    assert _errors(follow(Failure(error), Context())) == [error]


def test_a_coroutine_is_driven_by_twisted() -> None:
    """
    Through the Deferreds that it awaits, to the value that it returns.
    """
    awaited: Deferred[int] = Deferred()

    async def body() -> int:
        return await awaited + await succeed(1)

    seen = _successes(follow(body(), Context()))
    assert seen == []
    awaited.callback(6)
    assert seen == [7]


def test_a_coroutine_may_fail() -> None:
    """
    At once or later.
    """

    async def body(awaited: Deferred[object]) -> None:
        await awaited

    awaited: Deferred[object] = Deferred()
    error = ValueError("of a body")
    assert _errors(follow(body(fail(error)), Context())) == [error]
    seen = _errors(follow(body(awaited), Context()))
    awaited.errback(error)
    assert seen == [error]


def test_a_coroutine_can_be_cancelled() -> None:
    """
    Which cancels what it awaits.
    """
    awaited: Deferred[object] = Deferred()

    async def body() -> object:
        return await awaited

    deferred = follow(body(), Context())
    assert deferred is not None
    seen = _errors(deferred)
    deferred.cancel()
    assert [type(each) for each in seen] == [CancelledError]


def test_a_coroutine_runs_in_its_context_to_its_end() -> None:
    """
    Whatever the context of the code that fires what it awaits. What it sets stays its own.
    """
    awaited: Deferred[object] = Deferred()
    seen: list[str] = []

    async def body() -> None:
        seen.append(_colour.get())
        await awaited
        seen.append(_colour.get())
        _colour.set("green")

    token = _colour.set("red")
    context = copy_context()
    _colour.reset(token)
    done = _successes(follow(body(), context))
    Context().run(awaited.callback, None)
    assert done == [None]
    assert seen == ["red", "red"]
    assert _colour.get() == "none"


class Handmade(Coroutine[Any, Any, str]):
    """
    A coroutine that no `async def` has made, such as Cython's.
    """

    def __init__(self) -> None:
        self._body = self._run()

    async def _run(self) -> str:
        return await succeed("by hand")

    def __await__(self) -> Generator[Any, Any, str]:
        return self._run().__await__()

    def send(self, value: Any) -> Any:
        return self._body.send(value)

    def throw(self, *args: Any) -> Any:
        return self._body.throw(*args)

    def close(self) -> None:
        self._body.close()


def test_any_coroutine_is_driven() -> None:
    """
    Of whatever type.
    """
    assert _successes(follow(Handmade(), Context())) == ["by hand"]


class TestWithoutAsyncio:
    """
    On a reactor that is not asyncio's.
    """

    def _error(self, body: Any) -> BaseException:
        (error,) = _errors(follow(body(), Context()))
        return error

    def test_an_await_of_asyncios_is_explained(self) -> None:
        """
        However it fails there: for lack of a loop, or because nobody knows the future.
        """
        loop = asyncio.new_event_loop()

        async def sleep() -> None:
            await asyncio.sleep(1)

        async def await_future() -> None:
            await loop.create_future()

        async def ask() -> None:
            asyncio.get_running_loop()

        try:
            for body in (sleep, await_future, ask):
                error = self._error(body)
                better = explained(error, "fetch")
                assert type(better) is RuntimeError
                assert better.__cause__ is error
                assert str(better).startswith("fetch() awaits something of asyncio's, and")
                assert str(error) in str(better)
                assert 'Call crochet.setup(reactor="asyncio") at the top' in str(better)
        finally:
            loop.close()

    def test_so_is_an_error_of_a_library(self) -> None:
        """
        That looks which of them it is run by.
        """

        class AsyncLibraryNotFoundError(RuntimeError):
            pass

        error = AsyncLibraryNotFoundError("unknown async library, or not in async context")
        assert "reactor=" in str(explained(error, "fetch"))

    @pytest.mark.parametrize(
        "error", [ValueError("no running event loop"), RuntimeError("out of order")]
    )
    def test_other_errors_are_left_alone(self, error: Exception) -> None:
        """
        As well as these, where there is a loop.
        """
        assert explained(error, "fetch") is error

        async def main() -> None:
            error = RuntimeError("no running event loop")
            assert explained(error, "fetch") is error

        asyncio.run(main())

    def test_a_future_is_refused(self) -> None:
        """
        Nobody would await it.
        """
        loop = asyncio.new_event_loop()
        try:
            with pytest.raises(RuntimeError, match="does not belong to the event loop of the"):
                follow(loop.create_future(), Context())
        finally:
            loop.close()
