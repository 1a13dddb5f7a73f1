"""
Operations that wait for what has fired: a last resort.

An exception may be thrown into the reactor thread at any moment: by a signal handler, or for want
of memory or stack. If that is just as a Deferred calls what resumes a coroutine, the Deferred takes
it for that function's error, nobody calls it again, and the coroutine is never resumed. It is the
same with all that stands between a Deferred and the one of a call: ``inlineCallbacks``,
``gatherResults()``, a Deferred that a callback has returned, a task, and asyncio's ``gather()``.

All those look the same from outside: the operation waits for something that has fired. So they do
for a moment whenever something is resumed.

What must always hold:

1. An operation that will be resumed by itself is left alone. So it has to wait for the same in two
   turns of the reactor's: what asyncio is about to call, to wake a task, say, is called between
   them. And a Deferred that is just calling something, which runs the reactor's loop, is no sign.
2. No operation goes on with a wrong value. Of a Deferred that has not called all its callbacks, one
   may have been lost that makes something of the value: the others get an error.

Threads: ``stranded()`` is for any, all else for the reactor's.
"""

from __future__ import annotations

from asyncio import Future
from asyncio.events import _get_running_loop
from collections.abc import Callable
from itertools import pairwise
from traceback import clear_frames
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import _errors
from .._coroutines.follow import is_a, pass_on
from .waits_on import callbacks_of, is_calling_back, path_of

_log = Logger(namespace="crochet")


def stranded(operation: object) -> list[Any] | None:
    """
    Return the path from an operation down to what it waits for, if that has fired.
    """
    path: list[Any] = path_of(operation)
    fired = path[-1]
    if _is_deferred(fired):
        has_fired = fired.called and not fired.paused
    else:
        has_fired = isinstance(fired, Future) and fired.done()
    return path if has_fired else None


def _is_deferred(thing: Any) -> bool:
    return isinstance(thing, Deferred)


def _failure(error: BaseException | None = None) -> Any:
    return cast("Any", Failure)(error)


def go_on(path: list[Any], name: str, settle: Callable[[], object]) -> None:
    """
    Have an operation go on, or else fail, that still waits for the same.

    Args:
        path: of the operation, in an earlier turn.
        name: of the function called.
        settle: answers the call with what its Deferred has.
    """
    now = stranded(path[0])
    if now is None or [*map(id, now[-2:])] != [*map(id, path[-2:])]:
        return
    fired = now[-1]
    if not _is_deferred(fired):
        if fired.get_loop() is not _get_running_loop():
            return  # another thread's loop may be about to call what waits
        # Nobody but the future itself could have woken a task.
        try:
            fired.result()
            raise _errors.stranded(name)
        except BaseException:
            _fail(now, _failure())
    elif is_calling_back(fired):
        return
    elif callbacks_of(fired):
        if not is_a(Failure, fired.result):
            fired.result = _failure(_errors.stranded(name))
        fired.addBoth(_unchanged)  # which has it call those, too
    elif len(now) == 1:
        settle()
    else:
        pass_on(fired, _hand_over, now, name)


def _unchanged(value: object) -> object:
    return value


def _hand_over(value: object, path: list[Any], name: str) -> object:
    """
    Give what a Deferred has fired with to what waits for that.
    """
    waiting = path[-2]
    if _is_deferred(waiting) and waiting.called:
        waiting.result = value
        waiting.unpause()
        return None
    awaited = waiting.get_coro().awaited if hasattr(waiting, "get_coro") else None
    if awaited is not None and awaited.can_wake:
        return cast("object", awaited.fire(value))
    if is_a(Failure, value):
        _fail(path, value)
        return None
    _fail(path, _failure(_errors.stranded(name)))
    return value


def _fail(path: list[Any], failure: Any) -> None:
    """
    Close what will never be resumed, and have that fail which waits for it.
    """
    # The frames hold what Twisted was to resume. Without them it is closed here and now.
    clear_frames(failure.tb)
    from_above: list[Any] = [None, *path]
    for above, each in reversed([*pairwise(from_above)]):
        if hasattr(each, "get_coro"):
            try:
                each.get_coro().close()
            except BaseException:
                _log.failure("Error in a coroutine that was closed")
        if each is path[-1]:
            continue
        if _is_deferred(each):
            each.errback(failure)
            return
        if isinstance(each, Future) and not _is_deferred(above):
            # What waits for it goes on. A task's own method refuses to.
            Future.set_exception(each, failure.value)
            return
