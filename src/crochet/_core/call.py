"""
How a call starts in the reactor thread, and how its body, wherever that goes on, is known as its.

What must always hold:

1. A call that was withdrawn before it started never starts. Whoever deletes ``_work`` has it; see
   the head of _core/result.py.
2. A call that has started is answered with what its body returns or raises, or what its Deferred
   fires with, unless the reactor's end has answered it before. No exception leaves
   start_in_reactor() but one that is thrown into the reactor thread from outside.
3. Nothing here keeps alive what was started: neither the frame of start_in_reactor(), to which
   the body's traceback leads back, nor a context that somebody has kept.

Threads: all of it runs in the reactor thread. Calls are started by Bridge.drain_in_reactor(), and a
body that runs the reactor's loop itself starts others in the middle of it.
"""

from __future__ import annotations

import sys
from collections import deque
from contextvars import ContextVar
from types import CellType, CoroutineType, FrameType, FunctionType
from typing import Any, Final, cast
from weakref import ref

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .. import _errors
from .._coroutines.follow import PLAIN, follow, is_a
from .._coroutines.task import CODES
from .._threads.handoff import Relay, is_a_handlers
from .result import PENDING, EventualResult, answer, answer_withdrawn, fail

# What resumes coroutines and inlineCallbacks.
_DRIVERS: Final = {cast("FunctionType", vars(defer)["_inlineCallbacks"]).__code__, *CODES}

# The call in whose body this is, for what goes on later: coroutines, inlineCallbacks. Not for all:
# to set it costs a short call a tenth of its time. See current_call(). Weak, for a context may be
# kept by anybody, and must not keep an answer.
_current_call: ContextVar[ref[EventualResult[Any]] | None] = ContextVar(
    "crochet.current_call", default=None
)


def start_in_reactor(queue: deque[Any], relay: Relay | None = None) -> None:
    """
    Run the body of the first call in a queue, in the caller's context, and answer with what comes
    of it.

    Args:
        queue: the call is taken out of it, once nothing can be lost by that.
        relay: is where the waiter lines up, if there is an answer at once.
    """
    result: EventualResult[object] = queue[0]
    try:
        try:
            try:
                function, args, kwargs, context = result._work
                del result._work
            except AttributeError as error:
                if is_a_handlers(error):
                    raise
                # Withdrawn, and answered by the thread that did it, but for its done callbacks, and
                # unless a signal kept that thread from going through with it.
                queue.popleft()
                answer_withdrawn(result)
                return
            queue.popleft()
            result._started = result._home.looked_at
            if _current_call in context:
                context.run(_current_call.set, None)  # an outer call's, which is none of this one's
            # To unpack nothing takes as long as to call.
            value: Any
            value = (
                context.run(function, *args, **kwargs) if args or kwargs else context.run(function)
            )
            kind = type(value)  # pyright: ignore[reportUnknownVariableType]
            if kind is CoroutineType:
                context.run(_current_call.set, ref(result))
            is_answer = id(kind) in PLAIN  # pyright: ignore[reportUnknownArgumentType]
            if not is_answer:
                value = follow(value, context)
                is_answer = not is_a(Deferred, value)
            if is_answer:
                answer(result, value, relay)
            else:
                deferred: Any = value
                result._running = deferred
                # In a cell, to be emptied: the frame of a callback that fails before ours leads
                # back to Twisted's, which has our arguments. And that of a coroutine that has
                # failed, to this.
                deferred.addBoth(_settle, CellType(result))
        except BaseException as error:
            if not _fail_started(result, error):
                raise
    except BaseException as error:
        # Also one that was thrown in right as another was to be stored, so that none was.
        _fail_started(result, error)
        raise
    finally:
        # The body's frame leads back to this one, and the result holds the traceback.
        del result
        function = args = kwargs = context = value = deferred = None


def _fail_started(result: EventualResult[object], error: BaseException) -> bool:
    """
    Answer with what the body has raised, or with what was thrown into this thread from outside, if
    the call has started and there is no answer. Tell whether that was so.
    """
    if result._outcome is not PENDING or hasattr(result, "_work"):
        return False
    # Leave out the first frame, that of start_in_reactor(): it says nothing of the program.
    traceback = error.__traceback__
    fail(result, error, traceback.tb_next if traceback else None)
    return True


def current_call() -> EventualResult[object] | None:
    """
    Return the call in whose body this is, in the reactor thread; or None.

    A body that is on the stack has a frame of ours below it, and one that was resumed has Twisted's
    driver there, or ours, and the call in its context. (A task of asyncio's has none below it.)
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is start_in_reactor.__code__:
            return cast("EventualResult[object] | None", frame.f_locals.get("result"))
        if frame.f_code in _DRIVERS and (reference := _current_call.get()) is not None:
            return reference()
        frame = frame.f_back
    reference = _current_call.get()
    return reference() if reference is not None else None


def body_in(frame: FrameType | None) -> EventualResult[object] | None:
    """
    Return the call in whose body a thread is, given its innermost frame; or None.
    """
    while frame is not None and frame.f_code is not start_in_reactor.__code__:
        frame = frame.f_back
    if frame is None:
        return None
    result = cast("EventualResult[object] | None", frame.f_locals.get("result"))
    if result is None or result.done() or not hasattr(result, "_started"):
        return None
    return result if result._running is None else None


def remember_call() -> None:
    """
    Have the rest of a body, which will be resumed by Twisted, know its call.
    """
    result = current_call()
    if result is not None:
        _current_call.set(ref(result))


def is_stranded(result: EventualResult[object]) -> bool:
    """
    Tell whether the Deferred of a call has fired, and there is no answer. From any thread.

    That is so for a moment as Twisted calls the callbacks; and for good where an exception was
    thrown into the reactor thread just when it called ours: there was no stack left, say, for the
    Deferred fired deep in a recursion.
    """
    running: Any = result._running
    return (
        running is not None
        and running.called
        and not running.paused  # it has a Deferred for its result
        and result._outcome is PENDING
    )


def answer_stranded(result: EventualResult[object]) -> None:
    """
    Answer such a call with what its Deferred has, in the reactor thread.
    """
    if is_stranded(result):
        cast("Any", result._running).addBoth(_settle, CellType(result))


def _settle(value: object, handed_over: CellType) -> object:
    """
    Answer with what a Deferred fired with, and leave a value to its other callbacks.
    """
    result: EventualResult[object] = handed_over.cell_contents
    try:
        del handed_over.cell_contents
        if isinstance(value, Failure):
            # From here on the result answers for the error: nobody else need log it.
            failure = cast("Any", value)
            reason = failure.value
            if not isinstance(reason, BaseException):  # errback("text")
                reason = _errors.no_exception(result._name, reason)
            fail(result, reason, failure.tb)
            return None
        answer(result, value)
        return value
    except BaseException as error:
        # Thrown into this thread from outside.
        if result._outcome is PENDING:
            fail(result, error, error.__traceback__)
        raise
    finally:
        del result
