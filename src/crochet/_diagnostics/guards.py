"""
Functions that refuse to run in any thread but the reactor's.

A plain function is refused where it is called. A coroutine function is refused where its
coroutine is first driven, which is where its body would run: to call one runs nothing, and a
coroutine may well be made in one thread and driven in another. It stays a coroutine function by
being wrapped in one. (``inspect.markcoroutinefunction()`` would do for a plain wrapper from 3.12
on, and a promise that depends on the version of Python is none.)

The thread is known by its ident, which is compared with the one that the bridge knows. Only when
that fails is it looked whether the program runs a reactor that Crochet was never told of: a
library may guard its functions and be used by a program of Twisted's alone.
"""

from __future__ import annotations

import inspect
from _thread import get_ident
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import Protocol, TypeVar, cast

from twisted.python import threadable

from .. import _errors
from .._core.bridge import Bridge
from .._core.decorators import name_of_function
from .._reactor.reactor import imported_reactor
from .._threads.threads import name_of_thread

F = TypeVar("F")


class ReactorOnly(Protocol):
    """
    The type of :func:`reactor_only`.
    """

    # Not a ParamSpec: that would lose overloads, type variables and names of attributes, and that
    # a method is static. What goes in comes out.
    def __call__(self, function: F, /) -> F:
        """
        Guard a function.
        """
        ...


class Guards:
    """
    The decorator, for the reactor that one bridge leads to.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def reactor_only(self, function: F, /) -> F:
        """
        Make a function that raises unless it is called in the reactor thread.

        For functions that use Twisted and are called by other functions that do: who calls one
        from a blocking thread learns of it at once, and not by a reactor that does nothing or by
        data that is damaged now and then. Nothing of the body runs in another thread. Of an
        ``async def``, the call makes the coroutine, and the error is raised to whoever drives it
        in another thread. ``__wrapped__`` is the unguarded function, for unit tests without a
        reactor.

        Call the decorated function from the reactor thread. Blocks never.

        Args:
            function: a function, a method, a static or class method, an ``async def``, a function
                under ``@inlineCallbacks``, or anything else that can be called. The result has its
                type, name and signature.

        Raises:
            TypeError: *function* is a generator function, or nothing that can be called.

        The decorated function raises:
            RuntimeError: this is another thread, or no reactor runs. The text has the names of
                both threads, and says how to call it.
        """
        return cast("F", self._guarded(function))

    def _guarded(self, function: object) -> object:
        if isinstance(function, (staticmethod, classmethod)):
            method = cast("staticmethod[..., object]", function)
            kind = cast("Callable[[object], object]", type(method))
            return kind(self._guarded(method.__func__))
        if not callable(function):
            raise TypeError(f"only functions can be kept to the reactor thread, not {function!r}")
        name = name_of_function(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{name}() is a generator function: its body runs in the thread that iterates, and "
                "not where it is called. Put @reactor_only above @inlineCallbacks, or guard a "
                "function that the body calls"
            )
        bridge = self._bridge

        def guarded(*args: object, **kwargs: object) -> object:
            if get_ident() != bridge.reactor_thread:
                _check(bridge, name)
            return function(*args, **kwargs)

        async def guarded_coroutine(*args: object, **kwargs: object) -> object:
            if get_ident() != bridge.reactor_thread:
                _check(bridge, name)
            return await cast("Awaitable[object]", function(*args, **kwargs))

        is_coroutine = inspect.iscoroutinefunction(function)
        wrapper: Callable[..., object] = guarded_coroutine if is_coroutine else guarded
        wrapper.__name__ = wrapper.__qualname__ = name  # partial objects have no name to copy
        return update_wrapper(wrapper, function)


def _check(bridge: Bridge, name: str) -> None:
    """
    Raise, unless this is the thread of a reactor that Crochet was not told of.
    """
    here = get_ident()
    there = bridge.reactor_thread
    if there is not None:
        raise _errors.wrong_thread(name, name_of_thread(here), name_of_thread(there))
    # Twisted keeps the ident when the reactor has ended, and idents are used again.
    if threadable.ioThread != here or not getattr(imported_reactor(), "_started", False):
        raise _errors.no_reactor_thread(name, name_of_thread(here))
