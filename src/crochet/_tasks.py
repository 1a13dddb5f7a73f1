"""
Drives coroutines on the asyncio reactor, where they may await Deferreds and asyncio's awaitables.

There a coroutine is an asyncio task, so that ``asyncio.current_task()``, ``timeout()``,
``TaskGroup`` and all that builds on them work. Between the task and the coroutine stands a
``Driver``: it hands on what the coroutine yields, but for a Deferred, which it has the task take
for a future (``_Awaited``).

What must always hold:

1. A body starts at once, and goes on as soon as a Deferred that it awaits fires, as it does on
   other reactors. A task by itself would do either in a later turn of the loop.
2. Cancelled by asyncio (``task.cancel()``, a timeout, a task group), a coroutine is thrown
   asyncio's CancelledError, whatever it awaits. Cancelled by Twisted (``EventualResult.cancel()``,
   a wait that was given up), one that awaits a Deferred gets what that Deferred makes of it, which
   is Twisted's CancelledError; else the task is cancelled.
3. No exception ends the loop.
4. The caller is answered when the body has ended, and with Twisted's CancelledError for asyncio's.

The first step is made by hand, with the task entered as the current one; what comes of it is
kept for the task, which asks for it a turn later. A task may be stepped only while no other is
(``_enter_task()`` raises), so a Deferred that is fired by a task wakes those who await it in the
next turn.

A value is answered at once, from within the task's last step. An error is answered in the task's
done callback: until then the task's own ``raise`` adds frames to the exception object, and the
waiting thread would do the same at the same time. SystemExit and KeyboardInterrupt, which a
task passes on out of the loop, are kept from it; to the task they are a cancellation.

Threads: all of it is for the reactor thread only.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, current_task
from asyncio import CancelledError as TaskCancelledError
from asyncio.tasks import _enter_task, _leave_task  # documented for those who make tasks
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ._faults import is_cancellation

Wakeup = Callable[[object], object]


class _Awaited:
    """
    A Deferred, as the task that awaits it sees it: something like a future.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_cancellation",
        "_context",
        "_deferred",
        "_loop",
        "_wakeup",
        "error",
        "has_fired",
    )

    def __init__(self, deferred: Deferred[object], loop: AbstractEventLoop) -> None:
        self._asyncio_future_blocking = True  # how tasks know a future that is awaited
        self._loop = loop
        self._wakeup: Wakeup | None = None
        self._context: Context | None = None
        self._cancellation: TaskCancelledError | None = None
        self.has_fired = False
        # What to throw into the coroutine. A value it takes from the Deferred itself.
        self.error: BaseException | None = None
        self._deferred = deferred
        deferred.addBoth(self._fire)

    def _fire(self, outcome: object) -> object:
        self.has_fired = True
        if isinstance(outcome, Failure):
            failure = cast("Any", outcome)
            self.error = failure.value.with_traceback(failure.tb)
            if self._cancellation is not None and is_cancellation(failure.value):
                self.error = self._cancellation
            outcome = None  # the coroutine answers for it
        wakeup = self._wakeup
        if wakeup is not None:
            self._wakeup = None
            # Nobody expects a task to go on while he is cancelling it.
            if self._cancellation is None and current_task(self._loop) is None:
                wakeup(self)
            else:
                self._loop.call_soon(wakeup, self, context=self._context)
        return outcome

    def cancel_as_twisted(self) -> None:
        """
        Cancel the Deferred, to have the coroutine get what comes of it.
        """
        self._deferred.cancel()

    # What follows is for the task.

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wakeup: Wakeup, *, context: Context | None = None) -> None:
        self._wakeup, self._context = wakeup, context

    def cancel(self, msg: object = None) -> bool:
        """
        Cancel the Deferred for asyncio. It may take its time, or answer something else.
        """
        if self.has_fired:
            return False
        self._cancellation = TaskCancelledError() if msg is None else TaskCancelledError(msg)
        self._deferred.cancel()
        return True

    def result(self) -> None:
        """
        Wake the task: its driver has the outcome.
        """


