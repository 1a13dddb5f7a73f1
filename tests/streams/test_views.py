"""
Other views of a stream: with beats in between, and from an event loop.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import crochet
from crochet import ReactorStopped, TimeoutError
from support.stepping import BOUND, Background, wait_until


async def numbers(number: int) -> AsyncIterator[int]:
    for each in range(number):
        yield each


def stuck_in(notes: list[object], *, first: int = 1) -> Callable[[], AsyncIterator[int]]:
    """
    Return a body that yields some items and then waits for ever.
    """

    async def stuck() -> AsyncIterator[int]:
        try:
            for each in range(first):
                yield each
            await Deferred()
        finally:
            notes.append("finally")

    return stuck


class TestHeartbeat:
    """
    ``with_heartbeat()``.
    """

    def test_comes_while_nothing_does(self, either: Any) -> None:
        """
        And cancels nothing: the item comes when it comes.
        """
        waited: Deferred[int] = Deferred()
        asked: list[object] = []

        async def body() -> AsyncIterator[int]:
            yield 1
            asked.append(1)
            yield await waited

        beats = either.iterate(0.001)(body)().with_heartbeat(0.01, "beat")
        assert next(item for item in beats if item != "beat") == 1  # on a busy machine, after some
        assert [next(beats), next(beats), next(beats)] == ["beat"] * 3
        assert asked == [1]
        either.wait_for(BOUND)(lambda: waited.callback(2))()
        item: object = "beat"
        while item == "beat":
            item = next(beats)
        assert item == 2
        assert list(beats) == []

    def test_is_not_in_the_way_of_items(self, either: Any) -> None:
        """
        Nor of the end, nor of an error.
        """
        assert list(either.iterate(BOUND)(numbers)(20).with_heartbeat(BOUND)) == list(range(20))

        async def body() -> AsyncIterator[int]:
            yield 1
            raise KeyError

        beats = either.iterate(BOUND, buffersize=2)(body)().with_heartbeat(BOUND)
        assert next(beats) == 1
        with pytest.raises(KeyError):
            next(beats)

    def test_is_none_unless_told(self, either: Any) -> None:
        """
        What is given instead of an item.
        """
        with either.iterate(BOUND)(stuck_in([], first=0))() as stream:
            assert next(stream.with_heartbeat(0.001)) is None

    def test_is_bounded_by_deadlines(self, either: Any) -> None:
        """
        Which cancel.
        """
        notes: list[object] = []
        beats = either.iterate(BOUND)(stuck_in(notes, first=0))().with_heartbeat(BOUND)
        with crochet.deadline(0.01), pytest.raises(TimeoutError, match="deadline"):
            next(beats)
        assert notes == ["finally"]

    def test_closes_the_stream(self, either: Any) -> None:
        """
        As servers close what a view returns; also by being dropped.
        """
        notes: list[object] = []
        beats = either.iterate(BOUND)(stuck_in(notes))().with_heartbeat(1)
        next(beats)
        beats.close()
        assert notes == ["finally"]
        assert list(beats) == []
        beats = either.iterate(BOUND)(stuck_in(notes))().with_heartbeat(1)
        next(beats)
        del beats
        wait_until(lambda: notes == ["finally", "finally"], "the end of the body")

    @pytest.mark.parametrize("interval", [0, -1, float("nan")])
    def test_needs_an_interval(self, either: Any, interval: float) -> None:
        """
        Above zero.
        """
        with (
            either.iterate(BOUND)(numbers)(1) as stream,
            pytest.raises(ValueError, match="seconds"),
        ):
            stream.with_heartbeat(interval)


def in_asyncio(body: Coroutine[Any, Any, Any], process: Any) -> Any:
    """
    Run a coroutine in an asyncio loop of this thread's.
    """
    return asyncio.run(body)


def in_trio(body: Coroutine[Any, Any, Any], process: Any) -> Any:
    """
    Likewise, in trio's.
    """
    trio = pytest.importorskip("trio")

    async def main() -> Any:
        return await body

    return trio.run(main)


def in_reactor(body: Coroutine[Any, Any, Any], process: Any) -> Any:
    """
    Likewise, in the reactor thread.
    """
    return process.wait_for(BOUND)(lambda: body)()


@pytest.fixture(params=[in_asyncio, in_trio, in_reactor])
def run(
    request: pytest.FixtureRequest, either: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """
    Run a coroutine in a loop of each kind.
    """
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", either.reactor)
    return lambda body: request.param(body, either)


class TestAsAsync:
    """
    ``as_async()``.
    """

    @pytest.mark.parametrize("buffersize", [0, 1, 5])
    def test_has_all_items(self, either: Any, run: Any, buffersize: int) -> None:
        """
        In order, in any loop.
        """

        async def collect() -> list[int]:
            stream = either.iterate(BOUND, buffersize=buffersize)(numbers)(50)
            items = [item async for item in stream.as_async()]
            assert [item async for item in stream.as_async()] == []
            return items

        assert run(collect()) == list(range(50))

    def test_has_the_error(self, either: Any, run: Any) -> None:
        """
        After the items before it.
        """

        async def body() -> AsyncIterator[int]:
            yield 1
            raise KeyError("of the body")

        async def collect() -> None:
            items = either.iterate(BOUND, buffersize=2)(body)().as_async()
            assert await anext_(items) == 1
            with pytest.raises(KeyError, match="of the body"):
                await anext_(items)
            assert [item async for item in items] == []

        run(collect())

    def test_times_out(self, either: Any, run: Any) -> None:
        """
        As ``next()`` does, by the stream's timeout, or by a deadline.
        """
        notes: list[object] = []

        async def collect(stream: Any, limit: float | None = None) -> str:
            items = stream.as_async()
            assert await anext_(items) == 0
            with crochet.deadline(limit), pytest.raises(TimeoutError) as caught:
                await anext_(items)
            assert [item async for item in items] == []
            return str(caught.value)

        iterate = either.iterate(BOUND, buffersize=1)(stuck_in(notes))
        streams = iterate.with_timeout(0.02)(), iterate()
        either.wait_for(BOUND)(int)()  # the first items are there
        assert "has not given its next item in 0.02 s" in run(collect(streams[0]))
        assert "deadline" in run(collect(streams[1], 0.02))

    def test_closes_the_stream(self, either: Any, run: Any) -> None:
        """
        And awaits its end.
        """
        notes: list[object] = []

        async def collect() -> list[object]:
            items = either.iterate(BOUND)(stuck_in(notes))().as_async()
            await anext_(items)
            await items.aclose()
            await items.aclose()
            assert [item async for item in items] == []
            return notes

        assert run(collect()) == ["finally"]

    def test_is_closed_without_waiting(self, either: Any, run: Any) -> None:
        """
        By ``close()``, which Django calls, or by being dropped.
        """
        notes: list[object] = []

        async def collect() -> None:
            items = either.iterate(BOUND)(stuck_in(notes))().as_async()
            await anext_(items)
            items.close()
            items = either.iterate(BOUND)(stuck_in(notes))().as_async()
            await anext_(items)
            del items
            gc.collect()

        run(collect())
        wait_until(lambda: notes == ["finally", "finally"], "the end of the bodies")

    def test_a_cancelled_wait_closes_the_stream(self, either: Any) -> None:
        """
        As a cancelled ``await`` cancels a call.
        """
        notes: list[object] = []
        stream = either.iterate(BOUND)(stuck_in(notes))()

        async def collect() -> None:
            task = asyncio.ensure_future(anext_(stream.as_async()))
            assert await task == 0
            task = asyncio.ensure_future(anext_(stream.as_async()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(collect())
        wait_until(lambda: notes == ["finally"], "the end of the body")
        assert list(stream) == []

    def test_one_at_a_time(self, either: Any) -> None:
        """
        A second consumer is refused, a thread too.
        """
        stream = either.iterate(BOUND)(stuck_in([], first=0))()

        async def collect() -> None:
            first = asyncio.ensure_future(anext_(stream.as_async()))
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="is being waited for already"):
                await anext_(stream.as_async())
            with pytest.raises(ValueError, match="is being waited for already"):
                next(stream)
            stream.close()
            with pytest.raises(StopAsyncIteration):
                await first

        asyncio.run(collect())

    def test_is_released_by_a_closing_in_another_thread(self, either: Any) -> None:
        """
        At once.
        """
        stream = either.iterate(BOUND)(stuck_in([]))()

        async def collect() -> list[int]:
            return [item async for item in stream.as_async()]

        waiting = Background(asyncio.run, collect())
        pipe = stream._consumer.pipe
        wait_until(lambda: pipe.handed_over and not pipe.items and not pipe.free, "the wait")
        stream.close()
        assert waiting.outcome() == [0]

    def test_does_not_stop_the_loop(self, either: Any) -> None:
        """
        Other tasks run meanwhile.
        """
        waited: Deferred[int] = Deferred()

        async def body() -> AsyncIterator[int]:
            yield await waited

        async def collect() -> list[int]:
            either.reactor.callFromThread(waited.callback, 7)
            return [item async for item in either.iterate(BOUND)(body)().as_async()]

        async def both() -> list[list[int]]:
            return await asyncio.gather(collect(), collect_numbers())

        async def collect_numbers() -> list[int]:
            return [item async for item in either.iterate(BOUND)(numbers)(3).as_async()]

        assert asyncio.run(both()) == [[7], [0, 1, 2]]

    def test_ends_with_the_reactor(self, own: Any) -> None:
        """
        By ReactorStopped.
        """
        stream = own.iterate(None)(stuck_in([]))()

        async def collect() -> None:
            items = stream.as_async()
            assert await anext_(items) == 0
            stops = threading.Thread(target=own.loop.shutdown)
            stops.start()
            with pytest.raises(ReactorStopped):
                await anext_(items)
            await asyncio.to_thread(stops.join, BOUND)

        asyncio.run(collect())

    def test_keeps_nothing_for_each_item(self, either: Any) -> None:
        """
        A stream may be a long one.
        """
        stream = either.iterate(BOUND)(numbers)(200)

        async def collect() -> None:
            async for item in stream.as_async():
                assert item >= 0
                assert len(stream._consumer.call.callbacks) < 5

        asyncio.run(collect())


async def anext_(items: AsyncIterator[Any]) -> Any:
    """
    Return the next item.
    """
    return await items.__anext__()
