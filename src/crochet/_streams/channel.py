"""
Callbacks into an async iterator: what a source gives, for a stream to take.

What must always hold:

1. Items come out in the order in which they were put, and the end, or the error, after them.
2. A push producer is paused while the buffer is full, and resumed when it is half empty. A pull
   producer is asked only while somebody waits for an item.
3. Once a channel has ended nothing is kept that is put. If it was not the source that has ended it,
   the source is told, once.

Threads: all of it is the reactor thread's. put() says so to others: with them it would be a race.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Literal, SupportsIndex, TypeVar, final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped, unused-ignore]

from .. import _errors
from .iterating import whole_size
from .pause import TaskPause, new_pause

_log = Logger(namespace="crochet")

T = TypeVar("T")

# How a connection ends whose body is complete, as far as that can be known. By name: to import the
# client takes long, and who has an error of a class has imported it.
_COMPLETE = (
    "twisted.web._newclient.ResponseDone",
    "twisted.web.http.PotentialDataLoss",
    "twisted.internet.error.ConnectionDone",
)


@final
@implementer(IConsumer)  # pyright: ignore
class Channel(AsyncIterator[T], Generic[T]):
    """
    An async iterator over what callbacks put into it, for functions that
    :func:`iterate_in_reactor` decorates. They make one, hand its methods to a source, and return
    it::

        @iterate_in_reactor(timeout=30.0)
        def messages(session, topic):
            channel = Channel()
            session.subscribe(channel.put, topic)
            channel.on_close(lambda: session.unsubscribe(topic))
            return channel

    It is an ``IConsumer``, too: a push producer that registers is paused while *buffersize* items
    wait, and resumed when half of them are taken; a pull producer is asked when an item is wanted.
    A source that cannot be paused fills the buffer. Then the channel fails, after the items in it,
    with ``OverflowError``, or drops the oldest.

    Make and use it in the reactor thread. Nothing of it blocks.

    Args:
        buffersize: how many items may wait to be taken, at least 1.
        overflow: ``"error"`` or ``"drop_oldest"``.

    Raises:
        TypeError: *buffersize* is not an integer.
        ValueError: it is less than 1, or *overflow* is something else.
    """

    def __init__(
        self,
        buffersize: SupportsIndex = 1000,
        *,
        overflow: Literal["error", "drop_oldest"] = "error",
    ) -> None:
        self._size = whole_size(buffersize)
        if self._size < 1:
            raise ValueError(
                f"a channel cannot hold {self._size} items: give a buffersize from 1 up, the "
                "number of items that may wait to be taken"
            )
        if overflow not in ("error", "drop_oldest"):
            raise ValueError(f'overflow is "error" or "drop_oldest", not {overflow!r}')
        self._drops = overflow == "drop_oldest"
        self._thread = get_ident()
        self._items: deque[T] = deque()
        self._dropped = 0
        self._has_ended = False
        self._error: BaseException | None = None
        self._is_closed = False  # by another than the source
        self._on_close: list[Callable[[], object]] = []
        self._waiting: Deferred[None] | TaskPause | None = None
        self._producer: Any = None
        self._is_streaming = False
        self._is_paused = False

    def __repr__(self) -> str:
        state = "ended" if self._has_ended else "open"
        return f"<Channel, {state}, {len(self._items)} items wait>"

    @property
    def dropped(self) -> int:
        """
        How many items were dropped, because nobody took them in time.
        """
        return self._dropped

    def put(self, item: T) -> None:
        """
        Have an item come out. Once the channel has ended, it is dropped.

        Call it from the reactor thread. Never blocks.

        Raises:
            RuntimeError: this is another thread than the one in which the channel was made.
        """
        if get_ident() != self._thread:
            raise _errors.put_in_other_thread()
        if self._has_ended:
            return
        is_full = len(self._items) >= self._size
        if is_full and self._producer is None:
            if not self._drops:
                self._error = _errors.overflown(len(self._items))
                self._close()
                return
            self._items.popleft()
            self._dropped += 1
        self._items.append(item)
        self._wake()
        if self._is_streaming and len(self._items) >= self._size and self._producer is not None:
            # Each time: deliverBody() has just resumed a connection that was paused before that.
            self._is_paused = True
            self._producer.pauseProducing()

    def finish(self) -> None:
        """
        Have the iteration end, after the items that wait. Once it has ended, nothing happens.

        Call it from the reactor thread. Never blocks.
        """
        self._end(None)

    def fail(self, error: BaseException | Failure) -> None:
        """
        Have the iteration end with an error, after the items that wait. Once it has ended, nothing
        happens. It can be used as an errback, and as a callback for a lost connection.

        Call it from the reactor thread. Never blocks.

        Raises:
            TypeError: *error* is neither an exception nor a Failure of one.
        """
        failure: Any = error
        cause: object = failure.value if isinstance(error, Failure) else error
        if not isinstance(cause, BaseException):
            raise TypeError(
                f"a channel fails with an exception or a Failure, not {cause!r}. Without an error "
                "it ends by finish()"
            )
        self._end(cause)

    def _end(self, error: BaseException | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._on_close.clear()  # the source knows
            self._producer = None
            self._wake()

    def on_close(self, function: Callable[[], object]) -> None:
        """
        Have *function* called, with nothing, when the channel is closed before the source has ended
        it: the stream was closed, or the buffer has overflown. For what tells the source, such as
        unsubscribing. At once, if that was so before. What it raises is logged.

        Call it from the reactor thread. Never blocks.

        Raises:
            TypeError: *function* cannot be called.
        """
        if not callable(function):
            raise TypeError(f"on_close() takes a function without arguments, not {function!r}")
        if self._is_closed:
            _call(function)
        elif not self._has_ended:
            self._on_close.append(function)

    def _close(self) -> None:
        self._has_ended = self._is_closed = True
        producer, self._producer = self._producer, None
        self._wake()
        if producer is not None:
            _call(producer.stopProducing)
        while self._on_close:
            _call(self._on_close.pop(0))

    def as_protocol(self) -> Any:
        """
        Return a protocol for this channel: ``response.deliverBody(channel.as_protocol())``.

        What its connection receives is put, in pieces of any size, and the connection is paused as
        a push producer is. A clean end finishes the channel, another one fails it. When the channel
        is closed, the connection is.

        Call it from the reactor thread. Never blocks.
        """
        return _Receiver(self)

    # As an IConsumer:

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Have a producer's pace follow the consumer's.

        Call it from the reactor thread. Never blocks.

        Raises:
            RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(
                f"this channel has a producer already, {self._producer!r}: unregister that first"
            )
        if self._has_ended:
            producer.stopProducing()
            return
        self._producer = producer
        self._is_streaming = streaming
        self._is_paused = False
        if not streaming and self._waiting is not None:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        Forget the producer, which has no more. The channel stays open: others may follow.

        Call it from the reactor thread. Never blocks.
        """
        self._producer = None

    def write(self, data: T) -> None:
        """
        Do as ``put()`` does.

        Call it from the reactor thread. Never blocks.
        """
        self.put(data)

    # As an async iterator:

    def __aiter__(self) -> Channel[T]:
        return self

    async def __anext__(self) -> T:
        """
        Return the next item, once it is there.

        Raises:
            StopAsyncIteration: the channel has ended, or was closed.
            RuntimeError: somebody else waits for the next item.
            BaseException: what the channel was failed with.
        """
        items = self._items
        while not items:
            if self._has_ended:
                error, self._error = self._error, None
                if error is None:
                    raise StopAsyncIteration
                try:
                    raise error
                finally:
                    del error  # its traceback holds this frame
            if self._waiting is not None:
                raise RuntimeError("the next item of this channel is being waited for already")
            waiting = self._waiting = new_pause()
            try:
                if self._producer is not None and not self._is_streaming:
                    self._producer.resumeProducing()
                if self._waiting is waiting:  # it has not produced anything at once
                    await waiting
            finally:
                self._waiting = None
        item = items.popleft()
        if self._is_paused and len(items) <= self._size // 2:
            self._is_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        return item

    async def aclose(self) -> None:
        """
        Close the channel: call what :meth:`on_close` was given, and drop what waits. A stream does
        that when it ends.

        Call it from the reactor thread. Never blocks.
        """
        self._items.clear()
        self._error = None
        if not self._has_ended:
            self._close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


def _call(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:
        _log.failure("Error while a channel was being closed")


@implementer(IProtocol)  # pyright: ignore
class _Receiver:
    """
    Puts into a channel what a connection receives.
    """

    def __init__(self, channel: Channel[Any]) -> None:
        self._channel = channel
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        channel = self._channel
        channel.on_close(self._disconnect)
        if hasattr(transport, "pauseProducing"):
            # What stops it is _disconnect(), for which a response's transport has no other name.
            channel.registerProducer(_Connection(transport), True)

    def _disconnect(self) -> None:
        disconnect = getattr(self.transport, "abortConnection", self.transport.loseConnection)
        disconnect()

    def dataReceived(self, data: bytes) -> None:
        self._channel.put(data)

    def connectionLost(self, reason: Failure) -> None:
        channel = self._channel
        if reason.check(*_COMPLETE):  # type: ignore[no-untyped-call]
            channel.finish()
        else:
            channel.fail(reason)


class _Connection:
    """
    The producer that a transport is, but that it is ended by another method.
    """

    def __init__(self, transport: Any) -> None:
        self.pauseProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing

    def stopProducing(self) -> None: ...
