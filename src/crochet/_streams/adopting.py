"""
What blocking code gets of a value that a method of the reactor thread's has returned.

A value is looked at twice. In the reactor thread, before it is followed: what can be entered or
iterated over is not awaited, even where it could be. And in the waiting thread, once it is there.

Threads: ``prepare()``, and what is iterated over and entered, are the reactor thread's.
"""

from __future__ import annotations

import inspect
from asyncio import isfuture
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast

from twisted.internet.defer import Deferred

from .._coroutines.follow import PLAIN

Adopt = Callable[[Any], object]


class Given:
    """
    What is not to be awaited, and what becomes of it in the waiting thread.
    """

    __slots__ = ("become", "value")

    def __init__(self, value: object, become: Adopt | None = None) -> None:
        self.value: object = value
        self.become: Adopt | None = become


class Adopting:
    """
    What becomes of the values of one method or attribute.

    Args:
        wrap: classes whose objects become proxies.
        proxy: makes those.
        context: makes a context of a function that returns an async context manager.
        stream: makes a stream of a function that returns an async iterable.
        function: makes a blocking function of one.
    """

    def __init__(
        self,
        wrap: tuple[type, ...],
        proxy: Adopt,
        context: Adopt,
        stream: Adopt,
        function: Adopt,
    ) -> None:
        self._wrap = wrap
        self._proxy = proxy
        self._context = context
        self._stream = stream
        self._function = function

    def adopt(self, value: object) -> object:
        """
        Return what blocking code gets of an answer, or an item.
        """
        kind = type(value)
        if id(kind) in PLAIN:
            return value
        if isinstance(value, Given):
            return value.value if value.become is None else value.become(value.value)
        if issubclass(kind, self._wrap):
            return self._proxy(value)
        # What had to be awaited first.
        if kind is AsyncGeneratorType or _is_nothing_but(kind, "__anext__"):
            return self._to_stream(value)
        if _is_nothing_but(kind, "__aenter__", "__aexit__"):
            return self._to_context(value)
        return value

    def prepare(self, value: object) -> object:
        """
        Return what a call is answered with that has returned *value*, or what is awaited first.
        """
        kind = type(value)
        if id(kind) in PLAIN:
            return value
        if issubclass(kind, self._wrap):
            return Given(value, self._proxy)
        if hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
            return Given(value, self._to_context)
        if isinstance(value, GeneratorType):
            return Given(each_of(cast("Iterable[object]", value)), self._to_stream)
        if hasattr(kind, "__anext__"):
            return Given(value, self._to_stream)
        is_bare = hasattr(kind, "__await__") and not is_awaited(value)
        return _awaited(cast("Awaitable[object]", value)) if is_bare else value

    def prepare_attribute(self, value: object) -> object:
        """
        Return what the look at an attribute is answered with. A coroutine is of an async property.
        """
        kind = type(value)
        if id(kind) in PLAIN or kind is CoroutineType:
            return value
        if _is_function(value):
            return Given(value, self._function)
        return Given(value, self._proxy if issubclass(kind, self._wrap) else None)

    def items(self, iterator: Any, *, is_kept: bool = False) -> Any:
        """
        Return an async iterator over what blocking code gets of the items of one.

        Args:
            iterator: over the items.
            is_kept: it goes on when nobody wants its items any more.
        """
        if is_kept:
            return _Items(iterator, self.adopt)
        has_all = hasattr(iterator, "athrow") and hasattr(iterator, "aclose")
        return _GeneratedItems(iterator, self.adopt) if self._wrap and has_all else iterator

    def _to_stream(self, value: Any) -> object:
        return self._stream(partial(self.items, value))

    def _to_context(self, value: Any) -> object:
        return self._context(partial(_Entered, value, self.adopt))


# Those that an async generator has are for whoever drives it.
_OF_GENERATORS = frozenset(dir(AsyncGenerator))


def _is_nothing_but(kind: type, *names: str) -> bool:
    """
    Tell whether a class has these, and nothing public. What has more may be wanted for that.
    """
    has_all = all(hasattr(kind, name) for name in names)
    return has_all and all(name.startswith("_") or name in _OF_GENERATORS for name in dir(kind))


def is_awaited(value: object) -> bool:
    """
    Tell whether a call whose body returns *value* is answered with what comes of that.
    """
    return isinstance(value, (Deferred, Coroutine)) or isfuture(value)


def _is_function(value: object) -> bool:
    return inspect.isroutine(value) or isinstance(value, partial)


async def _awaited(value: Awaitable[object]) -> object:
    return await value


async def each_of(items: Iterable[object]) -> AsyncGenerator[object, None]:
    """
    Yield the items of an iterable, each drawn when it is asked for.
    """
    iterator = iter(items)
    try:
        for item in iterator:
            yield item
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


class _Items(AsyncIterator[object]):
    """
    The items of an async iterator, as blocking code gets them. It is never closed.
    """

    def __init__(self, iterator: Any, adopt: Adopt) -> None:
        self._iterator = iterator
        self._adopt = adopt

    async def __anext__(self) -> object:
        return self._adopt(await self._iterator.__anext__())


class _GeneratedItems(_Items):
    """
    Likewise of an async generator, which is told what it is told.
    """

    async def athrow(self, error: BaseException) -> object:
        return self._adopt(await self._iterator.athrow(error))

    async def aclose(self) -> None:
        await self._iterator.aclose()


class _Entered:
    """
    An async context manager that gives what blocking code gets of what another one gives.
    """

    def __init__(self, manager: Any, adopt: Adopt) -> None:
        self._manager = manager
        self._adopt = adopt

    async def __aenter__(self) -> object:
        return self._adopt(await self._manager.__aenter__())

    async def __aexit__(self, *error: object) -> Any:
        return await self._manager.__aexit__(*error)
