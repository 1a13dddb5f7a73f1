"""
The decorator that makes functions return streams, and what the other two say of such functions.
"""

from __future__ import annotations

import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from crochet._core.decorators import WaitedFunction
from crochet._streams.stream import Stream
from support.process import FakeProcess
from support.stepping import BOUND


async def numbers(first: int = 0, *, number: int = 2) -> AsyncIterator[int]:
    """
    Count.
    """
    for each in range(first, first + number):
        yield each


class TestDecorated:
    """
    What it makes.
    """

    def test_looks_like_the_function(self, process: Any) -> None:
        """
        To programs and tools, which take it for a function that needs no await.
        """
        decorated = _iterate(process)(1)(numbers)
        assert decorated.__name__ == "numbers"
        assert decorated.__doc__ == numbers.__doc__
        assert decorated.__wrapped__ is decorated.wrapped_function is numbers
        assert inspect.signature(decorated) == inspect.signature(numbers)
        assert not inspect.iscoroutinefunction(decorated)
        assert type(decorated) is WaitedFunction

    @pytest.mark.parametrize("buffersize", [0, 4])
    def test_takes_all_kinds_of_functions(self, either: Any, buffersize: int) -> None:
        """
        Methods, static and class methods, on either side of the decorator, lambdas and partials.
        """
        iterate = either.iterate(BOUND, buffersize=buffersize)

        class Client:
            first = 5

            @iterate
            async def events(self, number: int) -> AsyncIterator[int]:
                for each in range(self.first, self.first + number):
                    yield each

            @iterate
            @classmethod
            async def of_class(cls) -> AsyncIterator[int]:
                yield cls.first

            @classmethod
            @iterate
            async def of_class_too(cls) -> AsyncIterator[int]:
                yield cls.first

            @iterate
            @staticmethod
            async def static() -> AsyncIterator[int]:
                yield 1

            @staticmethod
            @iterate
            async def static_too() -> AsyncIterator[int]:
                yield 1

            @iterate
            @inlineCallbacks
            def inline(self) -> Iterator[Any]:
                first = yield succeed(3)
                return numbers(first)

        client = Client()
        assert list(client.events(2)) == [5, 6]
        for call in (client.of_class, Client.of_class, Client.of_class_too):
            assert list(call()) == [5]
        assert [*client.static(), *Client.static_too()] == [1, 1]
        assert list(client.inline()) == [3, 4]
        assert list(iterate(client.events.__wrapped__.__get__(client))(1)) == [5]
        assert list(iterate(functools.partial(numbers, 7))(number=1)) == [7]
        assert list(iterate(lambda: numbers(9))()) == [9, 10]

    def test_is_pickled_by_its_name(self, process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        As any function.
        """
        decorated = _iterate(process)(1)(numbers)
        monkeypatch.setitem(globals(), "numbers", decorated)
        assert pickle.loads(pickle.dumps(decorated)) is decorated

    def test_returns_a_stream(self, either: Any) -> None:
        """
        At once, with what it was called with.
        """
        stream = either.iterate(BOUND)(numbers)(3, number=1)
        assert type(stream) is Stream
        assert list(stream) == [3]


class TestRefusals:
    """
    What cannot be decorated, and how not to.
    """

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ((numbers,), TypeError, r"needs a timeout .*@iterate_in_reactor\(timeout=5\.0\)"),
            ((-1,), ValueError, r"iterate_in_reactor\(\) cannot wait for -1 s"),
            (("1",), TypeError, "a timeout is a number of seconds"),
            ((1, -1), ValueError, "a buffer cannot hold -1 items"),
            ((1, 0.5), TypeError, "whole number of items, not 0.5"),
            ((1, 0, -1), ValueError, "give a grace from 0 seconds up"),
        ],
    )
    def test_of_arguments(
        self, process: Any, arguments: tuple[Any, ...], error: type[Exception], text: str
    ) -> None:
        """
        Where the function is decorated.
        """
        named = dict(zip(("timeout", "buffersize", "grace"), arguments, strict=False))
        with pytest.raises(error, match=text):
            _iterate(process)(**named)

    def test_of_a_generator_function(self, process: Any) -> None:
        """
        There is nothing async about it.
        """

        def generator() -> Iterator[int]:
            yield 1

        with pytest.raises(TypeError, match=r"generator\(\) is a generator function"):
            _iterate(process)(1)(generator)


class TestTheOthers:
    """
    ``wait_for`` and ``run_in_reactor``, of async generators.
    """

    @pytest.mark.parametrize("decorate", ["wait_for", "run_in_reactor"])
    def test_refuse_the_functions(self, process: Any, decorate: str) -> None:
        """
        And name the one that takes them.
        """
        with pytest.raises(TypeError, match=r"Decorate it with @iterate_in_reactor\(timeout"):
            _decorator(process, decorate)(numbers)

    @pytest.mark.parametrize("decorate", ["wait_for", "run_in_reactor"])
    def test_refuse_one_that_is_returned(self, either: Any, decorate: str) -> None:
        """
        At once, by a coroutine or by a Deferred: outside of the reactor thread it is of no use.
        """

        async def later() -> AsyncIterator[int]:
            waited: Deferred[None] = Deferred()
            either.reactor.callLater(0, waited.callback, None)
            await waited
            return numbers()

        async def at_once() -> AsyncIterator[int]:
            return numbers()

        for function in (numbers.__call__, at_once, later, lambda: succeed(numbers())):
            call = _decorator(either, decorate)(function)
            with pytest.raises(
                TypeError, match=r"\(\) returned an async generator, .*iterate_in_r"
            ):
                _answer(call())


def _iterate(process: Any) -> Any:
    from crochet._streams.iterating import Iterating

    return Iterating(process.bridge).iterate_in_reactor


def _decorator(process: FakeProcess, name: str) -> Callable[..., Any]:
    return process.wait_for(BOUND) if name == "wait_for" else process.run_in_reactor  # type: ignore[no-any-return]


def _answer(value: Any) -> object:
    return value.wait(BOUND)
