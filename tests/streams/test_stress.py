"""
Streams in many threads at once, which switch as often as they can.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from support.stepping import BOUND, together, wait_until

_thread: ContextVar[str] = ContextVar("thread")

THREADS = 8
STREAMS = 40


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    """
    Have threads switch after a microsecond.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("buffersize", [0, 1, 5])
def test_each_item_comes_once_and_each_body_ends_once(either: Any, buffersize: int) -> None:
    """
    Whether it is taken to its end, left halfway, or closed by another thread at any moment.
    """
    begun: list[int] = []
    ended: list[int] = []

    async def body(number: int) -> AsyncIterator[int]:
        begun.append(number)
        try:
            for each in range(20):
                if each % 7 == 3:
                    waited: Deferred[None] = Deferred()
                    either.reactor.callLater(0, waited.callback, None)
                    await waited
                yield each
        finally:
            ended.append(number)

    iterate = either.iterate(BOUND, buffersize=buffersize)(body)

    def consume(thread: int) -> int:
        chosen = random.Random(thread)
        for number in range(STREAMS):
            stream = iterate(thread * STREAMS + number)
            way = chosen.randrange(3)
            closer = threading.Thread(target=stream.close)
            taken: list[int] = []
            for each in stream:
                taken.append(each)
                if each == 10 and way == 1:
                    break
                if each == 10 and way == 2:
                    closer.start()
            assert taken == list(range(len(taken)))
            assert len(taken) == 20 or way > 0
            if way == 2:
                closer.join(BOUND)
                assert not closer.is_alive()
            stream.close()
        return thread

    assert together(THREADS, consume) == list(range(THREADS))
    wait_until(lambda: not either.bridge.in_flight, "the end of all bodies")
    assert sorted(begun) == sorted(ended) == list(range(THREADS * STREAMS))
    assert not either.bridge.watched
    assert not either.bridge.waits


def test_one_object_in_many_threads(either: Any) -> None:
    """
    Each leaves what it has entered, and gets its own answers.
    """
    entered: list[str] = []
    left: list[str] = []

    class Shared:
        async def __aenter__(self) -> None:
            entered.append(_thread.get())

        async def __aexit__(self, *error: object) -> None:
            left.append(_thread.get())

        async def call(self, value: int) -> int:
            return value

        async def items(self, number: int) -> AsyncIterator[int]:
            for each in range(number):
                yield each

    proxy = either.blocking(Shared(), timeout=BOUND)

    def use(thread: int) -> int:
        _thread.set(str(thread))
        for number in range(STREAMS):
            before = len([each for each in left if each == str(thread)])
            with proxy:
                assert proxy.call(number) == number
                with proxy:
                    assert list(proxy.items(3)) == [0, 1, 2]
            assert len([each for each in left if each == str(thread)]) == before + 2
        return thread

    assert together(THREADS, use) == [*range(THREADS)]
    assert sorted(entered) == sorted(left)
    assert len(left) == 2 * THREADS * STREAMS
