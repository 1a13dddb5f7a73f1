"""
What a stream's driver awaits until it is to go on.

In a task of asyncio's that is something like a future, elsewhere something like a Deferred, used
over and over, for a Deferred of its own would go through several hands for each item. What must
always hold: what awaits goes on in the same turn in which it is resumed; cancelled, it is thrown
CancelledError.

Threads: all of it is for the loop's thread only.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, current_task
from asyncio import CancelledError as TaskCancelledError
from asyncio.events import _get_running_loop
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

Wakeup = Callable[[Any], object]


class TaskPause:
    """
    A pause of the one task that awaits it.
    """

    # How tasks know a future that is awaited.
    _asyncio_future_blocking = False
    _wakeup: Wakeup | None = None
    _cancellation: TaskCancelledError | None = None
    _context: Context

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop

    def __await__(self) -> Generator[Any, Any, None]:
        self._asyncio_future_blocking = True
        yield self

    def callback(self, _: None) -> None:
        """
        Have the task go on.
        """
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is None:
            return
        try:
            if current_task(self._loop) is None:
                try:  # no suppress(), which takes as long as all else here
                    self._context.run(wakeup, self)
                    return
                except RuntimeError:
                    pass  # the context is entered already
            self._loop.call_soon(wakeup, self, context=self._context)
        finally:
            del wakeup  # its task may have ended with an error, whose frames lead back to this one

    # What follows is for the task.

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wakeup: Wakeup, *, context: Context) -> None:
        self._wakeup, self._context = wakeup, context

    def cancel(self, msg: object = None) -> bool:
        wakeup = self._wakeup
        if wakeup is None:
            return False
        self._wakeup = None
        self._cancellation = TaskCancelledError() if msg is None else TaskCancelledError(msg)
        self._loop.call_soon(wakeup, self, context=self._context)
        return True

    def result(self) -> None:
        error, self._cancellation = self._cancellation, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame


class DeferredPause(Deferred[None]):
    """
    A pause of the one coroutine that awaits it, and that Twisted drives: it asks a Deferred for no
    more than this.
    """

    _wakeup: tuple[Wakeup, tuple[Any, ...]] | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        yield self

    def addBoth(self, callback: Wakeup, *args: Any) -> Any:  # type: ignore[override]
        self._wakeup = callback, args

    def callback(self, result: object) -> None:
        """
        Have the coroutine go on.
        """
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            resume, args = wakeup
            resume(result, *args)

    def cancel(self) -> None:
        """
        Have it go on with a CancelledError.
        """
        self.callback(Failure(CancelledError()))  # type: ignore[no-untyped-call]


def new_pause() -> TaskPause | Deferred[None]:
    """
    Return a pause for what runs here: a task of asyncio's, or a coroutine that Twisted drives.
    """
    loop = _get_running_loop()
    return Deferred() if loop is None or current_task(loop) is None else TaskPause(loop)
