"""
What a body returned, as a Deferred to follow.

A coroutine is driven by Twisted, but by asyncio where its event loop runs the reactor: see
_coroutines/task.py.
"""

from __future__ import annotations

from asyncio import CancelledError as TaskCancelledError
from asyncio import Future, isfuture
from asyncio.events import _get_running_loop
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from .. import _errors
from .._errors import traceback_of
from .task import start_task

# The ids of the types that most bodies return, and that are not to be followed. To be looked up
# first: asking an abstract class about a type is slower than all the rest of starting a call. Ids,
# for there are classes that cannot be hashed.
PLAIN: Final = frozenset(
    map(id, (type(None), bool, int, float, str, bytes, tuple, list, dict, set))
)


def follow(value: Any, context: Context) -> object:
    """
    Return the Deferred by which a returned value is to be awaited, or the answer if it is there.

    A coroutine is driven in *context* to its end.

    Raises:
        RuntimeError: it is a future of asyncio's, and this reactor's loop is not its loop.
    """
    if type(value) is not CoroutineType:
        if is_a(Deferred, value):
            return cast("object", value)
        if is_a(Failure, value):
            return fail(value)
        try:
            is_coroutine = isinstance(value, Coroutine)
            is_future = not is_coroutine and isfuture(value)
        except Exception:
            # Such as a value of a class that cannot be hashed, or a proxy for something that is not
            # there. It is nothing that could be awaited.
            return cast("object", value)
        if not is_coroutine:
            return _follow_future(cast("Future[object]", value)) if is_future else value
    coroutine = cast("Coroutine[Any, object, object]", value)
    loop = _get_running_loop()
    if loop is None:
        return context.run(Deferred.fromCoroutine, coroutine)
    started = start_task(coroutine, context, loop)
    try:
        return fail(started) if isinstance(started, Failure) else started
    finally:
        del started  # the frames of its error lead back to this one


def is_a(kind: type, value: object) -> bool:
    """
    Tell whether a value is of a class, without asking it or its class: some raise when they are.
    """
    # And not issubclass(): Deferred is of an abstract class, which has to hash the other. This asks
    # neither for an attribute of the class nor whether two classes are equal.
    return type.__subclasscheck__(kind, type(value))


def pass_on(fired: Deferred[Any], callback: Callable[..., object], *args: object) -> None:
    """
    Have a Deferred that has fired, and calls nothing any more, call this.

    Of a value Twisted would ask for its class first, which some do not like; that may be why.
    """
    if is_a(Failure, fired.result):
        fired.addBoth(callback, *args)  # which has it not log the error
    else:
        fired.result = callback(fired.result, *args)


class _Following(Deferred[object]):
    """
    What comes of a future that a body returned, most likely a task.
    """

    def __init__(self, future: Future[object]) -> None:
        super().__init__()
        self._is_cancelled = False
        self.task: Future[object] | None = future
        future.add_done_callback(self._end)

    def cancel(self) -> None:
        """
        Cancel the future, and leave it to that what comes of it.
        """
        if self.task is not None:
            self._is_cancelled = True
            self.task.cancel()

    def _end(self, future: Future[object]) -> None:
        self.task = None
        error: BaseException | None
        if future.cancelled():
            error = CancelledError() if self._is_cancelled else TaskCancelledError()
        else:
            error = future.exception()
        if error is None:
            self.callback(future.result())
        else:
            traceback = traceback_of(error)
            self.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
        del error


def _follow_future(future: Future[object]) -> Deferred[object]:
    if future.get_loop() is not _get_running_loop():
        raise _errors.future_of_other_loop()
    return _Following(future)


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
    if not isinstance(error, RuntimeError) or not wants_asyncio(error):
        return error
    better = _errors.needs_asyncio(name, error)
    better.__cause__ = error
    return better


def wants_asyncio(error: BaseException) -> bool:
    """
    Tell whether an error of the code that runs says that there is no event loop of asyncio's.
    """
    if not isinstance(error, RuntimeError) or _get_running_loop() is not None:
        return False
    return type(error).__name__ in _NAMES or _text_of(error).startswith(_TEXTS)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""  # its class cannot say; it is not one of those looked for
