"""
A stream with beats in between: what has to be sent while nothing comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar, cast, final

from .consumer import NOT_YET, Consumer

T_co = TypeVar("T_co", covariant=True)


@final
class Heartbeats(Iterator[T_co]):
    """
    The items of a stream, and a beat between them when none has come for a while; made by
    ``Stream.with_heartbeat()``.
    """

    __slots__ = ("_beat", "_consumer", "_interval")

    def __init__(self, consumer: Consumer, interval: float, beat: object) -> None:
        self._consumer = consumer
        self._interval = interval
        self._beat = beat

    def __next__(self) -> T_co:
        try:
            item = self._consumer.take(self._interval, is_beat=True)
            return cast("T_co", self._beat if item is NOT_YET else item)
        finally:
            del self  # an error's traceback holds this frame

    def close(self) -> None:
        """
        Close the stream.

        Call it from any thread. Blocks as ``Stream.close()`` does.
        """
        self._consumer.close()