class Driver:
    """
    A coroutine that may yield Deferreds, as one that yields futures only.
    """

    __slots__ = ("__weakref__", "_awaited", "_coroutine", "_loop", "_send", "_throw")

    def __init__(
        self, coroutine: Coroutine[object, object, object], loop: AbstractEventLoop
    ) -> None:
        self._coroutine = coroutine
        self._send: Callable[[None], object] = coroutine.send
        self._throw: Callable[[BaseException], object] = coroutine.throw
        self._loop = loop
        self._awaited: _Awaited | None = None

    def __getattr__(self, name: str) -> object:
        # Its name, cr_frame and the like, for those who look into tasks.
        return getattr(self._coroutine, name)

    def send(self, value: None) -> object:
        """
        Go on; called by the task.
        """
        awaited = self._awaited
        if awaited is None:
            return self._advance(None)
        self._awaited = None
        return self._advance(awaited.error)

    def throw(self, error: BaseException) -> object:
        """
        Go on with an error; called by the task.
        """
        self._awaited = None
        return self._advance(error)

    def close(self) -> None:
        """
        End a coroutine that goes on no more.
        """
        self._coroutine.close()

    def _advance(self, error: BaseException | None) -> object:
        try:
            while True:
                yielded = self._send(None) if error is None else self._throw(error)
                if not isinstance(yielded, Deferred):
                    return yielded
                awaited = _Awaited(cast("Deferred[object]", yielded), self._loop)
                if not awaited.has_fired:
                    self._awaited = awaited
                    return awaited
                error = awaited.error
        finally:
            # Its traceback holds this frame.
            error = awaited = None  # type: ignore[assignment]


cast("Any", Coroutine).register(Driver)


class _Body(Driver):
    """
    The coroutine that a body returned, driven in its caller's context.
    """

    __slots__ = ("_ending", "_first", "_operation", "task")

    def __init__(
        self,
        coroutine: Coroutine[object, object, object],
        context: Context,
        loop: AbstractEventLoop,
        operation: _Operation,
    ) -> None:
        super().__init__(coroutine, loop)
        self._send = partial(cast("Any", context.run), coroutine.send)
        self._throw = partial(cast("Any", context.run), coroutine.throw)
        self._operation = operation
        # What the first step yielded, until the task asks for it.
        self._first: list[object] = []
        # Tells the task how it has ended, if it has done so in the first step.
        self._ending: list[BaseException] = []
        self.task: Task[object] | None = None

    def begin(self) -> None:
        """
        Make the first step.
        """
        try:
            self._first.append(self._step(Driver.send, None))
        except BaseException as error:
            self._ending.append(error.with_traceback(None))  # its frames hold this one

    def send(self, value: None) -> object:
        if self._ending:
            raise self._ending.pop()
        if self._first:
            yielded = self._first.pop()
            awaited = self._awaited
            # A bare yield wants a turn, and has had it. A Deferred may have fired since.
            if yielded is not None and (awaited is None or not awaited.has_fired):
                return yielded
        return self._step(Driver.send, None)

    def throw(self, error: BaseException) -> object:
        if self._ending:
            raise self._ending.pop()
        if self._first:
            # Cancelled before the task knew what is awaited, and could cancel that.
            yielded: Any = self._first.pop()
            if yielded is not None and yielded.cancel():
                return yielded
        return self._step(Driver.throw, error)

    def cancel(self) -> None:
        """
        Cancel what is awaited, Twisted's way if it is a Deferred.
        """
        awaited = self._awaited
        if awaited is not None and not awaited.has_fired:
            awaited.cancel_as_twisted()
        elif self.task is not None:
            self.task.cancel()

    def _step(self, go_on: Callable[[Any, Any], object], argument: object) -> object:
        try:
            return go_on(self, argument)
        except StopIteration as end:
            operation = self._let_go()
            if isinstance(end.value, Deferred):
                end.value.chainDeferred(operation)
            else:
                operation.callback(end.value)
            raise
        except BaseException as error:
            task = self.task
            assert task is not None
            operation = self._let_go()
            task.add_done_callback(partial(_answer, operation, error, _frames_of(error)))
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise TaskCancelledError(repr(error)) from None
            raise
        finally:
            del argument

    def _let_go(self) -> _Operation:
        operation = self._operation
        operation.body = None
        self.task = None
        del self._operation
        return operation


