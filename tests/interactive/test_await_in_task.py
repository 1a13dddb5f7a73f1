"""
``await`` in an asyncio task, for what the reactor thread answers.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail, succeed
from twisted.internet.task import deferLater

from crochet._interactive.await_in_task import Awaiting
from support.process import FakeProcess
from support.programs import run_in_loop
from support.stepping import BOUND


@pytest.fixture
def awaiting(running: FakeProcess) -> Awaiting:
    """
    For a reactor in a thread of its own.
    """
    return Awaiting(running.loop.calls)


def here() -> str:
    """
    Name this thread.
    """
    return threading.current_thread().name


class TestAwaitable:
    """
    ``Awaiting.awaitable()``
    """

    def test_takes_deferreds(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        That have fired, will fire, or have failed. They are waited for in the reactor thread.
        """
        reactor = running.reactor
        later = running.wait_for(BOUND)(lambda: [deferLater(reactor, 0.01, here)])

        async def cell() -> None:
            assert await awaiting.awaitable(succeed(1)) == 1
            (deferred,) = later()
            threads: list[str] = []
            value = awaiting.awaitable(deferred)
            running.wait_for(BOUND)(lambda: deferred.addCallback(spy, threads) and None)()
            assert await value == "crochet-reactor"
            assert threads == ["crochet-reactor"]
            with pytest.raises(ZeroDivisionError):
                await awaiting.awaitable(fail(ZeroDivisionError()))

        def spy(value: object, threads: list[str]) -> object:
            threads.append(here())
            return value

        run_in_loop(cell())

    def test_takes_results(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        Any number of times.
        """

        async def cell() -> None:
            result = running.run_in_reactor(here)()
            assert [await awaiting.awaitable(result) for _ in range(3)] == ["crochet-reactor"] * 3

        run_in_loop(cell())

    def test_leaves_the_loop_free(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        Here it is another task that fires what this one awaits.
        """

        async def cell() -> None:
            deferred: Deferred[str] = Deferred()

            async def other() -> None:
                await asyncio.sleep(0)
                running.reactor.callFromThread(deferred.callback, "by another task")

            task = asyncio.create_task(other())
            assert await awaiting.awaitable(deferred) == "by another task"
            await task

        run_in_loop(cell())

    def test_takes_coroutines_that_await_both(
        self, running: FakeProcess, awaiting: Awaiting
    ) -> None:
        """
        In any order. They stay in this thread, and errors are theirs to catch.
        """

        async def inner(value: int) -> int:
            return await deferLater_in_reactor(value)

        def deferLater_in_reactor(value: int) -> Deferred[int]:
            deferred: Deferred[int] = Deferred()
            running.reactor.callFromThread(running.reactor.callLater, 0, deferred.callback, value)
            return deferred

        async def mixed() -> list[object]:
            seen: list[object] = [await inner(1)]
            seen.append(await asyncio.sleep(0, "asyncio"))
            seen.append(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0.001, "b")))
            try:
                await fail(KeyError("deferred"))
            except KeyError as error:
                seen.append(error.args)
            pending: Deferred[None] = Deferred()
            running.reactor.callFromThread(pending.errback, LookupError())
            try:
                await pending
            except LookupError:
                seen.append(here())
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.001)
            except asyncio.TimeoutError:
                seen.append(await inner(2))
            return seen

        async def cell() -> None:
            expected = [1, "asyncio", ["a", "b"], ("deferred",), here(), 2]
            assert await awaiting.awaitable(mixed()) == expected

        run_in_loop(cell())

    def test_takes_what_has_an_await_method(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        A generator's, or any other iterator.
        """

        class Generating:
            def __await__(self) -> Iterator[Any]:
                deferred: Deferred[str] = Deferred()
                running.reactor.callFromThread(deferred.callback, "waited")
                return (yield deferred)

        class Iterating:
            def __await__(self) -> Iterator[Any]:
                return iter([None])

        async def cell() -> None:
            assert await awaiting.awaitable(Generating()) == "waited"
            assert await awaiting.awaitable(Iterating()) is None
            future = asyncio.get_running_loop().create_future()
            assert awaiting.awaitable(future) is future
            with pytest.raises(TypeError, match="await"):
                await awaiting.awaitable(3)

        run_in_loop(cell())

    def test_raises_what_a_coroutine_raises(self, awaiting: Awaiting) -> None:
        """
        And nothing of it is kept alive by its traceback.
        """

        class Local:
            pass

        async def failing() -> None:
            local = Local()
            await asyncio.sleep(0)
            raise KeyError(local)

        async def cell() -> None:
            with pytest.raises(KeyError):
                await awaiting.awaitable(failing())

        gc.collect()
        gc.disable()
        try:
            run_in_loop(cell())
            assert not [each for each in gc.get_objects() if isinstance(each, Local)]
        finally:
            gc.enable()

    def test_cancels_what_is_awaited(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        When the task is; an operation's cleanup is waited for.
        """
        events: list[str] = []

        def deferred() -> Deferred[object]:
            return Deferred(lambda _: events.append(f"cancelled in {here()}"))

        async def coroutine() -> None:
            await deferred()

        async def operation() -> None:
            try:
                await deferred()
            finally:
                await deferLater(running.reactor, 0.01)
                events.append("cleaned up")

        async def cell(kind: Any) -> None:
            started = asyncio.Event()

            async def awaits() -> None:
                started.set()
                await awaiting.awaitable(kind())

            task = asyncio.create_task(awaits())
            await started.wait()
            running.wait_for(BOUND)(lambda: None)()  # the reactor has what was handed to it
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run_in_loop(cell(deferred))
        run_in_loop(cell(coroutine))
        assert events == ["cancelled in crochet-reactor"] * 2
        run_in_loop(cell(running.run_in_reactor(operation)))
        assert events[2:] == ["cancelled in crochet-reactor", "cleaned up"]

    def test_cancels_a_deferred_that_the_reactor_thread_has_not_looked_at(
        self, stepped: FakeProcess
    ) -> None:
        """
        Cancelling comes before its turn. What it stands for is under way all the same.
        """
        events: list[str] = []
        deferred: Deferred[None] = Deferred(lambda _: events.append("cancelled"))

        async def cell() -> None:
            task = asyncio.ensure_future(in_task(deferred))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert events == []
            stepped.reactor.turn()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert events == ["cancelled"]

        async def in_task(deferred: Deferred[None]) -> None:
            await Awaiting(stepped.loop.calls).awaitable(deferred)

        run_in_loop(cell())

    def test_cancels_what_a_closed_task_awaits(
        self, running: FakeProcess, awaiting: Awaiting
    ) -> None:
        """
        One that is dropped, with its loop.
        """
        cancelled = threading.Event()

        async def coroutine() -> None:
            await Deferred(lambda deferred: cancelled.set())

        async def cell() -> None:
            driven = awaiting.awaitable(coroutine())
            steps = driven.__await__() if hasattr(driven, "__await__") else driven
            next(steps)
            steps.close()

        run_in_loop(cell())
        assert cancelled.wait(BOUND)

    def test_tells_of_a_stopped_reactor(self, process: FakeProcess) -> None:
        """
        Here one that was never started.
        """

        async def waits() -> None:
            await Deferred()

        async def cell() -> None:
            awaiting = Awaiting(process.loop.calls)
            for kind in (Deferred, waits):
                with pytest.raises(RuntimeError, match=r"await_deferred\(\) was called before"):
                    await awaiting.awaitable(kind())

        run_in_loop(cell())

    def test_answers_when_the_loop_is_closed(
        self, running: FakeProcess, awaiting: Awaiting
    ) -> None:
        """
        And nobody is there any more: nothing is logged.
        """
        release: Deferred[str] = Deferred()

        async def stubborn() -> str:
            try:
                await Deferred()
            except CancelledError:
                return await release
            return "not cancelled"

        result = running.run_in_reactor(stubborn)()
        running.wait_for(BOUND)(lambda: None)()

        async def cell() -> None:
            steps = awaiting.awaitable(result).__await__()
            next(steps)
            steps.close()

        run_in_loop(cell())
        running.wait_for(BOUND)(lambda: release.callback("released"))()
        assert result.wait(BOUND) == "released"

    def test_leaves_things_alone_outside_of_a_task(self, awaiting: Awaiting) -> None:
        """
        Whatever drives that may know what to do with a Deferred.
        """
        deferred = succeed(1)
        assert awaiting.awaitable(deferred) is deferred
        loop = asyncio.new_event_loop()
        seen: list[object] = []
        loop.call_soon(lambda: seen.append(awaiting.awaitable(deferred)))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        assert seen == [deferred]


class TestInCell:
    """
    ``Awaiting.in_cell()``
    """

    def test_is_interrupted_by_a_cancellation_of_its_task(self, awaiting: Awaiting) -> None:
        """
        Whatever it awaits. A cell that catches it goes on, and its next timeout is one.
        """

        async def cell(value: Any, seen: list[str]) -> None:
            try:
                await awaiting.in_cell(value)
            except KeyboardInterrupt:
                seen.append("interrupted")
            assert not awaiting.is_interrupted
            assert not getattr(asyncio.current_task(), "cancelling", bool)()

        async def program() -> None:
            for value in (
                Deferred(),
                asyncio.sleep(60),
                asyncio.get_running_loop().create_future(),
            ):
                seen: list[str] = []
                task = asyncio.create_task(cell(value, seen))
                await asyncio.sleep(0)
                awaiting.is_interrupted = True
                task.cancel()
                await task
                assert seen == ["interrupted"]

        run_in_loop(program())

    def test_lets_other_cancellations_through(self, awaiting: Awaiting) -> None:
        """
        Of a future that something else has cancelled; and of its task by other than an interrupt,
        as ``asyncio.timeout()`` does it.
        """

        async def program() -> None:
            task = asyncio.create_task(awaiting.in_cell(asyncio.sleep(60)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await awaiting.in_cell(future)
            with pytest.raises(TypeError):
                await awaiting.in_cell(3)

        run_in_loop(program())


class TestAccepting:
    """
    ``Awaiting.accepting()``
    """

    def test_has_tasks_await_deferreds(self, awaiting: Awaiting) -> None:
        """
        For as long as it lasts, made by the factory that was there.
        """
        made: list[object] = []

        def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        async def both() -> object:
            await asyncio.sleep(0)
            return await succeed(1)

        async def program() -> None:
            loop = asyncio.get_running_loop()
            for before, number in ((None, 0), (factory, 2)):
                loop.set_task_factory(before)
                with awaiting.accepting(loop):
                    task = asyncio.create_task(both(), name="both")
                    assert "both()" in repr(task)
                    assert await asyncio.gather(task, succeed(2)) == [1, 2]
                assert loop.get_task_factory() is before
                assert len(made) == number
            loop.set_task_factory(None)

        run_in_loop(program())

    def test_leaves_no_coroutine_that_was_never_awaited(self, awaiting: Awaiting) -> None:
        """
        Of a task that is cancelled before its first step: Python would warn of it.
        """

        async def never() -> None:
            raise AssertionError("it is not started")

        async def program() -> None:
            with awaiting.accepting(asyncio.get_running_loop()):
                task = asyncio.create_task(never())
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        run_in_loop(program())
        gc.collect()


class TestIterable:
    """
    ``Awaiting.iterable()``
    """

    def test_awaits_each_item(self, running: FakeProcess, awaiting: Awaiting) -> None:
        """
        Deferreds and asyncio's awaitables, up to an error.
        """

        async def numbers() -> AsyncIterator[int]:
            for number in range(3):
                deferred: Deferred[int] = Deferred()
                running.reactor.callFromThread(deferred.callback, number)
                yield await deferred
                await asyncio.sleep(0)
            raise LookupError

        async def cell() -> None:
            seen: list[int] = []

            async def loop() -> None:
                async for number in awaiting.iterable(numbers()):
                    seen.append(number)

            with pytest.raises(LookupError):
                await loop()
            assert seen == [0, 1, 2]
            assert awaiting.iterable(seen) is seen

        run_in_loop(cell())


class TestManager:
    """
    ``Awaiting.manager()``
    """

    def test_awaits_the_beginning_and_the_end(
        self, running: FakeProcess, awaiting: Awaiting
    ) -> None:
        """
        Here of a lock that another has.
        """
        lock = DeferredLock()
        running.wait_for(BOUND)(lambda: lock.acquire() and None)()

        async def cell() -> None:
            running.reactor.callFromThread(running.reactor.callLater, 0, lock.release)

            async def block() -> None:
                async with awaiting.manager(lock):
                    assert lock.locked
                    raise LookupError

            with pytest.raises(LookupError):
                await block()
            assert not lock.locked
            assert awaiting.manager(3) == 3

        run_in_loop(cell())
