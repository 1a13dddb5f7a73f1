"""
The types of what :func:`iterate_in_reactor` and :func:`context_in_reactor` make, and of
:func:`blocking`, for type checkers; nothing imports this at run time. See _core/types.py, which
tells how a decorated function is a method where that is one.

If you change this, look at tests/typing/.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from .._core.types import Call, Waited
from .._threads.timeouts import Seconds
from .context import ReactorContext
from .stream import Stream

P = ParamSpec("P")
T = TypeVar("T")

IteratedItems = Waited[Call[P, Stream[T]], Callable[P, AsyncIterable[T]]]
IteratedAwaitable = Waited[Call[P, Stream[T]], Callable[P, Awaitable[AsyncIterable[T]]]]


class Iterating(Protocol):
    """
    What ``iterate_in_reactor(timeout)`` returns: the decorator itself.
    """

    @overload
    def __call__(self, function: Callable[P, AsyncIterable[T]]) -> IteratedItems[P, T]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[AsyncIterable[T]]]
    ) -> IteratedAwaitable[P, T]: ...


EnteredContext = Waited[
    Call[P, ReactorContext[T]], Callable[P, AbstractAsyncContextManager[T, bool | None]]
]
EnteredAwaitable = Waited[
    Call[P, ReactorContext[T]], Callable[P, Awaitable[AbstractAsyncContextManager[T, bool | None]]]
]


class Contexting(Protocol):
    """
    What ``context_in_reactor(timeout)`` returns: the decorator itself.
    """

    @overload
    def __call__(
        self, function: Callable[P, AbstractAsyncContextManager[T, bool | None]]
    ) -> EnteredContext[P, T]: ...
    @overload
    def __call__(
        self, function: Callable[P, Awaitable[AbstractAsyncContextManager[T, bool | None]]]
    ) -> EnteredAwaitable[P, T]: ...


class Blocking(Protocol):
    """
    What ``blocking`` is.
    """

    # as_ is a class, and no type[T]: to mypy, a Protocol is none.
    @overload
    def __call__(
        self,
        target: Callable[P, object],
        *,
        timeout: Seconds,
        as_: Callable[..., T],
        timeouts: Mapping[str, Seconds] | None = None,
        wrap: Iterable[type] = (),
    ) -> Callable[P, T]: ...
    @overload
    def __call__(
        self,
        target: object,
        *,
        timeout: Seconds,
        as_: Callable[..., T],
        timeouts: Mapping[str, Seconds] | None = None,
        wrap: Iterable[type] = (),
    ) -> T: ...
    # Nothing says what it has.
    @overload
    def __call__(
        self,
        target: object,
        *,
        timeout: Seconds,
        as_: None = None,
        timeouts: Mapping[str, Seconds] | None = None,
        wrap: Iterable[type] = (),
    ) -> Any: ...

    def unwrap(self, proxy: object) -> Any:
        """
        Return the object that a proxy stands for, for code in the reactor thread.
        """
        ...
