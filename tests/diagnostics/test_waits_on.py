"""
What an operation waits on: from its Deferred down to the innermost frame.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.defer import (
    Deferred,
    DeferredLock,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
    succeed,
)
from twisted.internet.task import Clock, deferLater

from crochet._diagnostics import waits_on as _awaits
from crochet._diagnostics.frames import Place
from crochet._diagnostics.waits_on import Deferral, awaits, is_unknown, path_of, told


async def wait(deferred: Deferred[Any]) -> Any:
    return await deferred


async def call_wait(deferred: Deferred[Any]) -> Any:
    return await wait(deferred)


class Awaitable:
    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred = deferred

    def __await__(self) -> Iterator[Any]:
        return (yield from self._deferred.__await__())


class CoroutineWrapper:
    def __init__(self, deferred: Deferred[Any]) -> None:
        self._deferred = deferred

    def __await__(self) -> Any:
        return wait(self._deferred).__await__()


async def wait_for_object(deferred: Deferred[Any]) -> Any:
    return await Awaitable(deferred)


async def wait_for_wrapper(deferred: Deferred[Any]) -> Any:
    return await CoroutineWrapper(deferred)


async def items(deferred: Deferred[Any]) -> AsyncIterator[Any]:
    await deferred
    yield 1


async def iterate(deferred: Deferred[Any]) -> None:
    async for _ in items(deferred):
        pass


async def take_next(deferred: Deferred[Any]) -> Any:
    return await anext(items(deferred), None)  # type: ignore[call-overload]


async def throw_into(deferred: Deferred[Any]) -> Any:
    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        except ValueError:
            await deferred
            yield 2

    iterator: Any = stubborn()
    await anext(iterator)
    return await iterator.athrow(ValueError())


@inlineCallbacks
def generate(deferred: Deferred[Any]) -> Generator[Deferred[Any], Any, None]:
    yield deferred


@inlineCallbacks
def call_generate(deferred: Deferred[Any]) -> Generator[Deferred[Any], Any, None]:
    yield generate(deferred)


@inlineCallbacks
def call_coroutine(deferred: Deferred[Any]) -> Generator[Deferred[Any], Any, None]:
    yield Deferred.fromCoroutine(iterate(deferred))


@inlineCallbacks
def delegate(deferred: Deferred[Any]) -> Generator[Deferred[Any], Any, None]:
    yield from delegated(deferred)


def delegated(deferred: Deferred[Any]) -> Generator[Deferred[Any], Any, None]:
    yield deferred


def functions(operation: object) -> list[str]:
    return [place.function for place in awaits(operation)]


def end(operation: Deferred[Any]) -> None:
    """
    Cancel an operation, so that nothing is logged when it is dropped.
    """
    operation.addErrback(lambda failure: None)
    operation.cancel()


class TestFrames:
    """
    Of coroutines and generators.
    """

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (wait, ["wait"]),
            (call_wait, ["call_wait", "wait"]),
            (wait_for_object, ["wait_for_object", "Awaitable.__await__"]),
            (wait_for_wrapper, ["wait_for_wrapper", "wait"]),
            (iterate, ["iterate", "items"]),
            (take_next, ["take_next", "items"]),
            (throw_into, ["throw_into", "stubborn"]),
            (generate, ["generate"]),
            (call_generate, ["call_generate", "generate"]),
            (call_coroutine, ["call_coroutine", "iterate", "items"]),
            (delegate, ["delegate", "delegated"]),
        ],
    )
    def test_are_followed_to_the_innermost(
        self, function: Callable[[Deferred[Any]], Any], expected: list[str]
    ) -> None:
        """
        Through whatever lies between: it ends with the Deferred that has not fired.
        """
        deferred = Deferred[Any]()
        operation: Deferred[Any] = ensureDeferred(function(deferred))
        chain = awaits(operation)
        assert [place.function for place in chain] == [*expected, ""]
        assert {place.file for place in chain[:-1]} == {__file__}
        assert isinstance(chain[-1], Deferral)
        assert str(chain[-1]) == "a Deferred"
        assert is_unknown(chain)
        deferred.callback(None)
        assert awaits(operation) == ()

    def test_have_their_lines(self) -> None:
        """
        Of the statement that waits.
        """
        deferred = Deferred[Any]()
        operation = ensureDeferred(call_wait(deferred))
        first, second, _ = awaits(operation)
        assert first.line == call_wait.__code__.co_firstlineno + 1
        assert second.line == wait.__code__.co_firstlineno + 1
        assert told((first, second)) == (
            f"test_waits_on.py:{first.line} call_wait() > test_waits_on.py:{second.line} wait()"
        )
        end(operation)

    def test_are_followed_after_a_cancellation_that_is_not_heeded(self) -> None:
        """
        Twisted drives the coroutine with another Deferred then.
        """
        first, second = Deferred[Any](), Deferred[Any]()

        async def stubborn() -> None:
            try:
                await first
            except BaseException:
                await second

        operation = ensureDeferred(stubborn())
        operation.cancel()
        assert functions(operation) == ["stubborn", ""]
        second.callback(None)
        assert awaits(operation) == ()

    def test_are_followed_when_several_wait_for_one_deferred(self) -> None:
        """
        Each is found by its own record.
        """
        deferred = Deferred[Any]()
        operations = [ensureDeferred(wait(deferred)), ensureDeferred(call_wait(deferred))]
        deferred.addCallback(str)
        assert [functions(operation)[:-1] for operation in operations] == [
            ["wait"],
            ["call_wait", "wait"],
        ]
        deferred.callback(None)

    def test_of_a_coroutine_that_runs(self) -> None:
        """
        It waits on nothing. What it did wait on has fired.
        """
        deferred = Deferred[Any]()
        seen: list[Any] = []

        async def look() -> None:
            await deferred
            seen.append(awaits(operation))

        operation = ensureDeferred(look())
        deferred.callback(None)
        assert seen == [()]

    def test_in_great_number_are_told_of_both_ends(self) -> None:
        """
        The outermost and the innermost, and how many lie between.
        """

        async def dive(depth: int) -> None:
            await (dive(depth - 1) if depth else deferred)

        deferred = Deferred[Any]()
        operation = ensureDeferred(dive(99))
        chain = awaits(operation)
        assert len(chain) == 31
        assert str(chain[15]) == "71 more"
        assert isinstance(chain[-1], Deferral)
        deferred.callback(None)


class TestDeferreds:
    """
    That wait for other Deferreds.
    """

    def test_chained_by_a_callback(self) -> None:
        """
        That has returned a Deferred.
        """
        deferred = Deferred[Any]()
        operation: Deferred[Any] = succeed(None)
        operation.addCallback(lambda _: ensureDeferred(call_wait(deferred)))
        assert functions(operation) == ["call_wait", "wait", ""]
        follower = Deferred[Any]()
        operation.chainDeferred(follower)
        assert functions(follower) == ["call_wait", "wait", ""]
        deferred.callback(None)

    def test_gathered(self) -> None:
        """
        How many are missing, and what the first of these waits on.
        """
        deferred = Deferred[Any]()
        gathered = gatherResults([succeed(1), ensureDeferred(wait(deferred)), Deferred()])
        chain = awaits(gathered)
        assert told(chain[:1]) == "2 of 3 Deferreds"
        assert [place.function for place in chain[1:]] == ["wait", ""]
        deferred.callback(None)

    def test_name_their_canceller(self) -> None:
        """
        By which one can often tell what is waited for.
        """
        clock = Clock()
        operation = ensureDeferred(wait(deferLater(clock, 1.0, int)))
        last = awaits(operation)[-1]
        assert last.function.startswith("deferLater.")
        assert last.file.endswith("task.py")
        assert str(last) == f"a Deferred (task.py:{last.line} {last.function}())"
        assert not is_unknown((last,))
        clock.advance(1.0)

    def test_name_a_method_as_their_canceller(self) -> None:
        """
        With its class.
        """
        lock = DeferredLock()
        lock.acquire()
        acquiring = lock.acquire()
        assert functions(acquiring) == ["DeferredLock._cancelAcquire"]
        lock.release()

    def test_name_their_first_callback(self) -> None:
        """
        If they have no canceller, and it is neither Twisted's own nor ours.
        """
        deferred = Deferred[Any]()
        deferred.addCallback(str)
        deferred.addCallback(told)
        deferred.addCallback(end)
        assert awaits(deferred) == (Place("end", __file__, end.__code__.co_firstlineno),)
        assert awaits(Deferred()) == (Place("", "", 0),)

    def test_that_have_fired(self) -> None:
        """
        Wait on nothing.
        """
        assert awaits(succeed(1)) == ()

    def test_that_wait_for_each_other(self) -> None:
        """
        A circle ends where it began.
        """
        one, other = Deferred[Any](), Deferred[Any]()
        one.chainDeferred(other)
        other.chainDeferred(one)
        assert awaits(one) == ()

    def test_in_an_endless_chain(self) -> None:
        """
        It is left after a while.
        """

        class Endless(Deferred[Any]):
            steps = 0

            @property
            def _chainedTo(self) -> Any:
                Endless.steps += 1
                return Endless() if Endless.steps < 100_000 else None

            @_chainedTo.setter
            def _chainedTo(self, value: Any) -> None: ...

        assert awaits(Endless()) == ()
        assert Endless.steps < 10_000


class TestStrangers:
    """
    What is not made as we know it.
    """

    @pytest.mark.parametrize("thing", [None, 3, "deferred", object()])
    def test_wait_on_nothing(self, thing: object) -> None:
        """
        As far as anybody knows.
        """
        assert awaits(thing) == ()

    def test_may_raise(self) -> None:
        """
        What has been found by then is told.
        """

        class Hostile(Deferred[Any]):
            @property
            def called(self) -> Any:
                raise RuntimeError("this one does not like to be looked at")

            @called.setter
            def called(self, value: Any) -> None: ...

        hostile = Hostile()
        assert awaits(hostile) == ()

    def test_cancellers_with_a_variable_that_is_not_set(self) -> None:
        """
        A closure's cell may be empty.
        """

        def make() -> Deferred[Any]:
            deferred = Deferred[Any](lambda _: later)
            if not deferred:
                later = 1
            return deferred

        (place,) = awaits(make())
        assert place.function.endswith("make.<lambda>")

    def test_a_record_without_its_generator(self) -> None:
        """
        The chain goes on below it.
        """
        status = defer._CancellationStatus(Deferred(), Deferred())  # type: ignore[attr-defined]
        assert functions(Deferred(lambda _: status.waitingOn)) == [""]

    def test_objects_that_say_they_have_any_attribute(self) -> None:
        """
        As mocks do: they are not believed.
        """

        class Anything:
            def __getattr__(self, name: str) -> Any:
                return Anything()

        anything = Anything()
        assert awaits(anything) == ()
        (last,) = awaits(Deferred(lambda _: anything))
        assert last.function.endswith("<lambda>")

    def test_endless_generators(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        One is left after a while.
        """
        monkeypatch.setattr(_awaits, "_STEPS", 3)

        async def dive(depth: int) -> None:
            await (dive(depth - 1) if depth else deferred)

        deferred = Deferred[Any]()
        operation = ensureDeferred(dive(9))
        assert functions(operation)[:3] == ["dive"] * 3
        deferred.callback(None)


