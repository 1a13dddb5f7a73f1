"""
``await`` in an asyncio task, for what is answered by the reactor thread.

What must always hold:

1. A Deferred is touched in the reactor thread only: it is waited for there, as the result of a
   call, and what it fires with comes back to the task.
2. What awaits runs in the thread of its loop, before and after, and that loop stays free.
3. A task that is cancelled while it awaits has cancelled what it awaited, and gives that a moment
   to clean up behind itself.

A coroutine is driven here, in the task, with all that it awaits: a Deferred that comes up from it
is exchanged for the above, and what asyncio awaits is passed on to asyncio. So it may await both,
in any order. Why not have Twisted drive it in the reactor thread? It may be code of a notebook,
which expects to be in the main thread, and there it could await nothing of the notebook's loop.

Threads: everything is called in the loop's, but for what is handed to ``run_in_reactor``, and for
the done callback, which may come in any and does nothing but tell the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from inspect import GEN_CREATED, getgeneratorstate, isawaitable
from types import coroutine
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from .._core.decorators import Decorators
from .._core.result import EventualResult, call_of
from .._core.waiting import Onlooker, onlooker

# Seconds that a cancelled task leaves what it awaited for its cleanup.
_GRACE = 1.0


class Awaiting:
    """
    Turns things into what a task of asyncio can await, in whichever thread it is.
    """

    def __init__(self, calls: Decorators) -> None:
        in_background = cast("Callable[..., Any]", calls.run_in_reactor)
        self._follow: Callable[[object], EventualResult[object]] = in_background(await_deferred)
        self._cancel: Callable[[object], EventualResult[object]] = in_background(cancel_deferred)
        # Whether the user has interrupted the cell that runs. Main thread only.
        self.is_interrupted = False

    def awaitable(self, value: Any) -> Any:
        """
        Return what is to be awaited for *value*: in an asyncio task perhaps another thing.

        That is so for Deferreds, results, and what may await them. What cannot be awaited is left
        to ``await`` to refuse.
        """
        if not _is_in_task() or asyncio.isfuture(value):
            return value
        if isinstance(value, Deferred):
            return self._await_deferred(cast("Deferred[object]", value))
        if isinstance(value, EventualResult):
            return _outcome(cast("EventualResult[object]", value))
        if isinstance(value, Coroutine):
            return self._drive(value)
        if _has(value, "__await__"):
            steps = value.__await__()
            return self._drive(steps) if hasattr(steps, "throw") else value
        return value

    def in_cell(self, value: Any) -> Any:
        """
        Return what a cell is to await for *value*: the same, but interrupting the cell raises
        KeyboardInterrupt there, and not the cancellation of its task.
        """
        value = self.awaitable(value)
        return self._interruptible(value) if _is_in_task() and isawaitable(value) else value

    async def _interruptible(self, awaitable: Awaitable[object]) -> object:
        __tracebackhide__ = True
        try:
            return await awaitable
        except asyncio.CancelledError:
            # asyncio.timeout() and TaskGroup cancel the task as well, and have to see that.
            if not self.is_interrupted:
                raise
        self.is_interrupted = False
        task: Any = asyncio.current_task()
        if hasattr(task, "uncancel"):  # from Python 3.11 on
            task.uncancel()  # a cell that catches the interrupt goes on
        raise KeyboardInterrupt

    @contextmanager
    def accepting(self, loop: asyncio.AbstractEventLoop) -> Generator[None, None, None]:
        """
        Have tasks that are made in a loop await Deferreds, such as those of ``asyncio.gather()``.
        """
        before = loop.get_task_factory()

        def make_task(loop: asyncio.AbstractEventLoop, steps: Any, **options: Any) -> Any:
            driven = _Driven(cast("Any", self._drive(steps)), steps)
            if before is not None:
                return before(loop, driven, **options)
            return asyncio.Task(driven, loop=loop, **options)

        loop.set_task_factory(make_task)
        try:
            yield
        finally:
            if loop.get_task_factory() is make_task:
                loop.set_task_factory(before)

    def iterable(self, value: Any) -> Any:
        """
        Return what ``async for`` is to iterate over for *value*.
        """
        return _Iteration(self, value) if _has(value, "__aiter__") else value

    def manager(self, value: Any) -> Any:
        """
        Return what ``async with`` is to enter for *value*.
        """
        return _Manager(self, value) if _has(value, "__aenter__") else value

    async def _await_deferred(self, deferred: Deferred[Any]) -> object:
        __tracebackhide__ = True
        result = self._follow(deferred)
        return await _outcome(result, lambda: self._give_up(result, deferred))

    def _give_up(
        self, result: EventualResult[object], deferred: Deferred[Any]
    ) -> EventualResult[object]:
        """
        Cancel what is awaited, and return what is answered when it has ended.
        """
        # What the Deferred stands for is under way, even if the reactor thread has not looked at
        # the Deferred yet; and then it never would.
        if call_of(result).withdraw():
            return self._cancel(deferred)
        result.cancel()
        return result

    @coroutine
    def _drive(self, steps: Any) -> Generator[Any, Any, Any]:
        """
        Run a coroutine in this task, and wait in the reactor thread for the Deferreds it awaits.
        """
        __tracebackhide__ = True
        step, argument = steps.send, None
        while True:
            try:
                awaited = step(argument)
            except StopIteration as end:
                return end.value
            finally:
                # The argument may be an error, whose traceback has this frame.
                del step, argument
            try:
                if isinstance(awaited, Deferred):
                    waiting = self._await_deferred(cast("Deferred[object]", awaited))
                    argument = yield from waiting.__await__()
                    del waiting
                else:
                    argument = yield awaited
                step = steps.send
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                step, argument = steps.throw, error
            finally:
                awaited = None


def await_deferred(deferred: Deferred[object]) -> Deferred[object]:
    """
    Return a Deferred, in the reactor thread, to be waited for. Its name is in messages.
    """
    return deferred


def cancel_deferred(deferred: Deferred[object]) -> Deferred[object]:
    """
    Cancel a Deferred, in the reactor thread, that nobody is to wait for.
    """
    deferred.cancel()
    return deferred.addErrback(cast("Any", Failure).trap, CancelledError)


def _has(value: object, method: str) -> bool:
    return hasattr(type(value), method)


def _is_in_task() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False  # another kind of loop, or none


async def _outcome(
    result: EventualResult[object], cancel: Callable[[], EventualResult[object]] | None = None
) -> object:
    """
    Wait for a result without blocking the loop; cancel it if the task is cancelled.

    Args:
        result: what is awaited.
        cancel: cancels it in another way, and returns what is answered when it has ended.
    """
    __tracebackhide__ = True
    ended = _end_of(result)
    try:
        await _shown(ended, onlooker(call_of(result)))
    except BaseException as error:
        if cancel is not None:
            result = cancel()
        else:
            result.cancel()
        if isinstance(error, asyncio.CancelledError):  # else there is no loop any more to wait in
            await asyncio.wait([_end_of(result)], timeout=_GRACE)
        raise
    try:
        return result.wait(0)
    finally:
        # A traceback holds this frame; do not let it hold the result as well.
        del result, ended, cancel


async def _shown(ended: asyncio.Future[None], looks_on: Onlooker | None) -> None:
    """
    Wait for a future, and have progress shown meanwhile, if it is to be.
    """
    __tracebackhide__ = True
    # Unlike `await ended`, this leaves the future alone when the task is cancelled.
    if looks_on is None:
        await asyncio.wait([ended])
        return
    try:
        while not ended.done():
            await asyncio.wait([ended], timeout=looks_on.every)
            looks_on.look()
    finally:
        looks_on.close()


def _end_of(result: EventualResult[object]) -> asyncio.Future[None]:
    """
    Return a future of this thread's loop that is done when a result is there.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits there
            loop.call_soon_threadsafe(ended.set_result, None)

    result.add_done_callback(tell)
    return ended


