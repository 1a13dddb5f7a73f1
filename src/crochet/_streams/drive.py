"""
The driver of a stream: the coroutine that runs the body, from its first line to its last.

What must always hold:

1. All of the body runs in this one coroutine, and so in one context, and in one task of asyncio's.
2. While the body is at a ``yield`` it is this that is cancelled. Cancelled by asyncio (a timeout, a
   task group or a cancel scope of the body's own), it throws that into the body, at the ``yield``.
   Cancelled by Twisted, which is how a stream is closed and a reactor ends, it closes the body, as
   ``aclose()`` does: GeneratorExit comes at the ``yield``, and ``finally`` blocks run.
3. What comes once the body is to end (``pipe.is_ending``) is not for the stream: an item is
   dropped, and an error logged, unless it says no more than that.

Threads: all of it is the reactor thread's.
"""

from __future__ import annotations

from asyncio import CancelledError as TaskCancelledError
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from .. import _errors
from .._coroutines.cancellation import exceptions_of, is_cancellation
from .pipe import Pipe

_log = Logger(namespace="crochet")


async def drive(
    pipe: Pipe,
    name: str,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> None:
    """
    Call a function and hand over the items of what it returns.

    Args:
        pipe: takes the items.
        name: of the function, for messages.
        function: is called when the first item is asked for, or at once if it may be ahead.
        args: for it.
        kwargs: likewise.
    """
    iterator: Any = None
    try:
        try:
            if not pipe.size:
                await pipe.pause()
            iterator = await _iterator(name, function(*args, **kwargs))
            await _hand_over(pipe, iterator)
        except GeneratorExit:
            iterator = None  # nobody drives this any more, and what is awaited here would be lost
            raise
        finally:
            if iterator is not None:
                await _close(iterator)
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if not pipe.is_ending:
            raise
        if not _is_end(error):
            _log.failure("Error in {name}() while its stream was being closed", name=name)


async def _iterator(name: str, value: object) -> Any:
    """
    Return an iterator over what a function has returned, once that is there.
    """
    while not isinstance(value, AsyncIterable) and isinstance(value, Awaitable):
        value = await cast("Awaitable[object]", value)
    if not isinstance(value, AsyncIterable):
        raise _errors.no_async_iterable(name, value)
    return cast("AsyncIterable[object]", value).__aiter__()


async def _hand_over(pipe: Pipe, iterator: Any) -> None:
    put = pipe.put
    async for item in iterator:
        if pipe.is_ending:
            return  # the body has caught the cancellation, and goes on
        while put(item):
            try:
                await pipe.pause()
                break
            except TaskCancelledError as error:
                throw = getattr(iterator, "athrow", None)
                if throw is None or pipe.is_ending:
                    raise
                try:
                    item = await throw(error)
                except StopAsyncIteration:
                    return


async def _close(iterator: Any) -> None:
    """
    Have a body end that is at a ``yield``. One that has ended stays as it is.
    """
    close = getattr(iterator, "aclose", None)
    if close is not None:
        try:
            await close()
        except BaseException as error:
            if not _is_end(error):
                raise


def _is_end(error: BaseException) -> bool:
    """
    Tell whether an error says no more than that the body was to end.
    """
    # A task group around a `yield` wraps what comes there.
    group = exceptions_of(error)
    if isinstance(error, (GeneratorExit, CancelledError, TaskCancelledError)):
        return True
    return is_cancellation(error) or (bool(group) and all(map(_is_end, group)))