class TestAsyncio:
    """
    Operations of asyncio's, on its reactor.
    """

    @pytest.fixture
    def loop(self) -> Iterator[asyncio.AbstractEventLoop]:
        """
        An event loop, not the thread's.
        """
        loop = asyncio.new_event_loop()
        yield loop
        loop.close()

    def test_tasks_and_futures_and_deferreds_mixed(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        A Deferred of a task that awaits a Deferred of a coroutine of Twisted's.
        """
        deferred = Deferred[Any]()

        async def outer() -> None:
            await ensureDeferred(wait(deferred)).asFuture(loop)

        task = loop.create_task(outer())
        operation = Deferred[Any].fromFuture(task)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert functions(operation) == ["outer", "wait", ""]
        loop.call_soon(deferred.callback, None)
        loop.run_until_complete(task)
        assert awaits(operation) == ()

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")
    def test_what_asyncio_gathers(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        The chain goes on with the first that is not done.
        """
        future = loop.create_future()

        async def inner() -> None:
            await asyncio.shield(future)

        async def gathering() -> None:
            await asyncio.gather(asyncio.sleep(0), inner(), inner())

        async def grouping() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(gathering())

        task = loop.create_task(grouping())
        for _ in range(4):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert [name for name in functions(task) if not name.startswith("TaskGroup.")] == [
            "grouping",
            "1 of a group's tasks",
            "gathering",
            "2 of 3 futures",
            "inner",
        ]
        assert path_of(task)[-1] is future
        future.set_result(None)
        loop.run_until_complete(task)

    def test_a_future_of_which_nothing_is_known(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        The chain ends there.
        """
        future = loop.create_future()
        number = 1
        future.add_done_callback(lambda _: number)
        assert awaits(future) == ()


def test_a_chain_is_read_while_the_reactor_thread_goes_on() -> None:
    """
    From another thread, again and again: it is never more than there can be, and nothing is raised.
    """
    is_over = threading.Event()
    turn: list[Deferred[Any]] = []
    seen: set[tuple[str, ...]] = set()

    async def forever() -> None:
        while not is_over.is_set():
            turn.append(deferred := Deferred[Any]())
            await wait(deferred)

    operation = ensureDeferred(forever())

    def look() -> None:
        for _ in range(2000):
            seen.add(tuple(functions(operation)))
        is_over.set()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    while not is_over.is_set():
        turn.pop().callback(None)
    thread.join()
    assert seen <= {(), ("forever",), ("forever", "wait"), ("forever", "wait", ""), ("",)}
    for deferred in turn:
        deferred.callback(None)
