"""
Streams, as blocking code sees them.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

import crochet
from crochet import DeadlockError, ReactorStopped, TimeoutError
from crochet._diagnostics.dump import dump
from crochet._streams.async_stream import AsyncStream
from crochet._streams.consumer import Consumer
from crochet._streams.heartbeat import Heartbeats
from crochet._streams.iterating import Iterating
from crochet._streams.pipe import Pipe
from crochet._streams.stream import Stream
from crochet._threads.primitives import CROWD, Task, Waiter
from support.memory import cycles_of
from support.process import LoggedFailures
from support.stepping import BOUND, SOURCE, Background, FakeClock, FakeWaiter, Steps, wait_until

_colour: ContextVar[str] = ContextVar("colour", default="none")
needs_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")


class Notes(list):  # type: ignore[type-arg]
    """
    What bodies note, in order, and a way to wait for it.
    """

    def await_(self, *expected: object) -> None:
        """
        Wait until exactly this has been noted.
        """
        wait_until(lambda: len(self) >= len(expected), f"{expected}, not {self}")
        assert self == list(expected)


async def numbers(number: int) -> AsyncIterator[int]:
    for each in range(number):
        yield each


async def counted(notes: list[object], number: int = 1000) -> AsyncIterator[int]:
    """
    Note each item that is asked for, and the end.
    """
    try:
        for each in range(number):
            notes.append(each)
            yield each
    finally:
        notes.append("finally")


async def stuck(notes: list[object]) -> AsyncIterator[int]:
    """
    Yield one item, and then wait for ever.
    """
    try:
        yield 0
        await Deferred()
    finally:
        notes.append("finally")


def turn(process: Any) -> None:
    """
    Have the reactor thread do what it was given before.
    """
    process.wait_for(BOUND)(int)()


class TestItems:
    """
    What comes out.
    """

    @pytest.mark.parametrize("buffersize", [0, 1, 2, 7, 1000])
    def test_come_each_once_and_in_order(self, either: Any, buffersize: int) -> None:
        """
        Whatever the buffer.
        """
        stream = either.iterate(BOUND, buffersize=buffersize)(numbers)(500)
        assert list(stream) == list(range(500))
        assert list(stream) == []

    @pytest.mark.parametrize("buffersize", [0, 3])
    def test_come_from_a_body_that_waits(self, either: Any, buffersize: int) -> None:
        """
        For Deferreds, on any reactor, between any two.
        """

        async def body() -> AsyncIterator[int]:
            for each in range(20):
                waited: Deferred[int] = Deferred()
                either.reactor.callLater(0, waited.callback, each)
                yield await waited

        assert list(either.iterate(BOUND, buffersize=buffersize)(body)()) == list(range(20))

    def test_come_before_the_end(self, stepped_streams: Any) -> None:
        """
        1. The consumer waits. 2. The body hands over several, and ends. 3. The consumer looks.
        """
        turn = stepped_streams.reactor.turn
        stepped_streams.bridge.new_waiter = lambda: FakeWaiter(lambda _: turn())
        assert list(stepped_streams.iterate(BOUND, buffersize=10)(numbers)(3)) == [0, 1, 2]

    def test_the_end_leaves_no_other_thread_waiting(self, stepped_streams: Any) -> None:
        """
        Whose turn comes when this one has come through.
        """
        bridge = stepped_streams.bridge

        def end(_: float) -> None:
            stepped_streams.reactor.turn()
            bridge.handoff.turns.append(waiter)

        waiter = FakeWaiter(end)
        bridge.new_waiter = lambda: waiter
        assert list(stepped_streams.iterate(BOUND, buffersize=10)(numbers)(0)) == []
        assert not bridge.handoff.is_under_way()

    def test_come_before_the_error(self, either: Any) -> None:
        """
        And then the stream is over. The error has the frames of both threads.
        """

        async def body() -> AsyncIterator[int]:
            yield 1
            yield 2
            raise KeyError("of the body")

        stream = either.iterate(BOUND, buffersize=10)(body)()
        assert [next(stream), next(stream)] == [1, 2]
        with pytest.raises(KeyError, match="of the body") as caught:
            next(stream)
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[0] == "test_come_before_the_error"
        assert names[-1] == "body"
        assert list(stream) == []

    def test_a_stop_iteration_of_the_body_is_an_error(self, either: Any) -> None:
        """
        As in any generator (PEP 479): it would end the consumer's loop without a word.
        """

        async def body() -> AsyncIterator[int]:
            yield next(iter(()))

        def plain() -> AsyncIterator[int]:
            raise StopIteration

        for function in (body, plain):
            with pytest.raises(RuntimeError, match="StopIteration"):
                list(either.iterate(BOUND)(function)())

    def test_of_a_plain_async_iterator(self, either: Any) -> None:
        """
        Which needs no more than two methods.
        """

        class Three:
            left = 3

            def __aiter__(self) -> Three:
                return self

            async def __anext__(self) -> int:
                if not self.left:
                    raise StopAsyncIteration
                self.left -= 1
                return self.left

        assert list(either.iterate(BOUND)(Three)()) == [2, 1, 0]

    def test_of_what_a_coroutine_or_deferred_gives(self, either: Any) -> None:
        """
        A function that returns, or gives, something to be iterated over, will do.
        """

        async def later() -> AsyncIterator[int]:
            return numbers(2)

        def fired() -> Deferred[AsyncIterator[int]]:
            return succeed(numbers(2))

        for function in (lambda: numbers(2), later, fired):
            assert list(either.iterate(BOUND)(function)()) == [0, 1]

    def test_what_is_no_async_iterable_is_refused(self, either: Any) -> None:
        """
        With words.
        """
        for function in (lambda: [1], lambda: succeed(None)):
            with pytest.raises(
                TypeError, match=r"lambda>\(\) returned an object of .*no async ite"
            ):
                list(either.iterate(BOUND)(function)())

    def test_wrong_arguments_are_an_error_of_the_stream(self, either: Any) -> None:
        """
        Nothing hangs.
        """
        with pytest.raises(TypeError, match="argument"):
            next(either.iterate(BOUND)(numbers)(1, 2))


class TestBackPressure:
    """
    How far a body goes.
    """

    def test_without_a_buffer_it_runs_for_whoever_asks(self, either: Any) -> None:
        """
        And not before, nor further.
        """
        notes: list[object] = []
        with either.iterate(BOUND)(counted)(notes) as stream:
            turn(either)
            assert notes == []
            for number in range(3):
                assert next(stream) == number
                turn(either)
                assert notes == list(range(number + 1))
        assert notes == [0, 1, 2, "finally"]

    @pytest.mark.parametrize("buffersize", [1, 2, 5, 64])
    def test_is_so_many_items_ahead_at_most(self, either: Any, buffersize: int) -> None:
        """
        It begins at once, and goes on when half of them are taken.
        """
        notes: list[object] = []
        with either.iterate(BOUND, buffersize=buffersize)(counted)(notes) as stream:
            turn(either)
            assert len(notes) == buffersize
            for taken in range(1, 3 * buffersize):
                next(stream)
                turn(either)
                assert buffersize // 2 <= len(notes) - taken <= buffersize
        assert notes[-1] == "finally"

    def test_leaves_the_reactor_its_turns(self, stepped_streams: Any) -> None:
        """
        A body that awaits nothing, and that nobody has to wait for, does not keep it for itself.
        """
        notes: list[object] = []
        stream = stepped_streams.iterate(BOUND, buffersize=1000)(counted)(notes, 250)
        for number in (100, 200, 250):
            stepped_streams.reactor.turn()
            assert notes[:number] == notes[:250] == list(range(number))
        assert list(stream) == list(range(250))


class TestOneTask:
    """
    All of a body runs in one context, and on asyncio's reactor in one task.
    """

    def test_has_the_context_variables_of_the_caller(self, either: Any) -> None:
        """
        Its own are its own, and tokens can be used: it is one context.
        """

        async def body() -> AsyncIterator[str]:
            yield _colour.get()
            token = _colour.set("blue")
            yield _colour.get()
            _colour.reset(token)
            yield _colour.get()

        def iterate() -> list[str]:
            _colour.set("red")
            stream = either.iterate(BOUND)(body)()
            _colour.set("green")
            return list(stream)

        assert copy_context().run(iterate) == ["red", "blue", "red"]
        assert _colour.get() == "none"

    def test_is_one_task(self, on_asyncio: Any) -> None:
        """
        From its first line to its finally.
        """
        tasks: list[object] = []

        async def body() -> AsyncIterator[int]:
            try:
                for each in range(100):
                    tasks.append(asyncio.current_task())
                    yield each
                    await asyncio.sleep(0)
            finally:
                tasks.append(asyncio.current_task())

        with on_asyncio.iterate(BOUND)(body)() as stream:
            assert [next(stream) for _ in range(4)] == [0, 1, 2, 3]
        assert len(tasks) == 5
        assert tasks[0] is not None
        assert len(set(map(id, tasks))) == 1

    @needs_3_11
    def test_a_timeout_around_a_yield_ends_the_body(self, on_asyncio: Any) -> None:
        """
        Also while it is at the yield, for nobody asks for an item.
        """
        notes = Notes()

        async def body() -> AsyncIterator[int]:
            try:
                async with asyncio.timeout(0.05):
                    for each in range(1000):
                        yield each
                        await Deferred()
            except builtins_timeout:
                notes.append("over")
                yield -1

        builtins_timeout = asyncio.TimeoutError
        waits = on_asyncio.iterate(BOUND)(body)()
        assert list(waits) == [0, -1]
        at_yield = on_asyncio.iterate(BOUND)(body)()
        assert next(at_yield) == 0
        notes.await_("over", "over")
        assert list(at_yield) == [-1]

    @needs_3_11
    def test_a_timeout_of_a_body_is_its_error(self, on_asyncio: Any) -> None:
        """
        If it does not catch that.
        """

        async def body() -> AsyncIterator[int]:
            async with asyncio.timeout(0.01):
                yield 1
                await asyncio.sleep(BOUND)

        stream = on_asyncio.iterate(BOUND)(body)()
        assert next(stream) == 1
        with pytest.raises(asyncio.TimeoutError) as caught:
            next(stream)
        assert not isinstance(caught.value, TimeoutError)

    @needs_3_11
    def test_a_task_group_around_a_yield_ends_with_it(self, on_asyncio: Any) -> None:
        """
        Its tasks are cancelled when the stream is closed, and what it wraps the end in is no error.
        """
        notes: list[object] = []

        async def child() -> None:
            try:
                await asyncio.sleep(BOUND)
            finally:
                notes.append("child")

        async def body() -> AsyncIterator[int]:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(0)
                yield 1
                yield 2

        with on_asyncio.iterate(BOUND)(body)() as stream:
            assert next(stream) == 1
        assert notes == ["child"]

    @needs_3_11
    def test_a_child_that_fails_ends_the_body_at_the_yield(self, on_asyncio: Any) -> None:
        """
        And its error is the stream's.
        """

        async def child() -> None:
            raise KeyError("of a child")

        async def body() -> AsyncIterator[int]:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                while True:
                    yield 1

        stream = on_asyncio.iterate(BOUND)(body)()
        with pytest.raises(BaseException, match="TaskGroup") as caught:
            list(stream)
        assert isinstance(caught.value.exceptions[0], KeyError)  # type: ignore[attr-defined]

    def test_anyios_cancel_scopes_work_across_yields(self, on_asyncio: Any) -> None:
        """
        It complains of a scope that is left in another task.
        """
        anyio = pytest.importorskip("anyio")
        notes = Notes()

        async def body() -> AsyncIterator[int]:
            with anyio.move_on_after(0.05) as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, BOUND)
                    yield 1
                    await anyio.sleep(BOUND)
            notes.append(scope.cancel_called)
            yield 2

        assert list(on_asyncio.iterate(BOUND)(body)()) == [1, 2]
        stream = on_asyncio.iterate(BOUND)(body)()
        assert next(stream) == 1
        notes.await_(True, True)  # at the yield
        assert list(stream) == [2]
        with on_asyncio.iterate(BOUND)(body)() as stream:
            assert next(stream) == 1


class TestTheEnd:
    """
    A body ends when its consumer does.
    """

    @pytest.mark.parametrize("body", [counted, stuck])
    @pytest.mark.parametrize("buffersize", [0, 1, 3])
    def test_of_the_with_block(self, either: Any, body: Any, buffersize: int) -> None:
        """
        By a break, say. Its finally has run by then.
        """
        notes: list[object] = []
        with either.iterate(BOUND, buffersize=buffersize)(body)(notes) as stream:
            for each in stream:
                assert each == 0
                break
        assert notes.count("finally") == 1
        assert list(stream) == []
        stream.close()
        assert notes.count("finally") == 1

    def test_of_the_last_reference(self, either: Any) -> None:
        """
        Also where that is dropped by the reactor thread, in a garbage collection say. Nobody waits.
        """
        notes = Notes()
        stream = either.iterate(BOUND)(stuck)(notes)
        next(stream)
        del stream
        notes.await_("finally")
        kept = [either.iterate(BOUND)(counted)(notes)]
        next(kept[0])
        either.wait_for(BOUND)(kept.clear)()
        notes.await_("finally", 0, "finally")

    def test_of_the_last_reference_where_there_is_no_stack_left(self, either: Any) -> None:
        """
        To tell the finalizer thread: the watch sees to it.
        """
        notes = Notes()
        kept = [either.iterate(BOUND)(stuck)(notes)]
        next(kept[0])

        def drop() -> None:
            try:
                drop()
            finally:
                kept.clear()

        with pytest.raises(RecursionError):
            drop()
        either.wait_for(BOUND)(either.bridge.look_for_stranded)()
        notes.await_("finally")

    @pytest.mark.parametrize("buffersize", [0, 1])
    def test_of_a_stream_in_a_cycle(self, either: Any, buffersize: int) -> None:
        """
        The garbage collection finds nothing else: the body ends in the reactor thread.
        """
        threads = Notes()

        async def body() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                threads.append(threading.get_ident())

        cycle: list[object] = [either.iterate(BOUND, buffersize=buffersize)(body)()]
        assert next(cycle[0]) == 1  # type: ignore[call-overload]
        turn(either)
        cycle.append(cycle)
        del cycle
        gc.collect()
        threads.await_(either.bridge.reactor_thread)

    def test_before_its_beginning(self, either: Any) -> None:
        """
        There was nothing to end: the function is not even called.
        """
        called: list[object] = []

        def function() -> AsyncIterator[int]:
            called.append(1)
            return numbers(1)

        stream = either.iterate(BOUND)(function)()
        turn(either)
        stream.close()
        with either.iterate(BOUND)(function)() as stream:
            pass
        assert list(stream) == []
        turn(either)
        assert called == []
        assert either.bridge.in_flight == set()

    def test_before_the_reactor_comes_to_it(self, either: Any) -> None:
        """
        Nothing is queued any more, and nobody waits for a busy reactor.
        """
        go_on = threading.Event()
        blocks = either.run_in_reactor(go_on.wait)(BOUND)
        try:
            stream = either.iterate(BOUND, buffersize=1)(counted)([])
            stream.close()
            assert list(stream) == []
        finally:
            go_on.set()
        assert blocks.wait(BOUND)

    def test_releases_the_thread_that_waits(self, either: Any) -> None:
        """
        By StopIteration, when another closes the stream.
        """
        notes: list[object] = []
        stream = either.iterate(BOUND)(stuck)(notes)
        next(stream)
        waiting = Background(list, stream)
        wait_until(lambda: not stream._consumer.pipe.free, "the wait")
        stream.close()
        assert waiting.outcome() == []
        assert notes == ["finally"]

    def test_is_closed_at_the_yield(self, either: Any) -> None:
        """
        As generators are. While it awaits something it is cancelled.
        """
        notes: list[object] = []

        async def body(*, waits: bool) -> AsyncIterator[int]:
            try:
                yield 1
                await Deferred()
            except BaseException as error:
                notes.append(type(error))
                raise

        stream = either.iterate(BOUND)(body)(waits=False)
        next(stream)
        stream.close()
        assert notes == [GeneratorExit]
        with either.iterate(0.05, buffersize=1)(body)(waits=True) as stream:
            turn(either)
            next(stream)
            with pytest.raises(TimeoutError):
                next(stream)
        assert notes == [GeneratorExit, CancelledError]

    def test_a_body_that_goes_on_is_ended(self, either: Any, logged: LoggedFailures) -> None:
        """
        It has caught the cancellation, and yields another item, which nobody wants.
        """
        notes: list[object] = []

        async def body() -> AsyncIterator[int]:
            try:
                try:
                    yield 1
                    await Deferred()
                except CancelledError:
                    yield 2
            finally:
                notes.append("finally")

        with either.iterate(BOUND, buffersize=3)(body)() as stream:
            next(stream)
            turn(either)
        assert notes == ["finally"]
        assert list(stream) == []

    def test_another_error_is_logged(self, either: Any, logged: LoggedFailures) -> None:
        """
        Once: whoever closes has nothing to do with it.
        """
        error = ValueError("of a cleanup")

        async def body(*, waits: bool) -> AsyncIterator[int]:
            try:
                yield 1
                await Deferred()
            finally:
                raise error

        for waits in (False, True):
            stream = either.iterate(BOUND, buffersize=int(waits))(body)(waits=waits)
            next(stream)
            turn(either)
            stream.close()
            assert logged.take() == [error]

    def test_cleanup_that_takes_time_is_not_interrupted(self, either: Any) -> None:
        """
        By a second closing. Nobody waits for longer than the grace.
        """
        notes = Notes()
        cleaned: Deferred[None] = Deferred()

        async def body() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                notes.append("begins")
                await cleaned
                notes.append("ends")

        stream = either.iterate(BOUND, grace=0.05)(body)()
        next(stream)
        for _ in range(3):
            stream.close()
        del stream
        gc.collect()
        turn(either)
        assert notes == ["begins"]
        either.wait_for(BOUND)(lambda: cleaned.callback(None))()
        notes.await_("begins", "ends")

    def test_in_the_reactor_thread_nobody_waits(self, either: Any) -> None:
        """
        It would wait for itself.
        """
        notes = Notes()
        stream = either.iterate(BOUND)(stuck)(notes)
        next(stream)
        either.wait_for(BOUND)(stream.close)()
        notes.await_("finally")
        assert list(stream) == []

    def test_leaves_no_cycle(self, either: Any) -> None:
        """
        Neither an end, nor an error, nor a timeout.
        """

        async def failing() -> AsyncIterator[int]:
            yield 1
            raise KeyError

        bodies: list[Any] = [(failing, BOUND)]
        if sys.version_info < (3, 12):  # the frames of Twisted's errback() hold what it throws in
            bodies += [(stuck, 0.02), (counted, BOUND)]

        def act() -> None:
            for body, timeout in bodies:
                args = () if body is failing else ([],)
                stream = either.iterate(timeout, buffersize=1)(body)(*args)
                try:
                    for each in stream:
                        if each == 7:
                            break
                except (KeyError, TimeoutError):
                    pass
                stream.close()
                del stream
            for _ in range(2):
                turn(either)

        assert cycles_of(act) == 0

    @pytest.mark.parametrize("way", ["next", "heartbeat", "async"])
    def test_is_not_held_by_an_error(self, either: Any, way: str) -> None:
        """
        Of its body, which a program may keep: none of our frames has the stream, or what it has.
        """

        async def body() -> AsyncIterator[int]:
            raise KeyError
            yield

        async def take() -> None:
            await either.iterate(BOUND)(body)().as_async().__anext__()

        ways: dict[str, Callable[[], object]] = {
            "next": lambda: next(either.iterate(BOUND)(body)()),
            "heartbeat": lambda: next(either.iterate(BOUND)(body)().with_heartbeat(BOUND)),
            "async": lambda: asyncio.run(take()),
        }
        with pytest.raises(KeyError) as caught:
            ways[way]()
        held = [
            (frame.f_code.co_name, name)
            for frame, _ in traceback.walk_tb(caught.value.__traceback__)
            for name, value in frame.f_locals.items()
            if isinstance(value, (Stream, Heartbeats, AsyncStream, Consumer, Pipe))
            and "drive" not in frame.f_code.co_filename
        ]
        assert held == []


class TestTimeouts:
    """
    Each wait for an item is bounded.
    """

    @pytest.mark.usefixtures("patient")
    def test_close_the_stream(self, either: Any) -> None:
        """
        The error tells why, and what became of the body, which has ended.
        """
        notes: list[object] = []
        stream = either.iterate(0.05, buffersize=1)(stuck)(notes)
        turn(either)
        next(stream)
        expected = (
            r"stuck\(\) has not given its next item in 0.05 s; it was cancelled\. It has given 1 "
            r"item so far, and waits in test_stream\.py:\d+ stuck\(\) > a Deferred\."
        )
        with pytest.raises(TimeoutError, match=expected) as caught:
            next(stream)
        assert notes == ["finally"]
        assert caught.value.cancelled
        assert caught.value.ended
        assert caught.value.state == "waiting"
        assert list(stream) == []

    def test_of_a_body_that_has_not_begun(self, stepped_streams: Any) -> None:
        """
        It never will.
        """
        called: list[object] = []
        stream = stepped_streams.iterate(0)(called.append)(1)
        with pytest.raises(TimeoutError, match=r"append\(\) has not started in 0 s; it was with"):
            next(stream)
        stepped_streams.reactor.turn()
        assert called == []

    def test_of_a_reactor_that_is_busy(self, either: Any) -> None:
        """
        The error tells with what, though the stream is older than that.
        """
        go_on, blocks = threading.Event(), threading.Event()
        stream = either.iterate(0.2, buffersize=1)(stuck)([])
        turn(either)
        next(stream)

        def block() -> None:
            blocks.set()
            go_on.wait(BOUND)

        either.run_in_reactor(block)()
        assert blocks.wait(BOUND)
        with pytest.raises(TimeoutError, match=r"waits in test_stream\.py:\d+ block\(\)") as caught:
            next(stream)
        assert not caught.value.ended
        go_on.set()
        turn(either)

    def test_can_be_another_for_a_call(self, either: Any) -> None:
        """
        Also for a method.
        """

        class Client:
            @either.iterate(BOUND, buffersize=1)  # type: ignore[untyped-decorator]
            async def events(self) -> AsyncIterator[int]:
                yield 1
                await Deferred()

        stream = Client().events.with_timeout(0.01)()
        turn(either)
        assert next(stream) == 1
        with pytest.raises(TimeoutError, match=r"in 0\.01 s"):
            next(stream)

    def test_deadlines_count(self, either: Any) -> None:
        """
        That around the wait does, whenever the stream was made.
        """
        stream = either.iterate(BOUND, buffersize=1)(stuck)([])
        turn(either)
        with crochet.deadline(0.05):
            next(stream)
            with pytest.raises(TimeoutError, match=r"all that deadline\(\) left it"):
                next(stream)
        assert list(stream) == []

    def test_an_item_in_time_counts(
        self, stepped_streams: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The consumer's time is over. 2. The item is handed over. 3. The consumer finds it, and
        closes nothing.
        """

        class LateWaiter(FakeWaiter):
            def wait(self, seconds: float) -> Task | None:
                task = super().wait(seconds)
                stepped_streams.reactor.turn()
                return task

        clock = FakeClock()
        clock.install(monkeypatch)
        stepped_streams.bridge.new_waiter = lambda: LateWaiter(clock=clock)
        stream = stepped_streams.iterate(5)(numbers)(2)
        assert list(stream) == [0, 1]

    def test_another_is_released_where_many_wait(
        self, stepped_streams: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The thread that would be next to come; see Waits.
        """
        clock, ends = FakeClock(), list[float]()
        clock.install(monkeypatch)
        waiter = FakeWaiter(lambda _: ends.append(waiter.end), clock)
        bridge = stepped_streams.bridge
        bridge.new_waiter = lambda: waiter
        others = [Waiter() for _ in range(2 * CROWD)]
        for number, other in enumerate(others):
            other.end = 1.0 + number
        bridge.waits.update(dict.fromkeys(others, (-1, None)))
        with pytest.raises(TimeoutError):
            next(stepped_streams.iterate(5)(stuck)([]))
        assert ends[0] == 5.0
        assert [other.empty() for other in others[:3]] == [False, True, True]


class TestConsumers:
    """
    Who may ask for items.
    """

    def test_one_thread_at_a_time(self, either: Any) -> None:
        """
        As with generators. The one that waits is left alone.
        """
        ready: Deferred[int] = Deferred()

        async def body() -> AsyncIterator[int]:
            yield await ready

        stream = either.iterate(BOUND)(body)()
        waiting = Background(next, stream)
        wait_until(lambda: not stream._consumer.pipe.free, "the wait")
        with pytest.raises(ValueError, match=r"next item of body\(\) is being waited for already"):
            next(stream)
        either.run_in_reactor(ready.callback)(7)
        assert waiting.outcome() == 7
        assert list(stream) == []

    def test_one_thread_after_another(self, either: Any) -> None:
        """
        A stream may be handed on.
        """
        stream = either.iterate(BOUND)(numbers)(3)
        assert next(stream) == 0
        assert Background(next, stream).outcome() == 1
        assert list(stream) == [2]

    def test_not_the_reactors(self, either: Any) -> None:
        """
        It would wait for itself. The stream stays as it is.
        """
        stream = either.iterate(BOUND, buffersize=2)(numbers)(2)
        turn(either)
        with pytest.raises(DeadlockError, match=r"next item of numbers\(\) in the reactor thread"):
            either.wait_for(BOUND)(next)(stream)
        assert list(stream) == [0, 1]

    def test_can_be_asked_into_by_the_body(self, either: Any) -> None:
        """
        ``run_in_caller()`` finds the thread that waits.
        """
        from crochet._core.run_in_caller import run_in_caller

        async def body() -> AsyncIterator[int]:
            for _ in range(3):
                yield await run_in_caller(either.bridge, threading.get_ident)

        assert list(either.iterate(BOUND)(body)()) == [threading.get_ident()] * 3

    def test_a_deadlock_is_seen(self, either: Any) -> None:
        """
        The reactor thread waits for the one that waits for an item.
        """
        from crochet._diagnostics.deadlock import blocked_in

        stream = either.iterate(BOUND)(stuck)([])
        next(stream)
        waiting = Background(next, stream)
        wait_until(lambda: not stream._consumer.pipe.free, "the wait")
        either.reactor.callFromThread(waiting.thread.join, BOUND)

        def circle() -> list[Any]:
            blocked = blocked_in(either.bridge.reactor_thread, either.bridge)
            return blocked.waits if blocked is not None else []

        wait_until(lambda: bool(circle()), "a circle")
        (wait,) = circle()
        assert wait.name == "stuck"
        stream.close()
        assert isinstance(_error_of(waiting), StopIteration)

    def test_cannot_be_had_twice(self, either: Any) -> None:
        """
        A copy would take the other's items.
        """
        stream = either.iterate(BOUND)(numbers)(2)
        for attempt in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError, match="a Stream cannot be copied or pickled"):
                attempt(stream)
        assert repr(stream) == "<Stream of numbers(): open>"
        stream.close()
        assert repr(stream) == "<Stream of numbers(): closed>"

    def test_a_stream_is_no_async_iterable(self, either: Any) -> None:
        """
        Nor is what ``as_async()`` returns an iterator: servers ask for one, and then for the other.
        """
        stream = either.iterate(BOUND)(numbers)(2)
        assert not hasattr(stream, "__aiter__")
        assert not hasattr(stream.as_async(), "__iter__")
        stream.close()


class TestStatus:
    """
    What ``status()`` and ``dump()`` show of an open stream.
    """

    def test_tells_how_far_it_is(self, either: Any, tmp_path: Path) -> None:
        """
        And who waits for whom.
        """
        stream = either.iterate(BOUND, buffersize=2)(stuck)([])
        turn(either)
        (call,) = either.loop.status().calls
        assert call.details == "1 item handed over, 1 of them buffered"
        assert next(stream) == 0
        waiting = Background(list, stream)
        wait_until(lambda: stream._consumer.pipe.wake is not None, "the wait")
        (call,) = either.loop.status().calls
        assert call.details == "1 item handed over, 0 of them buffered, its consumer waits"
        assert f"stuck() > a Deferred; {call.details}" in str(either.loop.status())
        with (tmp_path / "dump").open("w+") as file:
            dump(either.bridge, file, sys._getframe())
            file.seek(0)
            assert f"stuck(): started, and waits for its Deferred; {call.details}" in file.read()
        stream.close()
        assert waiting.outcome() == []
        assert either.loop.status().calls == ()

    def test_tells_of_a_body_that_nobody_asks(self, either: Any) -> None:
        """
        It waits for its consumer, and for nothing else.
        """
        with either.iterate(BOUND, buffersize=1)(counted)([]) as stream:
            turn(either)
            next(stream)
            turn(either)
            (call,) = either.loop.status().calls
            assert call.details == "2 items handed over, 1 of them buffered, waits for its consumer"
            assert str(either.loop.status()).endswith(f"  {call.details}")

    def test_of_other_calls_has_no_details(self, either: Any) -> None:
        """
        Nothing is known of them.
        """
        waited: Deferred[None] = Deferred()
        result = either.run_in_reactor(lambda: waited)()
        (call,) = either.loop.status().calls
        assert call.details == ""
        result.cancel()


def _error_of(background: Background[Any]) -> BaseException:
    try:
        background.outcome()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class TestInterruptions:
    """
    Ctrl-C, and whatever else a signal handler raises.
    """

    @pytest.mark.usefixtures("patient")
    def test_close_the_stream(self, either: Any) -> None:
        """
        The body's finally has run when it comes through.
        """
        notes: list[object] = []
        stream = either.iterate(BOUND)(stuck)(notes)
        next(stream)
        wakes = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
        wakes.start()
        with pytest.raises(KeyboardInterrupt) as caught:
            next(stream)
        wakes.join()
        assert notes == ["finally"]
        assert list(stream) == []
        if sys.version_info >= (3, 11):
            (note,) = caught.value.__notes__
            assert note == "stuck() was told to cancel, and its Deferred was cancelled."

    @pytest.mark.parametrize("buffersize", [0, 2])
    @pytest.mark.parametrize("body", [counted, stuck])
    def test_at_any_step_leave_nothing_behind(
        self, either: Any, body: Callable[..., Any], buffersize: int
    ) -> None:
        """
        Wherever Python looks for signals in next(), or in close(): the exception comes through, the
        body ends, once, and the stream with it.
        """

        class Interrupt(BaseException):
            """
            What the handler raises.
            """

        def interrupt() -> None:
            raise Interrupt

        def act(stream: Any) -> None:
            next(stream)
            stream.close()

        at, is_over = 0, False
        while not is_over:
            notes = Notes()
            stream = either.iterate(BOUND, buffersize=buffersize)(body)(notes)
            steps = Steps(at, interrupt, SOURCE, is_signal=True)
            try:
                steps.run(lambda stream=stream: act(stream))  # type: ignore[misc]
            except Interrupt:
                pass
            else:
                is_over = not steps.is_over
                assert is_over, f"the exception was lost at step {at}"
            # One that came before the first step of either finds the stream as it was before.
            assert stream._consumer.pipe.is_closed or stream._consumer.pipe.free, (
                f"half a wait is left, step {at}"
            )
            assert stream._consumer.pipe.is_closed or not stream._consumer.pipe.wake, (
                f"a waiter is left, step {at}"
            )
            if body is counted:
                assert list(stream) in ([], list(range(1000)), list(range(1, 1000)))
            del stream
            wait_until(lambda: not either.bridge.in_flight, f"the end of the body after step {at}")
            assert notes.count("finally") <= 1
            if notes:
                assert notes[-1] == "finally"
            at += 1
        assert at > 10


class TestTheReactorsEnd:
    """
    Streams end with it.
    """

    @pytest.mark.parametrize("body", [counted, stuck])
    def test_by_shutdown(self, own: Any, body: Any) -> None:
        """
        The body's finally runs, whoever waits gets ReactorStopped, and then the stream is over.
        """
        notes: list[object] = []
        stream = own.iterate(BOUND)(body)(notes)
        next(stream)
        own.loop.shutdown()
        assert notes == ([0, "finally"] if body is counted else ["finally"])
        with pytest.raises(ReactorStopped, match=r"shutdown\(\) has stopped"):
            next(stream)
        assert list(stream) == []
        with pytest.raises(ReactorStopped):
            own.iterate(BOUND)(body)(notes)

    def test_releases_who_waits(self, own: Any) -> None:
        """
        At once.
        """
        stream = own.iterate(None)(stuck)([])
        next(stream)
        waiting = Background(next, stream)
        wait_until(lambda: not stream._consumer.pipe.free, "the wait")
        own.loop.shutdown()
        assert isinstance(_error_of(waiting), ReactorStopped)

    def test_gives_what_was_handed_over_first(self, own: Any) -> None:
        """
        Those items are there.
        """
        stream = own.iterate(BOUND, buffersize=3)(counted)([])
        turn(own)
        own.loop.shutdown()
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ReactorStopped):
            next(stream)

    def test_before_its_beginning_there_is_none(self, process: Any) -> None:
        """
        Without ``setup()`` a call is refused as it is made, and nothing is left behind.
        """
        iterate = Iterating(process.bridge).iterate_in_reactor
        with pytest.raises(RuntimeError, match=r"numbers\(\) was called before crochet\.setup"):
            iterate(BOUND)(numbers)(1)
        assert process.bridge.in_flight == set()


class TestForks:
    """
    In a child a stream is the parent's.
    """

    @pytest.mark.parametrize("buffersize", [0, 5])
    def test_is_over_at_once(self, stepped_streams: Any, buffersize: int) -> None:
        """
        Whatever is buffered: the parent takes that. It raises ReactorStopped, once.
        """
        stream = stepped_streams.iterate(BOUND, buffersize=buffersize)(numbers)(3)
        stepped_streams.reactor.turn()
        stepped_streams.fork()
        with pytest.raises(ReactorStopped, match="this process was forked"):
            next(stream)
        assert list(stream) == []
        stream.close()
        assert stepped_streams.iterate is not None

    def test_also_if_its_body_had_ended(self, stepped_streams: Any) -> None:
        """
        Only the items were left.
        """
        stream = stepped_streams.iterate(BOUND, buffersize=5)(numbers)(3)
        stepped_streams.reactor.turn()
        assert not stepped_streams.bridge.in_flight
        stepped_streams.fork()
        with pytest.raises(ReactorStopped, match="this process was forked"):
            next(stream)
        assert list(stream) == []
