"""
The types of what :func:`iterate_in_reactor` makes, for type checkers; nothing imports this at run
time. See _core/types.py, which tells how a decorated function is a method where that is one.

If you change this, look at tests/typing/.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar, overload

from .._core.types import Call, Waited
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
