"""
Has tasks of asyncio's take coroutines that await Deferreds.

Between a task and its coroutine stands a ``Driver``, whose ``Steps`` hand on what the coroutine
yields, but for a Deferred, which they have the task take for a future (``Awaited``). A loop's task
factory sees to that for all tasks but those of bodies; they have steps of their own, see _tasks.py.

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
from contextvars import Context
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._faults import is_cancellation

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
            self._wakeup = None
            # Nobody expects a task to go on while he is cancelling it.
            try:
                if self._cancellation is None and current_task(self._loop) is None:
                    wakeup(self)
                else:
                    self._loop.call_soon(wakeup, self, context=self._context)
            finally:
                # The frames of an error that is raised now lead back to this one.
                del wakeup
        return outcome

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

    def add_done_callback(self, wakeup: Wakeup, *, context: Context | None = None) -> None:
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
        self.deferred.cancel()
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
    return error.with_traceback(failure.tb)


class Steps:
    """
    Makes the steps of a coroutine that may yield Deferreds.

    Args:
        coroutine: whose.
        loop: its tasks' loop.
        run: calls a method of the coroutine's with an argument.
    """

    __slots__ = ("_awaited", "_loop", "_run", "coroutine")

    def __init__(
        self,
        coroutine: Coroutine[object, object, object],
        loop: AbstractEventLoop,
        run: Callable[..., object],
    ) -> None:
        self.coroutine = coroutine
        self._loop = loop
        self._run = run
        self._awaited: Awaited | None = None

    def send(self, value: None) -> object:
        """
        Go on; called by the task.
        """
        awaited = self._awaited
        if awaited is None:
            return self._advance(None, None)
        self._awaited = None
        return self._advance(*awaited.take())

    def throw(self, error: BaseException) -> object:
        """
        Go on with an error; called by the task.
        """
        self._awaited = None
        return self._advance(None, error)

    def _advance(self, value: object, error: BaseException | None) -> object:
        coroutine = self.coroutine
        try:
            while True:
                if error is None:
                    yielded = self._run(coroutine.send, value)
                else:
                    yielded = self._run(coroutine.throw, error)
                if not isinstance(yielded, Deferred):
                    return yielded
                awaited = Awaited(cast("Deferred[object]", yielded), self._loop)
                awaited.deferred.addBoth(awaited.fire)
                if not awaited.has_fired:
                    self._awaited = awaited
                    return awaited
                value, error = awaited.take()
        finally:
            # Its traceback holds this frame.
            error = awaited = None  # type: ignore[assignment]


class Driver:
    """
    A coroutine that may yield Deferreds, as one that yields futures only.

    It is for the task, and for those who look into that. Apart from the steps, for asking an object
    that has a ``__getattr__`` for anything takes Python several times as long.
    """

    def __init__(self, steps: Steps) -> None:
        self._coroutine = coroutine = steps.coroutine
        self.send = steps.send
        self.throw = steps.throw
        self.close = coroutine.close

    def __getattr__(self, name: str) -> object:
        # Its name, cr_frame and the like.
        return getattr(self._coroutine, name)


cast("Any", Coroutine).register(Driver)


def _call(function: Callable[..., object], argument: object) -> object:
    return function(argument)


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
        driver: Any = Driver(Steps(coroutine, loop, _call))
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