class _Driven(Coroutine[Any, Any, Any]):
    """
    A coroutine that is driven by another, for a task.
    """

    def __init__(self, steps: Generator[Any, Any, Any], coroutine: Any) -> None:
        self._steps = steps
        self.coroutine = coroutine  # what waits is looked for there, and it has the name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coroutine, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._steps

    def send(self, value: Any) -> Any:
        __tracebackhide__ = True
        return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        __tracebackhide__ = True
        if getgeneratorstate(self._steps) == GEN_CREATED:
            self.coroutine.close()  # it will never be started, and says so otherwise
        return self._steps.throw(*error)

    def close(self) -> None:
        self.coroutine.close()
        self._steps.close()


class _Iteration:
    """
    An asynchronous iterator whose steps may await what is answered by the reactor thread.
    """

    def __init__(self, awaiting: Awaiting, iterable: Any) -> None:
        self._awaiting = awaiting
        self._iterable = iterable

    def __aiter__(self) -> AsyncIterator[Any]:
        self._iterator = self._iterable.__aiter__()
        return self

    async def __anext__(self) -> Any:
        __tracebackhide__ = True
        return await self._awaiting.in_cell(self._iterator.__anext__())


class _Manager:
    """
    An asynchronous context manager whose beginning and end may do so.
    """

    def __init__(self, awaiting: Awaiting, manager: Any) -> None:
        self._awaiting = awaiting
        self._manager = manager

    async def __aenter__(self) -> Any:
        __tracebackhide__ = True
        return await self._awaiting.in_cell(self._manager.__aenter__())

    async def __aexit__(self, *error: object) -> Any:
        __tracebackhide__ = True
        return await self._awaiting.in_cell(self._manager.__aexit__(*error))
