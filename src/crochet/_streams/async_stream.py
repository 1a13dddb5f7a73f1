"""
A stream for a coroutine, in whatever loop it runs.

What must always hold is what holds for a thread that waits (consumer.py), but that nobody waits for
the body's cleanup: a coroutine that is cancelled must not block its loop.

Threads: one coroutine at a time takes items, in any thread; any thread may close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from types import coroutine
from typing import Any, TypeVar, cast, final

from .._core.call import PENDING
from .._coroutines.await_result import wait_in_loop
from .._threads import clock
from .._threads.primitives import discard
from .consumer import NOT_YET, Consumer, ItemWait, NoItem

T_co = TypeVar("T_co", covariant=True)

_in_loop = coroutine(wait_in_loop)


@final
class AsyncStream(AsyncIterator[T_co]):
    """
    The items of a stream, for a coroutine; made by ``Stream.as_async()``. No iterator: a server
    that took it for one would block.
    """

    __slots__ = ("_consumer",)

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        # No thread waits that run_in_caller() could have run something.
        consumer.call.callbacks.pop(consumer.waiter, None)
        consumer.waiter.clear()

    async def __anext__(self) -> T_co:
        """
        Return the next item, once it is there. See ``Stream.__next__()``.

        Call it from any thread that runs a loop, in a coroutine, one at a time. Blocks never.

        Raises:
            StopAsyncIteration: there are no more items, or the stream is closed.
            BaseException: what that raises.
        """
        consumer = self._consumer
        pipe, is_mine, item = consumer.pipe, False, None
        try:
            is_mine = discard(pipe.free, None)
            if is_mine:
                item = await self._wait(ItemWait(consumer.limit))
                pipe.free.append(None)
        except BaseException:
            consumer.close_soon()
            raise
        if not is_mine:
            item = consumer.not_mine()
        if type(item) is NoItem:
            try:
                consumer.raise_error(item)
                raise StopAsyncIteration
            finally:
                del item, self, consumer, pipe  # the error's traceback holds this frame
        return cast("T_co", item)

    async def _wait(self, wait: ItemWait) -> object:
        consumer, bridge = self._consumer, self._consumer.bridge
        while True:
            item = consumer.look()
            if item is not NOT_YET:
                return item
            left = wait.end - clock.monotonic()
            if left <= 0:
                reason = consumer.explain(wait)
                has_begun = consumer.close_soon()
                return NoItem(consumer.too_late(wait, reason, has_begun=has_begun, has_ended=False))
            asked = _NextItem(consumer)
            await _in_loop(asked, consumer.name, bridge.reactor_thread, bridge.call, left)

    async def aclose(self) -> None:
        """
        Close the stream. See ``Stream.close()``: this awaits the body's end, up to *grace* seconds.

        Call it from any thread that runs a loop, in a coroutine. Blocks never.
        """
        consumer, bridge = self._consumer, self._consumer.bridge
        self.close()
        if consumer.call.outcome is PENDING:
            ended, limit = _End(consumer), consumer.grace
            await _in_loop(ended, consumer.name, bridge.reactor_thread, bridge.call, limit)

    def close(self) -> None:
        """
        Have the body end, and do not wait for that.

        Call it from any thread. Blocks never.
        """
        self._consumer.close_soon()


class _NextItem:
    """
    The next item of a stream, as something that is awaited.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """
        Have *callback* called when there is something to look at.
        """
        pipe = self._consumer.pipe
        pipe.wake = partial(callback, self)  # before looking; see the head of pipe.py
        if pipe.items or pipe.is_closed or self._consumer.call.outcome is not PENDING:
            pipe.release()


class _End:
    """
    The end of a stream's body, as something that is awaited.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._call = consumer.call

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """
        Have *callback* called when the body has ended.
        """
        self._call.add_callback(partial(callback, None))
