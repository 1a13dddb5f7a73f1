"""
What a body returned, as a Deferred to follow.

A coroutine is driven by Twisted, but by asyncio where its event loop runs the reactor: see
_tasks.py. In a task that is being stepped (of a loop that a program blocks with its reactor, say)
no other can be, so there it is Twisted, too.
"""

from __future__ import annotations

from asyncio import Future, current_task, isfuture
from asyncio.events import _get_running_loop
from collections.abc import Coroutine
from contextvars import Context
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from . import _errors
from ._tasks import follow_future, start_task

# What most bodies return, and is not to be followed. To be looked up first: asking an abstract
# class about a type is slower than all the rest of starting a call.
PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set})


def as_deferred(value: object, context: Context) -> Deferred[object] | None:
    """
    Return the Deferred by which a returned value is to be awaited, or None for a plain value.

    A coroutine is driven in *context* to its end.

    Raises:
        RuntimeError: it is a future of asyncio's, and this reactor's loop is not its loop.
    """
    if isinstance(value, Deferred):
        return cast("Deferred[object]", value)
    if isinstance(value, Coroutine):
        coroutine = cast("Coroutine[Deferred[object], object, object]", value)
        loop = _get_running_loop()
        if loop is not None and current_task(loop) is None:
            return start_task(coroutine, context, loop)
        return context.run(Deferred.fromCoroutine, coroutine)
    if isinstance(value, Failure):
        return fail(value)
    if isfuture(value):
        future = cast("Future[object]", value)
        if future.get_loop() is not _get_running_loop():
            raise _errors.future_of_other_loop()
        return follow_future(future)
    return None


# How libraries say that there is no event loop of asyncio's here, or that what drives the
# coroutine does not know their futures. (The names are of the exceptions of sniffio and anyio.)
_TEXTS = (
    "no running event loop",
    "await wasn't used with future",
    "There is no current event loop in thread",
)
_NAMES = {"AsyncLibraryNotFoundError", "NoEventLoopError"}


def explained(error: BaseException, name: str) -> BaseException:
    """
    Return the error of a body, or one that says more, if it wanted asyncio where there is none.
    """
    if not isinstance(error, RuntimeError) or _get_running_loop() is not None:
        return error
    if type(error).__name__ not in _NAMES and not str(error).startswith(_TEXTS):
        return error
    better = _errors.needs_asyncio(name, error)
    better.__cause__ = error
    return better
