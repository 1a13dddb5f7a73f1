"""
The names that went out of use before 3.0. They work, and say what to use instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, overload

from twisted.internet.defer import Deferred

from ._api import deprecated, run_in_reactor, wait_for
from ._core.result import EventualResult
from ._reactor.reactor import Reactor, import_reactor

if TYPE_CHECKING:
    from asyncio import Future

    from ._core.types import (
        Coro,
        GeneratorFunction,
        Generators,
        R,
        S,
        StartedCoroutine,
        StartedDeferred,
        StartedValue,
        WaitedCoroutine,
        WaitedDeferred,
        WaitedFuture,
        WaitedValue,
    )

P = ParamSpec("P")
T = TypeVar("T")


@overload
def wait_for_reactor(function: Callable[P, Coro[T]]) -> WaitedCoroutine[P, T]: ...
@overload
def wait_for_reactor(function: Callable[P, Deferred[T]]) -> WaitedDeferred[P, T]: ...
@overload
def wait_for_reactor(function: Callable[P, Future[T]]) -> WaitedFuture[P, T]: ...
@overload
@deprecated("the body of a generator function would run in the thread that iterates")
def wait_for_reactor(  # type: ignore[overload-overlap]
    function: Callable[P, Generators[T, S, R]],
) -> GeneratorFunction: ...
@overload
def wait_for_reactor(function: Callable[P, T]) -> WaitedValue[P, T]: ...  # pyright: ignore[reportOverlappingOverload]
def wait_for_reactor(function: Callable[..., object]) -> object:
    """
    Do what ``wait_for(timeout=None)`` does; deprecated.

    Call the decorated function from any thread but the reactor's. Blocks until it has an
    answer. It raises what one of :func:`wait_for` does.
    """
    _warn("wait_for_reactor", "wait_for(timeout)")
    return wait_for(None)(function)


@overload
def in_reactor(
    function: Callable[Concatenate[Reactor, P], Coro[T]],
) -> StartedCoroutine[P, T]: ...
@overload
def in_reactor(
    function: Callable[Concatenate[Reactor, P], Deferred[T]],
) -> StartedDeferred[P, T]: ...
@overload
def in_reactor(function: Callable[Concatenate[Reactor, P], T]) -> StartedValue[P, T]: ...
def in_reactor(function: Callable[..., object]) -> object:
    """
    Do what ``run_in_reactor`` does, with the reactor as the first argument; deprecated.

    Call the decorated function from any thread. Blocks never. It raises what one of
    :func:`run_in_reactor` does.
    """
    _warn("in_reactor", "run_in_reactor, and import the reactor in the function")

    def with_reactor(*args: object, **kwargs: object) -> object:
        return function(import_reactor(), *args, **kwargs)

    update_wrapper(with_reactor, function)
    # The signature to show is that of with_reactor: its callers do not give the reactor.
    del vars(with_reactor)["__wrapped__"]
    return run_in_reactor(with_reactor)


def look_up(name: str, names: dict[str, object]) -> object:
    """
    Return what ``DeferredResult`` stands for. It is entered in the package, to be deleted by those
    who want it gone, as MAAS does; so it warns once.

    Args:
        name: what is looked up in the package and is not there.
        names: those of the package.

    Raises:
        AttributeError: it is another.
    """
    if name != "DeferredResult":
        raise AttributeError(f"module {__package__!r} has no attribute {name!r}")
    _warn(name, "EventualResult", stacklevel=4)
    return names.setdefault(name, EventualResult)


def _warn(old: str, new: str, stacklevel: int = 3) -> None:
    text = f"crochet.{old} is deprecated, use {new}"
    warnings.warn(text, DeprecationWarning, stacklevel)
