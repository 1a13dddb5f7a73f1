"""
Drives bodies that are coroutines on the asyncio reactor, as tasks of asyncio's.

There a body may await Deferreds and asyncio's awaitables alike, and ``asyncio.current_task()``,
``timeout()``, ``TaskGroup`` and all that builds on them work.

What must always hold:

1. A body starts at once, and goes on as soon as a Deferred that it awaits fires, as it does on
   other reactors. (A task by itself would do either in a later turn of the loop.)
2. Cancelled by asyncio (``task.cancel()``, a timeout, a task group), a body is thrown asyncio's
   CancelledError, whatever it awaits. Cancelled by Twisted (``EventualResult.cancel()``, a wait
   that was given up), one that awaits a Deferred gets what that Deferred makes of it, which is
   Twisted's CancelledError; else the task is cancelled.
3. No exception ends the loop.
4. The caller is answered when the body has ended; if the caller cancelled it, with Twisted's
   CancelledError for asyncio's.

Threads: all of it is for the reactor thread only.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, Task, current_task
from asyncio import CancelledError as TaskCancelledError
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from .._errors import set_traceback, traceback_of
from .cancellation import exceptions_of, is_cancellation
from .deferreds import Driver, TaskFactory, accept_deferreds


class _Body(Driver):
    """
    The coroutine that a body returned.
    """

    __slots__ = ("end", "operation", "traceback")

    def __init__(
        self, coroutine: Coroutine[object, object, object], loop: AbstractEventLoop
    ) -> None:
        # As the other's; to call that would take longer.
        self.coroutine = coroutine
        self.loop = loop
        self.awaited = None
        # What is to be answered. There is none during the first step, which may be the last; how
        # that has ended is kept, and where.
        self.operation: _Operation | None = None
        self.end: BaseException | None = None
        self.traceback: TracebackType | None = None

    def note_end(self, end: BaseException) -> None:
        operation = self.operation
        traceback = traceback_of(end)
        # The first frame is that of send(), which says nothing of the program.
        traceback = None if traceback is None else traceback.tb_next
        if operation is None:
            self.end, self.traceback = end, traceback
        else:
            # A value is answered at once. An error, once it has passed through our frames: they
            # are added to it, and the waiting thread would add its own at the same time. Where an
            # exception is thrown in instead, the operation's task tells that it is done.
            if isinstance(end, StopIteration):
                value = end.value
                if isinstance(value, Deferred):
                    cast("Deferred[object]", value).chainDeferred(operation)
                else:
                    operation.callback(value)
            else:
                operation.task.add_done_callback(partial(_answer, operation, end, traceback))
            self.operation = None
        if isinstance(end, (SystemExit, KeyboardInterrupt)):  # a task would end the loop with it
            raise TaskCancelledError(repr(end)) from None


class _Operation(Deferred[object]):
    """
    What comes of a body whose first step was not its last.
    """

    is_cancelled = False
    # None if the body's first step was its last.
    body: _Body | None = None
    task: Any = None

    def cancel(self) -> None:
        """
        Cancel what the body awaits, Twisted's way if it is a Deferred; leave the rest to the body.
        """
        if self.body is None:
            return
        self.is_cancelled = True
        awaited = self.body.awaited
        if awaited is None or awaited.has_fired:
            self.task.cancel()
        else:
            awaited.deferred.cancel()


def _answer(
    operation: _Operation,
    error: BaseException,
    traceback: TracebackType | None,
    task: Task[object],
) -> None:
    if not task.cancelled():
        task.exception()  # so that asyncio does not log it, too
    if operation.is_cancelled and is_cancellation(error):
        if isinstance(error, TaskCancelledError):
            error = CancelledError(*error.args)
        elif exceptions_of(error):
            error = CancelledError(*error.args[:1])  # a task group has its own way to say it
    set_traceback(error, traceback)
    operation.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
    del error, traceback


def start_task(
    coroutine: Coroutine[Any, object, object], context: Context, loop: AbstractEventLoop
) -> object:
    """
    Start a coroutine as a task of the loop that runs in this thread.

    Returns:
        A Deferred of what comes of it; or, if it has returned already, what it has returned.
    """
    if type(cast("object", loop.get_task_factory())) is not TaskFactory:
        accept_deferreds(loop)
    body = _Body(coroutine, loop)
    task = _start(body, context, loop)
    end, body.end = body.end, None
    traceback, body.traceback = body.traceback, None
    try:
        if isinstance(end, StopIteration):
            return end.value
        operation = _Operation()
        if end is None:
            operation.body, operation.task = body, task
            body.operation = operation
        else:
            _answer(operation, end, traceback, task)
        return operation
    finally:
        # An error's frames lead back to this one.
        del end, task, traceback


if sys.version_info >= (3, 12):

    def _start(body: Any, context: Context, loop: AbstractEventLoop) -> Task[object]:
        return Task(body, loop=loop, context=context, eager_start=True)

else:

    def _start(body: Any, context: Context, loop: Any) -> Task[object]:
        """
        Make a task, and its first step here and now, instead of in the loop's next turn.
        """
        if current_task(loop) is not None:
            # In a task's step no other can be made. This one's is made in the next turn.
            return context.run(Task, body, loop=loop)
        call_soon = loop.call_soon
        calls: list[tuple[Any, Context]] = []

        def keep(callback: object, *args: object, context: Context | None = None) -> object:
            if args or context is None:
                # The garbage collector finalizes something just now, and that calls.
                return call_soon(callback, *args, context=context)
            calls.append((callback, context))
            return None

        loop.call_soon = keep
        try:
            task: Task[object] = context.run(Task, body, loop=loop)
        finally:
            # Left as an attribute of the loop's own: to delete it each time would make Python look
            # up the loop's other methods anew.
            loop.call_soon = call_soon
        step = None
        try:
            while calls:
                step, context = calls.pop()
                if step.__self__ is task:
                    context.run(step)
                else:
                    call_soon(step, context=context)
            return task
        finally:
            del step, task  # the frames of an error that it has lead back to this one
