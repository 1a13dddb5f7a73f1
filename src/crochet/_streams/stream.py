"""
Streams: the iterators that blocking code sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast, overload

from .._core.progress import Progress, progress_of
from .._threads.timeouts import Seconds, seconds
from .async_stream import AsyncStream
from .consumer import Consumer
from .heartbeat import Heartbeats

if TYPE_CHECKING:
    from typing_extensions import Self

T_co = TypeVar("T_co", covariant=True)
B = TypeVar("B")


class Stream(Iterator[T_co]):
    """
    The items of an async generator that runs in the reactor thread, one by one; made by
    :func:`iterate_in_reactor`.

    It is an iterator, for one thread at a time, and a context manager that closes it. Leave it by
    the end of a ``with`` block: after an exception the traceback keeps a stream alive that is only
    used in a ``for``. A stream that is dropped is closed, too.
    """

    __slots__ = ("__weakref__", "_consumer")

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def __repr__(self) -> str:
        consumer = self._consumer
        return f"<Stream of {consumer.name}(): {'closed' if consumer.pipe.is_closed else 'open'}>"

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be copied or pickled: the items go to one consumer.
        """
        raise TypeError(
            f"a Stream cannot be copied or pickled: the items of {self._consumer.name}() go to "
            "this one. Hand on the object itself, or its items"
        )

    def __next__(self) -> T_co:
        """
        Return the next item, once it is there.

        When the time is over, or the wait ends by Ctrl-C or any other exception, the body is
        cancelled and has *grace* seconds to clean up behind itself, as for :func:`wait_for`; then
        the stream is closed. The last items before an error come first.

        Call it from any thread but the reactor's, one at a time.
        Blocks up to *timeout* seconds, and for the cleanup up to *grace* seconds more.

        Raises:
            StopIteration: there are no more items, or the stream is closed.
            TimeoutError: there was no item in time, or a deadline is over.
            DeadlockError: this is the reactor thread, and nothing was done; or the reactor thread
                waits for this one.
            ReactorStopped: the reactor stopped.
            ValueError: another thread waits for an item, or this one, in what it has interrupted.
            BaseException: whatever the body raised.
        """
        consumer = self._consumer
        try:
            return cast("T_co", consumer.take(consumer.limit))
        finally:
            del self, consumer  # an error's traceback holds this frame

    @property
    def progress(self) -> Progress | None:
        """
        How far the body is, as it has last told by :func:`report_progress`; None before.
        """
        return progress_of(self._consumer.call.reported)

    def close(self) -> None:
        """
        Have the body end: it is cancelled, and what it has in ``finally`` runs. A thread that waits
        for an item gets StopIteration.

        A second ``close()``, or that of a stream that has ended, does nothing. An error of the
        body's cleanup is logged.

        Call it from any thread. Blocks up to *grace* seconds; in the reactor thread, never.
        """
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    @overload
    def with_heartbeat(self, interval: Seconds) -> Heartbeats[T_co | None]: ...
    @overload
    def with_heartbeat(self, interval: Seconds, beat: B) -> Heartbeats[T_co | B]: ...
    def with_heartbeat(self, interval: Seconds, beat: object = None) -> Heartbeats[object]:
        """
        Return an iterator over the items, with a *beat* between them whenever none has come for
        *interval* seconds.

        It is for what has to be sent now and then, as server-sent events are, so that a connection
        is not taken for dead, and a visitor who has left is noticed. A beat cancels nothing. It
        comes instead of the stream's *timeout*, which bounds no wait here; a :class:`deadline`
        does.

        Call it from any thread. Never blocks.

        Args:
            interval: seconds.
            beat: what is returned instead of an item.

        Raises:
            TypeError: *interval* is not a number.
            ValueError: it is NaN, or not above zero.
        """
        every = seconds(interval, "an interval")
        if every <= 0:
            raise ValueError(f"there is no heartbeat every {every:g} s: give seconds above zero")
        return Heartbeats(self._consumer, every, beat)

    def as_async(self) -> AsyncStream[T_co]:
        """
        Return an async iterator over the items, for an asyncio or trio loop in any thread, or for a
        coroutine in the reactor thread.

        The loop is free meanwhile, and no thread is used up. Times are bounded as they are by
        ``next()``, but that nobody waits for the body's cleanup. An ``await`` that ends early, for
        its task is cancelled, closes the stream.

        Call it from any thread. Never blocks.
        """
        return AsyncStream(self._consumer)
