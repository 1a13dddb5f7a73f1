"""
``await`` of a result, in whatever loop the coroutine runs.

In an asyncio loop, in any thread: a future of that loop, set through ``call_soon_threadsafe()``.
In the reactor thread, in a coroutine that Twisted drives: a Deferred. In a trio loop: the task
is rescheduled through trio's token. In each case the awaiting thread is free meanwhile, and no
thread waits in its stead.

Which it is, is told by what runs in this thread: an asyncio task, then the reactor, then trio. The
libraries are looked up, not imported: one that has not been imported runs nothing here.

An await that ends early, because its task was cancelled, timed out or dropped, or a deadline() is
over, cancels the operation.

Threads: the answer comes in the reactor thread. So no future, Deferred or task is touched there,
but by the function that its loop has for that.
"""

from __future__ import annotations

import math
import sys
from _thread import get_ident
from collections.abc import Callable, Generator
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred

from .. import _errors
from .._errors import Limit, Reason
from .._threads import clock

T_co = TypeVar("T_co", covariant=True)


class Telling(Protocol):
    """
    What is needed of something to be waited for.
    """

    def add_done_callback(self, callback: Callable[[Any], object]) -> None: ...


class Onlooker(Protocol):
    """
    Looks on while something is awaited.
    """

    every: float  # seconds between two looks

    def look(self) -> None: ...
    def close(self) -> None: ...


class Awaited(Telling, Protocol[T_co]):
    """
    What is needed of a result.
    """

    def done(self) -> bool: ...
    def wait(self, timeout: float) -> T_co: ...
    def cancel(self) -> None: ...


def awaiting(
    result: Awaited[T_co],
    name: str,
    reactor_thread: int | None,
    call_in_reactor: Callable[..., object],
    explain: Callable[[], Reason],
    end: float,
    onlooker: Onlooker | None = None,
) -> Generator[Any, Any, T_co]:
    """
    Let other tasks run until the answer is there; return the value or raise the error.

    Args:
        result: whose answer.
        name: of the function called, for messages.
        reactor_thread: the ident of that thread, if any runs.
        call_in_reactor: has it call something.
        explain: tells why there is no answer yet.
        end: the moment, by the monotonic clock, at which the await is over; or infinity.
        onlooker: looks on, in this thread, if the await lasts.
    """
    if not result.done():
        left = max(end - clock.monotonic(), 0.0)
        try:
            if onlooker is None:
                yield from wait_in_loop(result, name, reactor_thread, call_in_reactor, left)
            else:
                wait = partial(wait_in_loop, _Relay(result), name, reactor_thread, call_in_reactor)
                yield from _watched(result, wait, end, onlooker)
            if not result.done():
                limit = Limit(left, by_deadline=True)
                raise _errors.gave_up(name, limit, explain(), ended=False)
        except BaseException:
            result.cancel()
            raise
    try:
        return result.wait(0)
    finally:
        del result  # an error's traceback holds this frame


def _watched(
    result: Awaited[object],
    wait: Callable[[float], Generator[Any, Any, None]],
    end: float,
    onlooker: Onlooker,
) -> Generator[Any, Any, None]:
    """
    Wait in slices, with a look after each.
    """
    try:
        while not result.done() and (left := end - clock.monotonic()) > 0:
            yield from wait(min(left, onlooker.every))
            onlooker.look()
    finally:
        onlooker.close()


class _Relay:
    """
    Tells of an answer what asked last to be told. For a wait in slices, each of which asks: the
    result itself would keep all of them.
    """

    def __init__(self, result: Telling) -> None:
        self._result: Any = result
        self._callback: Callable[[Any], object] | None = None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        is_first = self._callback is None
        self._callback = callback  # before the look; _answered() finds it, or this one the answer
        if is_first:
            self._result.add_done_callback(self._answered)
        elif self._result.done():
            callback(self._result)

    def _answered(self, result: object) -> None:
        if self._callback is not None:
            self._callback(result)


