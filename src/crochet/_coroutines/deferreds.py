"""
Has tasks of asyncio's take coroutines that await Deferreds.

Between a task and its coroutine stands a ``Driver``. It hands on what the coroutine yields, but for
a Deferred, which it has the task take for a future (``Awaited``). A loop's task factory sees to
that for all tasks but those of bodies, which are made in _coroutines/task.py.

What must always hold:

1. Cancelled by asyncio (``task.cancel()``, a timeout, a task group), a coroutine is thrown
   asyncio's CancelledError, whatever it awaits.
2. A coroutine goes on as soon as the Deferred that it awaits fires.

Only one task may be stepped at a time (``_enter_task()`` raises), so a Deferred that is fired by a
task wakes those who await it in the next turn.

Threads: all of it is for the loop's thread only.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future, Task, current_task
from asyncio import CancelledError as TaskCancelledError
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._errors import set_traceback
from .cancellation import is_cancellation

Wakeup = Callable[[Any], object]


class Awaited:
    """
    A Deferred, as the task that awaits it sees it: something like a future.

    It is told by ``fire()``, which is to be the Deferred's callback.
    """

    _asyncio_future_blocking = True  # how tasks know a future that is awaited
    has_fired = False
    _wakeup: Wakeup | None = None
    _context: Context | None = None
    _cancellation: TaskCancelledError | None = None
    _error: BaseException | None = None
    _value: object = None

    def __init__(self, deferred: Deferred[object], loop: AbstractEventLoop) -> None:
        self.deferred = deferred
        self._loop = loop

    def fire(self, outcome: object) -> object:
        """
        Take what the Deferred has fired with, and wake the task.
        """
        self.has_fired = True
        if isinstance(outcome, Failure):
            self._error = error_of(outcome)
            if self._cancellation is not None and is_cancellation(self._error):
                self._error = self._cancellation
            outcome = None  # the coroutine answers for it
        else:
            self._value = outcome
        wakeup = self._wakeup
        if wakeup is not None:
            context = self._context
            assert context is not None
            try:
                # Nobody expects a task to go on while it is being cancelled.
                if self._cancellation is None and current_task(self._loop) is None:
                    with suppress(RuntimeError):  # the context is entered already
                        context.run(wakeup, self)
                        self._wakeup = None  # not before: see _diagnostics/stranded.py
                        return outcome
                self._loop.call_soon(wakeup, self, context=context)
                self._wakeup = None
            finally:
                # The frames of an error that is raised now lead back to this one.
                del wakeup
        return outcome

    @property
    def can_wake(self) -> bool:
        """
        Whether the task waits to be woken.
        """
        return self._wakeup is not None

    def take(self) -> tuple[object, BaseException | None]:
        """
        Return what to send or to throw into the coroutine, once: an error's frames lead back here.
        """
        taken = self._value, self._error
        self._value = self._error = None
        return taken

    # What follows is for the task.

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wakeup: Wakeup, *, context: Context) -> None:
        if self.has_fired:  # cancelled by a task that was not told of it before
            self._loop.call_soon(wakeup, self, context=context)
        else:
            self._wakeup, self._context = wakeup, context

    def cancel(self, msg: object = None) -> bool:
        """
        Cancel the Deferred for asyncio. It may take its time, or answer something else.
        """
        if self.has_fired:
            return False
        self._cancellation = TaskCancelledError() if msg is None else TaskCancelledError(msg)
        try:
            self.deferred.cancel()
        except Exception as error:
            # Its canceller's. What that was to cancel may never fire, so the coroutine gets this.
            self.fire(Failure(error))  # type: ignore[no-untyped-call]
        return True

    def result(self) -> None:
        """
        Wake the task: its driver has the outcome.
        """


def error_of(failure: Any) -> BaseException:
    """
    Return a Failure's error, with its traceback.
    """
    error: BaseException = failure.value
    set_traceback(error, failure.tb)
    return error


class Driver:
    """
    A coroutine that may yield Deferreds, as one that yields futures only. Its task calls it.

    Args:
        coroutine: whose steps these are.
        loop: its task's loop.
    """

    __slots__ = ("awaited", "coroutine", "loop")

    def __init__(
        self, coroutine: Coroutine[object, object, object], loop: AbstractEventLoop
    ) -> None:
        self.coroutine = coroutine
        self.loop = loop
        # What the coroutine awaits, if that is a Deferred.
        self.awaited: Awaited | None = None

    def send(self, value: object, error: BaseException | None = None) -> object:
        """
        Go on until something is awaited that is not there yet, and return it as a future.
        """
        awaited = self.awaited
        if awaited is not None:
            self.awaited = None
            if error is None:
                value, error = awaited.take()
        coroutine = self.coroutine
        try:
            while True:
                yielded = coroutine.send(value) if error is None else coroutine.throw(error)
                # Not isinstance(): Deferred is of an abstract class, which takes its time.
                if Deferred not in type(yielded).__mro__:
                    return yielded
                awaited = Awaited(cast("Deferred[object]", yielded), self.loop)
                awaited.deferred.addBoth(awaited.fire)
                if not awaited.has_fired:
                    self.awaited = awaited
                    return awaited
                value, error = awaited.take()
        except StopIteration as end:
            self.note_end(end)
            raise
        except BaseException as end:
            coroutine.close()  # it was not the coroutine's, if it was thrown in here
            self.note_end(end)
            raise
        finally:
            # Its traceback holds this frame.
            error = awaited = None

    def note_end(self, end: BaseException) -> None:
        """
        Take note that the coroutine has returned, which is a StopIteration, or raised.
        """

    def throw(self, error: BaseException) -> object:
        """
        Go on with an error.
        """
        return self.send(None, error)

    def close(self) -> None:
        """
        Give the coroutine up, of a task that was never stepped.
        """
        self.coroutine.close()

    def __getattr__(self, name: str) -> object:
        # For those who look into tasks: the coroutine's name, cr_frame and the like.
        return getattr(self.coroutine, name)


cast("Any", Coroutine).register(Driver)


class TaskFactory:
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
        driver: Any = Driver(coroutine, loop)
        if self._make is None:
            named: Any = arguments
            return Task(driver, loop=loop, **named)
        return self._make(loop, driver, **arguments)


def accept_deferreds(loop: AbstractEventLoop) -> None:
    """
    Have all tasks that a loop makes from now on accept Deferreds.
    """
    factory = cast("Any", loop.get_task_factory())
    if type(factory) is not TaskFactory:
        loop.set_task_factory(TaskFactory(factory))  # type: ignore[arg-type]
