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
from typing import cast

from twisted.python import threadable

from .. import _errors
from .._core.bridge import Bridge
from .._core.decorators import name_of_function, take_out
from .._reactor.reactor import imported_reactor
from .._threads.threads import name_of_thread


def guard(bridge: Bridge, function: object) -> object:
    """
    Decorate a function; see :func:`crochet.reactor_only`.
    """
    function, put_back = take_out(function, "kept to the reactor thread")
    name = name_of_function(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name}() is a generator function: its body runs in the thread that iterates, and "
            "not where it is called. Put @reactor_only above @inlineCallbacks, or guard a "
            "function that the body calls"
        )

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
    return put_back(update_wrapper(wrapper, function))


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
