"""
``await`` of a result, in whatever loop the coroutine runs.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from crochet import EventualResult
from support.process import FakeProcess
from support.stepping import BOUND, together


def _held(process: FakeProcess) -> tuple[Deferred[Any], EventualResult[Any], list[object]]:
    """
    Start an operation that ends when its Deferred is fired; also return who cancelled it.
    """
    told: list[object] = []
    deferred: Deferred[Any] = Deferred(told.append)
    result = process.run_in_reactor(lambda: deferred)()
    process.wait_for(BOUND)(lambda: None)()  # by now it has started
    return deferred, result, told


class TestInAsyncio:
    """
    In a loop of another thread than the reactor's.
    """

    def test_gives_the_value_of_a_result(self, running: FakeProcess) -> None:
        """
        That is there, or is still to come.
        """

        async def main() -> list[Any]:
            deferred, result, _ = _held(running)
            later = asyncio.ensure_future(_value(result))
            await asyncio.sleep(0)
            assert not later.done()
            running.reactor.callFromThread(deferred.callback, "value")
            return [await later, await result, await result]

        assert asyncio.run(main()) == ["value"] * 3

    def test_raises_the_error(self, running: FakeProcess) -> None:
        """
        To each who awaits it an object of its own, with the frames of both sides.
        """

        async def body() -> None:
            raise LookupError("of a body")

        async def main() -> list[Any]:
            result = running.run_in_reactor(body)()
            return await asyncio.gather(*[_value(result) for _ in range(3)], return_exceptions=True)

        errors = asyncio.run(main())
        assert [type(error) for error in errors] == [LookupError] * 3
        assert len({id(error) for error in errors}) == 3
        names = [frame.tb_frame.f_code.co_name for frame in _frames(errors[0])]
        assert names[0] == "_value"
        assert names[-1] == "body"

    def test_leaves_the_loop_free(self, running: FakeProcess) -> None:
        """
        For any number of others.
        """
        number = 500

        async def main() -> list[int]:
            held = [_held(running) for _ in range(number)]
            waiting = asyncio.gather(*[_value(result) for _, result, _ in held])
            turns = 0
            while turns < 10:
                await asyncio.sleep(0)
                turns += 1
            for index, (deferred, _, _) in enumerate(held):
                running.reactor.callFromThread(deferred.callback, index)
            return await waiting

        before = threading.active_count()
        assert asyncio.run(main()) == list(range(number))
        assert threading.active_count() == before

    @pytest.mark.parametrize("how", ["cancel", "wait_for"])
    def test_that_is_cancelled_cancels_the_operation(self, running: FakeProcess, how: str) -> None:
        """
        By its task, or because its time is over.
        """
        told: list[object] = []

        async def main() -> None:
            _, result, told_here = _held(running)
            task = asyncio.ensure_future(_value(result))
            await asyncio.sleep(0)
            if how == "cancel":
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(task, 0.01)
            with pytest.raises(CancelledError):
                result.wait(BOUND)
            told.extend(told_here)

        asyncio.run(main())
        assert len(told) == 1

    def test_that_is_cancelled_as_the_answer_comes(self, running: FakeProcess) -> None:
        """
        1. The answer has the loop called. 2. The task is cancelled. 3. The call finds it so.
        """

        async def main() -> None:
            deferred, result, _ = _held(running)
            task = asyncio.ensure_future(_value(result))
            await asyncio.sleep(0)
            running.reactor.callFromThread(deferred.callback, 7)
            assert result.wait(BOUND) == 7  # in step 1, for this thread runs the loop
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)

        asyncio.run(main())

    def test_in_a_loop_that_has_been_closed(self, running: FakeProcess) -> None:
        """
        Is nobody's any more, and does no harm to the reactor.
        """
        deferred, result, _ = _held(running)
        coroutine = _value(result)

        async def main() -> None:
            coroutine.send(None)

        asyncio.run(main())
        running.reactor.callFromThread(deferred.callback, 7)
        assert result.wait(BOUND) == 7
        assert running.wait_for(BOUND)(lambda: 7)() == 7
        coroutine.close()

    def test_from_many_threads(self, running: FakeProcess) -> None:
        """
        Each with a loop of its own, of the same result.
        """
        deferred, result, _ = _held(running)
        running.reactor.callFromThread(running.reactor.callLater, 0.01, deferred.callback, 7)
        assert together(8, lambda index: asyncio.run(_value(result))) == [7] * 8


async def _value(result: EventualResult[Any]) -> Any:
    return await result


def _frames(error: BaseException) -> list[Any]:
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    return frames


class TestInTheReactor:
    """
    In a coroutine that Twisted drives.
    """

    def test_gives_the_value(self, running: FakeProcess) -> None:
        """
        Of a call made there, or brought along.
        """
        deferred, result, _ = _held(running)

        async def body() -> list[Any]:
            inner = running.run_in_reactor(lambda: 7)()
            running.reactor.callLater(0, deferred.callback, "value")
            return [await inner, await inner, await result]

        assert running.wait_for(BOUND)(body)() == [7, 7, "value"]

    def test_raises_the_error(self, running: FakeProcess) -> None:
        """
        As it is.
        """

        async def failing() -> None:
            raise LookupError("of a body")

        async def body() -> None:
            await running.run_in_reactor(failing)()

        with pytest.raises(LookupError, match="of a body"):
            running.wait_for(BOUND)(body)()

    def test_that_is_cancelled_cancels_the_operation(self, running: FakeProcess) -> None:
        """
        When the outer operation is.
        """
        _, inner, told = _held(running)

        async def body() -> None:
            await inner

        outer = running.run_in_reactor(body)()
        running.wait_for(BOUND)(lambda: None)()
        outer.cancel()
        for result in (outer, inner):
            with pytest.raises(CancelledError):
                result.wait(BOUND)
        assert len(told) == 1

    def test_of_a_call_that_another_thread_withdraws(self, stepped: FakeProcess) -> None:
        """
        1. The awaited call has not started. 2. Another thread cancels it, and so answers it.
        3. The coroutine goes on in the reactor thread.
        """
        threads: list[int] = []
        inner: list[EventualResult[Any]] = []

        async def body() -> None:
            inner.append(stepped.run_in_reactor(lambda: 7)())
            try:
                await inner[0]
            finally:
                threads.append(threading.get_ident())

        outer = stepped.run_in_reactor(body)()
        with_reactor_ident = stepped.bridge.reactor_thread
        stepped.bridge.reactor_thread = threading.get_ident()
        stepped.bridge.drain_in_reactor([])
        stepped.bridge.reactor_thread = with_reactor_ident
        canceller = threading.Thread(target=inner[0].cancel)
        canceller.start()
        canceller.join(BOUND)
        assert threads == []
        stepped.reactor.turn()
        assert threads == [threading.get_ident()]
        with pytest.raises(CancelledError):
            outer.wait(0)


class TestElsewhere:
    """
    Where there is no loop, or another.
    """

    def test_is_refused(self, running: FakeProcess) -> None:
        """
        With what to do instead. The operation is cancelled, for nobody awaits it.
        """
        _, result, told = _held(running)
        with pytest.raises(
            RuntimeError, match=r"no asyncio loop, .* Use wait\(\) instead of await"
        ):
            _value(result).send(None)
        with pytest.raises(CancelledError):
            result.wait(BOUND)
        assert len(told) == 1

    def test_of_a_result_that_is_there_needs_no_loop(self, running: FakeProcess) -> None:
        """
        It is not waited for.
        """
        result = running.run_in_reactor(lambda: 7)()
        assert result.wait(BOUND) == 7
        with pytest.raises(StopIteration) as stopped:
            _value(result).send(None)
        assert stopped.value.value == 7

    def test_in_trio(self, running: FakeProcess) -> None:
        """
        Whose tasks are another kind: the value, the error, a cancellation that goes through.
        """
        trio = pytest.importorskip("trio")

        async def failing() -> None:
            raise LookupError("of a body")

        async def main() -> tuple[Any, ...]:
            deferred, result, _ = _held(running)
            running.reactor.callFromThread(running.reactor.callLater, 0.01, deferred.callback, 7)
            value = await result
            with pytest.raises(LookupError, match="of a body"):
                await running.run_in_reactor(failing)()
            _, unending, told = _held(running)
            with trio.move_on_after(0.01) as scope:
                await unending
            return value, scope.cancelled_caught, unending, told

        value, is_cancelled, unending, told = trio.run(main)
        with pytest.raises(CancelledError):
            unending.wait(BOUND)
        assert (value, is_cancelled, len(told)) == (7, True, 1)

    def test_in_trio_that_is_cancelled_as_the_answer_comes(self, running: FakeProcess) -> None:
        """
        1. The answer has the loop called. 2. The task is cancelled. 3. The call finds it so.
        """
        trio = pytest.importorskip("trio")
        blocked = pytest.importorskip("trio.testing").wait_all_tasks_blocked
        deferred, result, _ = _held(running)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_value, result)
                await blocked()
                running.reactor.callFromThread(deferred.callback, 7)
                assert result.wait(BOUND) == 7  # in step 1, for this thread runs the loop
                nursery.cancel_scope.cancel()
            await trio.lowlevel.checkpoint()
            await blocked()

        trio.run(main)

    def test_in_a_trio_loop_that_has_ended(self, running: FakeProcess) -> None:
        """
        Is nobody's any more, and does no harm to the reactor.
        """
        trio = pytest.importorskip("trio")
        deferred, result, _ = _held(running)
        coroutine = _value(result)

        async def main() -> None:
            coroutine.send(None)

        trio.run(main)
        running.reactor.callFromThread(deferred.callback, 7)
        assert result.wait(BOUND) == 7
        assert running.wait_for(BOUND)(lambda: 7)() == 7
        coroutine.close()