def _frames_of(error: BaseException) -> TracebackType | None:
    """
    Return an error's traceback without our frames, which say nothing of the program.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


def _answer(
    operation: _Operation,
    error: BaseException,
    traceback: TracebackType | None,
    task: Task[object],
) -> None:
    if not task.cancelled():
        task.exception()  # so that asyncio does not log it, too
    if isinstance(error, TaskCancelledError):
        error = CancelledError(*error.args)
    elif operation.is_cancelled and hasattr(error, "exceptions") and is_cancellation(error):
        error = CancelledError(str(error))  # a task group that was cancelled says it its own way
    operation.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
    del error, traceback


class _Operation(Deferred[object]):
    """
    What comes of a body that is driven as a task.
    """

    body: _Body | None = None
    is_cancelled = False

    def cancel(self) -> None:
        """
        Cancel the body, and leave it to that what comes of it.
        """
        if self.body is not None:
            self.is_cancelled = True
            self.body.cancel()


def start_task(
    coroutine: Coroutine[object, object, object], context: Context, loop: AbstractEventLoop
) -> Deferred[object]:
    """
    Start a coroutine as a task of the loop that runs in this thread, outside of any task.
    """
    accept_deferreds(loop)
    operation = _Operation()
    body = operation.body = _Body(coroutine, context, loop, operation)
    task = body.task = Task(cast("Coroutine[Any, Any, object]", body), loop=loop)
    _enter_task(loop, task)
    try:
        body.begin()
    finally:
        _leave_task(loop, task)
    return operation


class _Following(Deferred[object]):
    """
    What comes of a future that a body returned.
    """

    def __init__(self, future: Future[object]) -> None:
        super().__init__()
        self._future: Future[object] | None = future
        future.add_done_callback(self._end)

    def cancel(self) -> None:
        """
        Cancel the future, and leave it to that what comes of it.
        """
        if self._future is not None:
            self._future.cancel()

    def _end(self, future: Future[object]) -> None:
        self._future = None
        if future.cancelled():
            error: BaseException | None = CancelledError()
        else:
            error = future.exception()
        if error is None:
            self.callback(future.result())
        else:
            traceback = error.__traceback__
            self.errback(Failure(error, type(error), traceback))  # type: ignore[no-untyped-call]
        del error


def follow_future(future: Future[object]) -> Deferred[object]:
    """
    Return a Deferred that fires as a future of this thread's loop does.
    """
    return _Following(future)


class _TaskFactory:
    """
    Makes tasks whose coroutines may await Deferreds.

    Args:
        make: how the loop made tasks before, if not as loops do.
    """

    def __init__(self, make: Callable[..., Future[object]] | None) -> None:
        self._make = make

    def __call__(
        self,
        loop: AbstractEventLoop,
        coroutine: Coroutine[object, object, object],
        **arguments: object,
    ) -> Future[object]:
        driver = cast("Coroutine[Any, Any, object]", Driver(coroutine, loop))
        if self._make is None:
            return Task(driver, loop=loop, **cast("Any", arguments))
        return self._make(loop, driver, **arguments)


def accept_deferreds(loop: AbstractEventLoop) -> None:
    """
    Have all tasks that a loop makes from now on accept Deferreds.
    """
    factory = cast("Any", loop.get_task_factory())
    if type(factory) is not _TaskFactory:
        loop.set_task_factory(_TaskFactory(factory))  # type: ignore[arg-type]