def wait_in_loop(
    result: Telling,
    name: str,
    reactor_thread: int | None,
    call_in_reactor: Callable[..., object],
    left: float,
) -> Generator[Any, Any, None]:
    """
    Let other tasks run until the answer is there, or *left* seconds are over.

    Args:
        result: whose answer.
        name: of the function called, for messages.
        reactor_thread: the ident of that thread, if any runs.
        call_in_reactor: has it call something.
        left: seconds; infinity is for as long as it takes.

    Raises:
        RuntimeError: there is nothing here that could run other tasks.
    """
    is_reactor = get_ident() == reactor_thread
    trio = cast("Any", sys.modules.get("trio"))
    loop = _asyncio_loop(is_reactor)
    if loop is not None:
        yield from _in_asyncio(result, loop, left)
    elif is_reactor:
        yield from _in_reactor(result, call_in_reactor, left)
    elif trio is not None and trio.lowlevel.in_trio_task():
        yield from _in_trio(result, trio, left)
    else:
        raise RuntimeError(
            f"there is nothing here that could run other tasks while {name}() is awaited: "
            "no asyncio loop, nor is this the reactor thread. Use wait() instead of await"
        )


def _asyncio_loop(is_reactor: bool) -> Any:
    asyncio = cast("Any", sys.modules["asyncio"])  # Twisted has imported it
    loop = asyncio._get_running_loop()
    # In the reactor thread, a coroutine that is no task is one that Twisted drives.
    if loop is None or (is_reactor and asyncio.current_task(loop) is None):
        return None
    return loop


# Each of these ends when the answer is there, or *left* seconds are over.


def _in_asyncio(result: Telling, loop: Any, left: float) -> Generator[Any, Any, None]:
    future = loop.create_future()

    def fire() -> None:
        if not future.done():  # it was cancelled a moment ago
            future.set_result(None)

    def answered(_: object) -> None:
        try:
            loop.call_soon_threadsafe(fire)
        except RuntimeError:
            pass  # the loop has been closed, and whoever awaited this with it

    timer = None if left == math.inf else loop.call_later(left, fire)
    try:
        result.add_done_callback(answered)
        yield from future
    finally:
        if timer is not None:
            timer.cancel()


def _in_reactor(
    result: Telling, call_in_reactor: Callable[..., object], left: float
) -> Generator[Any, Any, None]:
    deferred: Deferred[None] = Deferred()
    reactor_thread = get_ident()

    def fire() -> None:
        if not deferred.called:  # it was cancelled a moment ago
            deferred.callback(None)

    def answered(_: object) -> None:
        if get_ident() == reactor_thread:
            fire()
        else:
            call_in_reactor(fire)

    timer: Any = None
    if left != math.inf:
        reactor = cast("Any", sys.modules["twisted.internet.reactor"])  # it runs in this thread
        timer = reactor.callLater(left, fire)
    try:
        result.add_done_callback(answered)
        yield from deferred.__await__()
    finally:
        if timer is not None and timer.active():
            timer.cancel()


def _in_trio(result: Telling, trio: Any, left: float) -> Generator[Any, Any, None]:
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    is_waiting = [None]  # whoever takes it ends the wait. Trio's thread only.

    def fire() -> None:
        if is_waiting:
            is_waiting.clear()
            trio.lowlevel.reschedule(task)

    def answered(_: object) -> None:
        try:
            token.run_sync_soon(fire)
        except trio.RunFinishedError:
            pass  # and whoever awaited this with it

    def abort(_: object) -> Any:
        is_waiting.clear()
        return trio.lowlevel.Abort.SUCCEEDED

    with nullcontext() if left == math.inf else trio.move_on_after(left):
        result.add_done_callback(answered)
        yield from trio.lowlevel.wait_task_rescheduled(abort).__await__()
