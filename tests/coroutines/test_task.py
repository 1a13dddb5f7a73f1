"""
Coroutines on the asyncio reactor, where they may await Deferreds and asyncio's awaitables.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import logging
import sys
import traceback
import types
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from crochet._coroutines import deferreds as _drivers
from crochet._coroutines import task as _tasks
from crochet._coroutines.deferreds import accept_deferreds
from crochet._coroutines.follow import follow
from crochet._diagnostics.stranded import go_on, stranded
from support.process import LoggedFailures
from support.programs import run_python
from support.stepping import BOUND, SOURCE, Background, Steps

_colour: ContextVar[str] = ContextVar("colour", default="none")

needs_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")


def started_as_deferred(coroutine: object, context: Context | None = None) -> Deferred[Any]:
    """
    Start what a body returned; return its Deferred, or one that has fired.
    """
    started = follow(coroutine, context or Context())
    return cast("Deferred[Any]", started) if isinstance(started, Deferred) else succeed(started)


class Loop:
    """
    An event loop that plays the reactor's, in the test's thread.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def do(self, function: Callable[..., object], *args: object) -> None:
        """
        Call something as a callback of the loop.
        """
        errors: list[BaseException] = []

        def call() -> None:
            try:
                function(*args)
            except BaseException as error:
                errors.append(error)
            self.loop.stop()

        self.loop.call_soon(call)
        self.loop.run_forever()
        if errors:
            raise errors[0]

    def start(self, coroutine: object, context: Context | None = None) -> Any:
        """
        Start what a body returned, from a callback; return the Deferred.
        """
        started: list[Any] = []
        self.do(lambda: started.append(started_as_deferred(coroutine, context)))
        return started[0]

    def turn(self, turns: int = 1) -> None:
        """
        Let the loop do what is due.
        """
        for _ in range(turns):
            self.do(lambda: None)

    def outcome(self, deferred: Any) -> Any:
        """
        Return what a Deferred fires with, or raise it. Blocks up to BOUND.
        """
        seen: list[Any] = []

        def end(result: object) -> None:
            seen.append(result)
            self.loop.stop()

        deferred.addBoth(end)
        if not seen:
            timer = self.loop.call_later(BOUND, self.loop.stop)
            self.loop.run_forever()
            timer.cancel()
        assert seen, "this has not been answered"
        if isinstance(seen[0], Failure):
            try:
                seen[0].raiseException()
            finally:
                seen.clear()
        return seen[0]

    def run(self, coroutine: object) -> Any:
        """
        Run a body to its end.
        """
        return self.outcome(self.start(coroutine))

    def later(self, value: object = None) -> Deferred[Any]:
        """
        Return a Deferred that fires in a moment, with a value or an error.
        """
        deferred: Deferred[Any] = Deferred()
        fire = deferred.errback if isinstance(value, BaseException) else deferred.callback
        self.loop.call_later(0.001, fire, value)
        return deferred


@pytest.fixture
def loop() -> Iterator[Loop]:
    """
    A loop that nobody has set as this thread's.
    """
    loop = Loop()
    yield loop
    for task in asyncio.all_tasks(loop.loop):
        task.cancel()
    loop.turn(5)
    assert not asyncio.all_tasks(loop.loop)
    loop.loop.close()


class TestMixture:
    """
    Of Deferreds and asyncio's awaitables.
    """

    def test_one_after_the_other(self, loop: Loop) -> None:
        """
        In whatever order; those that have fired already, too.
        """

        async def body() -> list[object]:
            return [
                await succeed(1),
                await loop.later(2),
                await asyncio.sleep(0.001, 3),
                await loop.later(4),
                await asyncio.sleep(0, 5),
                await succeed(6),
            ]

        assert loop.run(body()) == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize("first", [0, 0.001])
    def test_asyncio_first(self, loop: Loop, first: float) -> None:
        """
        With and without a turn that does nothing.
        """

        async def body() -> object:
            await asyncio.sleep(first)
            return await loop.later("fired")

        assert loop.run(body()) == "fired"

    def test_a_deferred_in_tasks_of_asyncios(self, loop: Loop) -> None:
        """
        Which libraries make, and gather.
        """

        async def child(value: object) -> object:
            await asyncio.sleep(0)
            return await loop.later(value)

        async def body() -> list[object]:
            task = asyncio.create_task(child(0))
            return [await task, *await asyncio.gather(child(1), child(2))]

        assert loop.run(body()) == [0, 1, 2]

    @needs_3_11
    def test_a_deferred_in_a_task_group(self, loop: Loop) -> None:
        """
        Whose tasks are asyncio's.
        """

        async def child(value: object) -> object:
            return await loop.later(value)

        async def body() -> list[object]:
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                tasks = [group.create_task(child(number)) for number in range(3)]
                await loop.later()
            return [task.result() for task in tasks]

        assert loop.run(body()) == [0, 1, 2]

    def test_a_deferred_of_asyncios_future(self, loop: Loop) -> None:
        """
        And a future of a Deferred's.
        """

        async def body() -> list[object]:
            future = asyncio.ensure_future(asyncio.sleep(0.001, 1))
            return [await Deferred.fromFuture(future), await loop.later(2).asFuture(loop.loop)]

        assert loop.run(body()) == [1, 2]

    def test_errors(self, loop: Loop) -> None:
        """
        Of either, at the await.
        """

        async def fails(error: Exception) -> None:
            await asyncio.sleep(0)
            raise error

        async def body() -> list[str]:
            caught = []
            for awaited in (
                loop.later(KeyError("later")),
                fail(KeyError("at once")),
                fails(KeyError("asyncio's")),
                asyncio.ensure_future(fails(KeyError("a task's"))),
            ):
                try:
                    await awaited
                except KeyError as error:
                    caught.append(error.args[0])
            return caught

        assert loop.run(body()) == ["later", "at once", "asyncio's", "a task's"]

    def test_handmade_awaitables(self, loop: Loop) -> None:
        """
        They may yield Deferreds, fired or not, and are sent what these fire with.
        """

        @types.coroutine
        def hand_made(*deferreds: Deferred[Any]) -> Any:
            seen: list[object] = []
            for deferred in deferreds:
                try:
                    seen.append((yield deferred))
                except KeyError as error:
                    seen.append(error.args[0])
            return seen

        async def body() -> object:
            deferreds = succeed(1), loop.later(2), loop.later(KeyError(3)), fail(KeyError(4))
            return await hand_made(*deferreds)

        async def in_a_task() -> object:
            return await asyncio.ensure_future(body())

        assert loop.run(body()) == [1, 2, 3, 4]
        assert loop.run(in_a_task()) == [1, 2, 3, 4]

    def test_one_deferred_by_two_tasks(self, loop: Loop) -> None:
        """
        Each gets the value.
        """

        async def child(deferred: Deferred[object]) -> object:
            return await deferred

        async def body() -> object:
            deferred = loop.later("for both")
            return await asyncio.gather(child(deferred), child(deferred))

        assert loop.run(body()) == ["for both", "for both"]

    def test_a_deferred_that_waits_for_another(self, loop: Loop) -> None:
        """
        It has been called, but has no result yet.
        """

        async def body() -> object:
            return await succeed(None).addCallback(lambda _: loop.later("chained"))

        assert loop.run(body()) == "chained"

    def test_a_deferred_that_a_task_fires(self, loop: Loop) -> None:
        """
        Who awaits it goes on when that task has made its step, for one is stepped at a time.
        """
        order: list[str] = []

        async def waits(deferred: Deferred[None]) -> None:
            await deferred
            order.append("waited")

        async def fires(deferred: Deferred[None]) -> None:
            deferred.callback(None)
            order.append("fired")

        async def both() -> None:
            deferred: Deferred[None] = Deferred()
            waiting = asyncio.ensure_future(waits(deferred))
            await asyncio.sleep(0)
            await fires(deferred)
            await waiting

        loop.run(both())
        deferred: Deferred[None] = Deferred()
        waiting = loop.start(waits(deferred))
        loop.run(fires(deferred))
        loop.outcome(waiting)
        assert order == ["fired", "waited"] * 2

    def test_a_task_goes_on_in_its_own_context(self, loop: Loop) -> None:
        """
        Whichever that of the callback is in which a Deferred fires.
        """
        deferred: Deferred[None] = Deferred()

        async def child() -> list[str]:
            _colour.set("red")
            await deferred
            return [_colour.get()]

        async def body() -> object:
            task = asyncio.ensure_future(child())
            await asyncio.sleep(0)
            loop.loop.call_soon(deferred.callback, None, context=Context())
            return await task

        assert loop.run(body()) == ["red"]

    @needs_3_11
    def test_a_deferred_that_fires_in_the_tasks_context(self, loop: Loop) -> None:
        """
        That is entered already, so the task goes on in the next turn.
        """
        deferred: Deferred[str] = Deferred()
        context = Context()
        order: list[str] = []

        async def child() -> None:
            order.append(await deferred)

        def fire() -> None:
            deferred.callback("went on")
            order.append("fired")

        async def body() -> None:
            task = loop.loop.create_task(child(), context=context)  # type: ignore[call-arg]
            await asyncio.sleep(0)
            loop.loop.call_soon(fire, context=context)
            await task

        loop.run(body())
        assert order == ["fired", "went on"]

    def test_a_factory_of_the_programs_is_kept(self, loop: Loop) -> None:
        """
        It gets coroutines that yield futures only.
        """
        made: list[object] = []

        def factory(loop: Any, coroutine: Any, **arguments: Any) -> Any:
            made.append(coroutine.__name__)
            return asyncio.Task(coroutine, loop=loop, **arguments)

        loop.loop.set_task_factory(factory)
        accept_deferreds(loop.loop)
        accept_deferreds(loop.loop)

        async def child() -> object:
            return await loop.later(7)

        async def body() -> object:
            return await asyncio.ensure_future(child())

        assert loop.run(body()) == 7
        assert made == ["child"]


class TestTask:
    """
    The one that a body is.
    """

    def test_is_the_current_one(self, loop: Loop) -> None:
        """
        From the first step to the last, and no other.
        """

        async def body() -> set[object]:
            seen = {asyncio.current_task()}
            for awaitable in (loop.later(), asyncio.sleep(0), asyncio.sleep(0.001), loop.later()):
                await awaitable  # type: ignore[misc]
                seen.add(asyncio.current_task())
            return seen

        (task,) = loop.run(body())
        assert isinstance(task, asyncio.Task)
        assert asyncio.current_task(loop.loop) is None

    def test_is_told_how_the_body_has_ended(self, loop: Loop) -> None:
        """
        Whenever somebody asks it: in the first step, or long after.
        """

        async def body(awaited: Any, end: Any) -> None:
            tasks.append(asyncio.current_task())
            if awaited:
                await awaited()
            if isinstance(end, BaseException):
                raise end
            return end

        tasks: list[Any] = []
        for awaited in (None, loop.later, lambda: asyncio.sleep(0)):
            assert loop.run(body(awaited, "value")) == "value"
            with pytest.raises(KeyError):
                loop.run(body(awaited, KeyError("error")))
        for task in tasks:
            assert task.get_loop() is loop.loop
        loop.turn(3)
        for task in tasks[::2]:
            assert task.result() == "value"
        for task in tasks[1::2]:
            with pytest.raises(KeyError):
                task.result()

    def test_can_close_its_coroutine(self, loop: Loop) -> None:
        """
        Of a task that was never stepped.
        """

        async def child() -> None: ...

        coroutine = child()
        _drivers.Driver(coroutine, loop.loop).close()
        assert inspect.getcoroutinestate(coroutine) == "CORO_CLOSED"

    def test_tells_its_coroutine(self, loop: Loop) -> None:
        """
        To those who look into tasks: the names, the frame, the state.
        """

        async def child() -> None:
            await asyncio.sleep(0)
            await hanging

        hanging: Deferred[None] = Deferred()

        async def body() -> list[object]:
            task = asyncio.ensure_future(child())
            await asyncio.sleep(0)
            coroutine: Any = task.get_coro()
            state = inspect.getcoroutinestate(coroutine)
            found = [coroutine.__name__, state, repr(task), len(task.get_stack())]
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return found

        name, state, shown, depth = loop.run(body())
        assert (name, state, depth) == ("child", "CORO_SUSPENDED", 1)
        assert "child" in shown

    def test_used_in_the_first_step(self, loop: Loop) -> None:
        """
        While the body goes on by itself, any number of steps: they need not wait for the loop.
        """
        first: Deferred[None] = Deferred()

        async def body() -> object:
            task: Any = asyncio.current_task()
            task.add_done_callback(lambda task: seen.append(task.result()))
            await first
            return "ended"

        seen: list[object] = []

        def both() -> None:
            started_as_deferred(body()).addCallback(seen.append)
            first.callback(None)
            assert seen == ["ended"]

        loop.do(both)
        loop.turn(3)
        assert seen == ["ended", "ended"]

    def test_put_off_resumption(self, loop: Loop) -> None:
        """
        1. A body awaits a Deferred; its task is made, and asks for its first step.
        2. Another task fires that, so the body is to go on a turn later.
        3. The first step comes before.
        """
        awaited: Deferred[str] = Deferred()
        tasks: list[Any] = []

        async def body() -> str:
            tasks.append(asyncio.current_task())
            return await awaited + "."

        async def fires() -> None:
            tasks[0].get_name()
            awaited.callback("once")

        deferred = loop.start(body())
        loop.run(fires())
        assert loop.outcome(deferred) == "once."

    def test_fired_before_the_first_step(self, loop: Loop) -> None:
        """
        So that the step goes on with it, be it a value or an error.
        """
        awaited: list[Deferred[str]] = [Deferred(), Deferred()]
        tasks: list[Any] = []

        async def body(deferred: Deferred[str]) -> str:
            tasks.append(asyncio.current_task())
            return await deferred

        results = [loop.start(body(each)) for each in awaited]

        async def fires() -> None:
            for task in tasks:
                task.get_name()
            awaited[0].callback("fired")
            awaited[1].errback(KeyError("failed"))

        loop.run(fires())
        assert loop.outcome(results[0]) == "fired"
        with pytest.raises(KeyError):
            loop.outcome(results[1])

    def test_runs_in_the_callers_context(self, loop: Loop) -> None:
        """
        To its end, whoever fires what it awaits, and whether it is stepped by the task.
        """
        token = _colour.set("red")
        context = contextvars.copy_context()
        _colour.reset(token)

        async def child() -> str:
            await loop.later()
            return _colour.get()

        async def body() -> list[str]:
            seen = [_colour.get()]
            await loop.later()
            seen.append(_colour.get())
            _colour.set("green")
            await asyncio.sleep(0)
            seen.append(_colour.get())
            await loop.later()
            return [*seen, _colour.get(), await asyncio.ensure_future(child())]

        seen = loop.outcome(loop.start(body(), context))
        assert seen == ["red", "red", "green", "green", "green"]
        assert _colour.get() == "none"

    def test_starts_at_once(self, loop: Loop) -> None:
        """
        Before ``follow()`` returns; and goes on as soon as a Deferred fires.
        """
        order: list[str] = []
        awaited: Deferred[None] = Deferred()

        async def body() -> None:
            order.append("begun")
            await awaited
            order.append("resumed")

        def both() -> None:
            follow(body(), Context())
            order.append("started")
            awaited.callback(None)
            order.append("fired")

        loop.do(both)
        assert order == ["begun", "started", "resumed", "fired"]

    def test_in_a_task_it_is_another(self, loop: Loop) -> None:
        """
        One is being stepped, and so none else can be before Python 3.12: it starts a turn later.
        """

        async def body() -> object:
            return asyncio.current_task(), await succeed(3)

        async def outer() -> object:
            started_as_deferred(body()).addCallback(seen.append)
            assert bool(seen) == (sys.version_info >= (3, 12))
            await asyncio.sleep(0)
            return asyncio.current_task()

        seen: list[Any] = []
        task = loop.loop.run_until_complete(outer())
        ((inner, value),) = seen
        assert isinstance(inner, asyncio.Task)
        assert inner is not task
        assert value == 3

    def test_may_return_a_deferred(self, loop: Loop) -> None:
        """
        It is awaited, too.
        """

        async def body(deferred: Deferred[object], turns: int) -> Deferred[object]:
            for _ in range(turns):
                await asyncio.sleep(0)
            return deferred

        for turns in (0, 1):
            assert loop.run(body(loop.later(1), turns)) == 1
            with pytest.raises(KeyError):
                loop.run(body(loop.later(KeyError("returned")), turns))

    def test_may_return_a_failure(self, loop: Loop) -> None:
        """
        That is an error, as it is with Twisted.
        """

        async def body(turns: int) -> Failure:
            for _ in range(turns):
                await asyncio.sleep(0)
            return Failure(KeyError("returned"))

        for turns in (0, 1):
            with pytest.raises(KeyError, match="returned"):
                loop.run(body(turns))

    def test_is_a_real_one(self, loop: Loop) -> None:
        """
        For those who go past its attributes, as C code does, in a body that has not used it before.
        """
        seen: list[object] = []

        async def body(awaited: Any) -> str:
            task: Any = asyncio.current_task()
            seen.append(type(task))
            seen.append(asyncio.Task.get_coro(task).__name__)
            seen.append(asyncio.all_tasks() == {task})
            await awaited
            seen.append(asyncio.all_tasks() == {task})
            return "ended"

        for awaited in (succeed(None), loop.later(), asyncio.sleep(0)):
            assert loop.run(body(awaited)) == "ended"
            assert seen == [asyncio.Task, "body", True, True]
            seen.clear()

    def test_can_be_awaited(self, loop: Loop) -> None:
        """
        By somebody else, and without their having looked at it.
        """
        tasks: list[Any] = []
        awaited: Deferred[None] = Deferred()

        async def body() -> str:
            tasks.append(asyncio.current_task())
            await awaited
            return "ended"

        async def other() -> object:
            loop.loop.call_soon(awaited.callback, None)
            return await tasks[0]

        loop.start(body())
        assert loop.run(other()) == "ended"

    def test_is_made_beside_other_calls(self, loop: Loop) -> None:
        """
        Such as a finalizer makes, which the garbage collector calls just then.
        """
        order: list[object] = []

        class Task(asyncio.Task):  # type: ignore[type-arg]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                handle = loop.loop.call_soon(order.append, "never")
                loop.loop.call_soon(order.append, "called")
                super().__init__(*args, **kwargs)
                handle.cancel()

        async def body() -> None:
            order.append("begun")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_tasks, "Task", Task)
            loop.do(lambda: started_as_deferred(body()))
        loop.turn()
        assert order == ["begun", "called"]
        assert loop.loop.call_soon.__func__ is type(loop.loop).call_soon  # type: ignore[attr-defined]

    def test_call_soon_of_the_programs_is_kept(self, loop: Loop) -> None:
        """
        One that is the loop's own attribute: an instrumented one.
        """

        def call_soon(*args: Any, **kwargs: Any) -> Any:
            return type(loop.loop).call_soon(loop.loop, *args, **kwargs)

        async def body() -> str:
            await asyncio.sleep(0)
            return "ended"

        vars(loop.loop)["call_soon"] = call_soon
        assert loop.run(body()) == "ended"
        assert vars(loop.loop)["call_soon"] is call_soon


class TestErrors:
    """
    Of a body.
    """

    @pytest.mark.parametrize("awaits", ["nothing", "a Deferred", "a turn", "a while"])
    @pytest.mark.parametrize(
        "kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, BaseException]
    )
    def test_reach_the_caller(self, loop: Loop, awaits: str, kind: type[BaseException]) -> None:
        """
        Of any class, with the frames of the body and none of the driver's; the loop goes on.
        """
        error = kind("of a body")

        async def raises() -> None:
            raise error

        async def body() -> None:
            if awaits == "a Deferred":
                await loop.later()
            elif awaits != "nothing":
                await asyncio.sleep(0 if awaits == "a turn" else 0.001)
            await raises()

        seen: list[Any] = []
        loop.start(body()).addErrback(seen.append)
        while not seen:
            loop.turn()
        assert seen[0].value is error
        names = [frame.name for frame in traceback.extract_tb(seen[0].tb)]
        assert names == ["body", "raises"]

    @pytest.mark.parametrize("where", ["at once", "later", "of a deferred"])
    def test_of_any_class(self, loop: Loop, where: str) -> None:
        """
        Also of one that refuses to be changed.
        """

        @dataclass(frozen=True)
        class NotFound(Exception):
            what: str

        error = NotFound("a page")

        async def body() -> None:
            if where != "at once":
                await loop.later(error if where == "of a deferred" else None)
            raise error

        with pytest.raises(NotFound) as raised:
            loop.run(body())
        assert raised.value is error

    def test_of_a_deferred_have_its_frames(self, loop: Loop) -> None:
        """
        Those of whoever raised it.
        """

        def raises(_: object) -> None:
            raise ValueError("in a callback")

        async def body() -> None:
            await loop.later().addCallback(raises)

        with pytest.raises(ValueError, match="in a callback") as caught:
            loop.run(body())
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert "body" in names
        assert names[-1] == "raises"

    def test_are_not_logged_by_asyncio(self, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
        """
        Whoever has the Deferred answers for them.
        """

        async def body() -> None:
            await asyncio.sleep(0)
            raise ValueError("told")

        with caplog.at_level(logging.DEBUG, "asyncio"):
            with pytest.raises(ValueError, match="told"):
                loop.run(body())
            loop.turn(2)
            gc.collect()
        assert caplog.records == []

    @pytest.mark.parametrize("asks", [False, True])
    def test_stop_iteration(self, loop: Loop, asks: bool) -> None:
        """
        It is not taken for a value.
        """

        async def body() -> None:
            if asks:
                await asyncio.sleep(0)
            raise StopIteration("of a body")

        with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
            loop.run(body())


class TestCancelling:
    """
    By Twisted's means or by asyncio's.
    """

    @pytest.mark.parametrize(
        "awaits", ["a Deferred", "a future", "a future, in its first turn", "turns"]
    )
    @pytest.mark.parametrize("before", [0, 0.001])
    def test_the_operation(self, loop: Loop, awaits: str, before: float) -> None:
        """
        Answers with Twisted's CancelledError; the body sees that of what it awaits.
        """
        hanging: Deferred[None] = Deferred()
        seen: list[object] = []

        async def body() -> None:
            if before:
                await asyncio.sleep(before)
            started.append(None)
            try:
                while awaits == "turns":
                    await asyncio.sleep(0)
                await (hanging if awaits == "a Deferred" else asyncio.sleep(1000))
            except BaseException as error:
                seen.append(type(error))
                raise

        started: list[None] = []
        deferred = loop.start(body())
        while not started:
            loop.turn()
        if awaits == "a future":
            loop.turn(3)
        loop.do(deferred.cancel)
        with pytest.raises(CancelledError):
            loop.outcome(deferred)
        assert seen == [CancelledError if awaits == "a Deferred" else asyncio.CancelledError]
        deferred.cancel()  # which does nothing any more

    @pytest.mark.parametrize("turns", [0, 3])
    def test_waits_for_cleaning_up(self, loop: Loop, turns: int) -> None:
        """
        Which may await both. What the body makes of it is the answer.
        """

        async def body() -> object:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await asyncio.sleep(0.001)
                await loop.later()
                return "cleaned up"

        deferred = loop.start(body())
        loop.turn(turns)
        loop.do(deferred.cancel)
        assert loop.outcome(deferred) == "cleaned up"

    def test_of_the_task(self, loop: Loop) -> None:
        """
        By asyncio: the body is thrown asyncio's error, also at a Deferred. That is cancelled.
        """
        hanging: Deferred[None] = Deferred(lambda deferred: seen.append("canceller"))
        seen: list[object] = []

        async def body() -> None:
            tasks.append(asyncio.current_task())
            try:
                await hanging
            except asyncio.CancelledError as error:
                seen.append(error.args)
                raise

        tasks: list[Any] = []
        deferred = loop.start(body())
        loop.do(tasks[0].cancel, "why")
        with pytest.raises(asyncio.CancelledError):
            loop.outcome(deferred)
        assert seen[0] == "canceller"
        assert len(seen) == 2

    def test_of_a_task_that_was_stepped(self, loop: Loop) -> None:
        """
        The same, with the message; and one that has fired already is not cancelled any more.
        """
        hanging: Deferred[None] = Deferred()

        async def child() -> None:
            await hanging

        async def body() -> object:
            task = asyncio.ensure_future(child())
            await asyncio.sleep(0)
            task.cancel("why")
            try:
                await task
            except asyncio.CancelledError as error:
                return error.args

        assert loop.run(body()) in [("why",), ()]
        fired: Deferred[str] = Deferred()
        awaited = _drivers.Awaited(fired, loop.loop)
        fired.addBoth(awaited.fire)
        fired.callback("fired")
        assert not awaited.cancel()

    def test_of_a_deferred_that_answers_otherwise(self, loop: Loop) -> None:
        """
        The body gets that, as from an asyncio task that ignores it.
        """

        async def child(canceller: Any) -> object:
            return await Deferred(canceller)

        def fail_otherwise(deferred: Deferred[object]) -> None:
            deferred.errback(KeyError("otherwise"))

        async def body() -> list[object]:
            tasks = [
                asyncio.ensure_future(child(lambda deferred: deferred.callback("ignored"))),
                asyncio.ensure_future(child(fail_otherwise)),
            ]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            return list(await asyncio.gather(*tasks, return_exceptions=True))

        value, error = loop.run(body())
        assert value == "ignored"
        assert isinstance(error, KeyError)

    def test_of_a_deferred_whose_canceller_raises(self, loop: Loop) -> None:
        """
        The coroutine gets that: the Deferred may never fire.
        """

        def refuse(deferred: Deferred[object]) -> None:
            raise KeyError("refused")

        async def child() -> object:
            return await Deferred(refuse)

        async def body() -> list[object]:
            task = asyncio.ensure_future(child())
            await asyncio.sleep(0)
            task.cancel()
            return list(await asyncio.gather(task, return_exceptions=True))

        (error,) = loop.run(body())
        assert isinstance(error, KeyError)
        assert "refuse" in "".join(traceback.format_exception(error))

    @pytest.mark.parametrize("turn", [False, True])
    def test_by_the_body_itself(self, loop: Loop, turn: bool) -> None:
        """
        It is thrown the error at its next await that waits; the caller is told what it raises.
        """

        async def body(awaitable: Any) -> None:
            if turn:
                await asyncio.sleep(0)
            task: Any = asyncio.current_task()
            task.cancel()
            await awaitable

        for awaitable in (Deferred[None](), asyncio.sleep(1000), asyncio.sleep(0)):
            with pytest.raises(asyncio.CancelledError):
                loop.run(body(awaitable))

    @pytest.mark.parametrize("turns", [0, 1])
    def test_by_a_body_that_returns(self, loop: Loop, turns: int) -> None:
        """
        It has not been thrown the error, so the caller gets what it returns.
        """

        async def body() -> str:
            for _ in range(turns):
                await asyncio.sleep(0)
            task: Any = asyncio.current_task()
            task.cancel()
            return "ended"

        assert loop.run(body()) == "ended"

    def test_before_what_nobody_can_await(self, loop: Loop) -> None:
        """
        The body is thrown the error where it is.
        """

        @types.coroutine
        def hand_made() -> Any:
            task: Any = asyncio.current_task()
            task.cancel()
            yield "nonsense"

        async def body() -> None:
            try:
                await hand_made()
            except asyncio.CancelledError:
                caught.append("caught")
                raise

        caught: list[str] = []
        with pytest.raises(asyncio.CancelledError):
            loop.run(body())
        assert caught == ["caught"]

    def test_after_the_body_has_ended(self, loop: Loop) -> None:
        """
        The task is told so.
        """
        tasks: list[Any] = []

        async def body() -> str:
            tasks.append(asyncio.current_task())
            return "ended"

        assert loop.run(body()) == "ended"
        tasks[0].cancel()
        loop.turn(2)
        assert tasks[0].result() == "ended"

    @needs_3_11
    @pytest.mark.parametrize("depth", ["itself", "task"])
    def test_a_timeout(self, loop: Loop, depth: str) -> None:
        """
        Asyncio's bounds what awaits a Deferred.
        """

        async def hang() -> None:
            await Deferred()

        async def body() -> str:
            try:
                async with asyncio.timeout(0.001):  # type: ignore[attr-defined]
                    await (hang() if depth == "itself" else asyncio.ensure_future(hang()))
            except TimeoutError:
                return "out of time"
            return "?"

        assert loop.run(body()) == "out of time"

    def test_wait_for(self, loop: Loop) -> None:
        """
        Asyncio's older one does, too.
        """

        async def hang() -> None:
            await Deferred()

        async def body() -> None:
            await asyncio.wait_for(hang(), 0.001)

        with pytest.raises(asyncio.TimeoutError):
            loop.run(body())

    @needs_3_11
    @pytest.mark.parametrize("awaits", ["a Deferred", "a future"])
    def test_a_task_group(self, loop: Loop, awaits: str) -> None:
        """
        The children are cancelled, and the answer is no group.
        """
        seen: list[str] = []

        async def child() -> None:
            try:
                await Deferred()
            except asyncio.CancelledError:
                seen.append("child")
                raise

        async def body() -> None:
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                group.create_task(child())
                await (Deferred() if awaits == "a Deferred" else asyncio.sleep(1000))

        deferred = loop.start(body())
        loop.turn(3)
        loop.do(deferred.cancel)
        with pytest.raises(CancelledError):
            loop.outcome(deferred)
        assert seen == ["child"]

    @needs_3_11
    def test_a_group_of_other_errors_stays(self, loop: Loop) -> None:
        """
        As it says more than that something was cancelled.
        """

        async def child() -> None:
            try:
                await Deferred()
            except asyncio.CancelledError:
                raise KeyError("while cleaning up") from None

        async def body() -> None:
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                group.create_task(child())

        deferred = loop.start(body())
        loop.turn(3)
        loop.do(deferred.cancel)
        with pytest.raises(BaseException, match="TaskGroup") as caught:
            loop.outcome(deferred)
        assert isinstance(caught.value.exceptions[0], KeyError)  # type: ignore[attr-defined]


class TestFutures:
    """
    That a body returns.
    """

    def _future(self, loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return loop.loop.create_task(coroutine)

    def test_are_followed(self, loop: Loop) -> None:
        """
        To the value, or the error.
        """

        async def end(error: Exception | None) -> str:
            await asyncio.sleep(0)
            if error:
                raise error
            return "ended"

        assert loop.run(self._future(loop, end(None))) == "ended"
        with pytest.raises(KeyError):
            loop.run(self._future(loop, end(KeyError("ended"))))

    def test_are_cancelled(self, loop: Loop) -> None:
        """
        And may answer otherwise.
        """

        async def ignore() -> str:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return "ignored"
            return "?"

        ignored = loop.start(self._future(loop, ignore()))
        cancelled = loop.start(self._future(loop, asyncio.sleep(1000)))
        by_others = self._future(loop, asyncio.sleep(1000))
        deferred = loop.start(by_others)
        by_others.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.outcome(deferred)
        loop.do(ignored.cancel)
        loop.do(cancelled.cancel)
        assert loop.outcome(ignored) == "ignored"
        with pytest.raises(CancelledError):
            loop.outcome(cancelled)
        cancelled.cancel()

    def test_of_another_loop_are_refused(self, loop: Loop) -> None:
        """
        They would never be answered here.
        """
        other = asyncio.new_event_loop()
        try:
            with pytest.raises(RuntimeError, match=r'setup\(reactor="asyncio"\)'):
                loop.start(other.create_future())
        finally:
            other.close()


class TestMemory:
    """
    What has ended leaves nothing behind.
    """

    @pytest.mark.parametrize(
        "awaits", ["nothing", "a Deferred", "a turn", "a while", "an error", "an error, later"]
    )
    @pytest.mark.parametrize("fails", [False, True])
    def test_no_cycles(self, loop: Loop, awaits: str, fails: bool) -> None:
        """
        For the garbage collector to find.
        """
        if awaits.startswith("an error") and sys.version_info >= (3, 12):
            pytest.skip("the frames of Twisted's errback() hold the error, whoever awaits it")

        async def body() -> None:
            if awaits == "a Deferred":
                await loop.later()
            elif awaits.startswith("an error"):
                if awaits == "an error, later":
                    await asyncio.sleep(0)
                try:
                    await loop.later(KeyError("failed"))
                except KeyError:
                    if fails:
                        raise
            elif awaits != "nothing":
                await asyncio.sleep(0 if awaits == "a turn" else 0.001)
            if fails:
                raise KeyError("failed")

        def run() -> None:
            seen: list[Any] = []
            deferred = loop.start(body())
            deferred.addBoth(lambda result: seen.append(type(result)))
            del deferred
            while not seen:
                loop.turn()
            loop.turn(2)

        run()
        gc.collect()
        gc.disable()
        try:
            run()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            garbage = [each for each in gc.garbage if "crochet" in type(each).__module__]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert garbage == []


def test_from_blocking_code() -> None:
    """
    The decorators, on asyncio's reactor: values, errors, time running out, cancelling, leaving, and
    what is still pending at the end.
    """
    run_python(
        """
        import asyncio, logging, sys, threading
        import crochet
        from twisted.internet.defer import CancelledError, Deferred

        logging.getLogger("twisted").addHandler(logging.NullHandler())
        BOUND = float(sys.argv[1])
        crochet.setup(reactor="asyncio")
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        seen = []

        @crochet.run_in_reactor
        async def hang(awaitable):
            seen.append("hanging")
            try:
                await awaitable()
            except BaseException as error:
                seen.append(type(error))
                raise
            finally:
                await asyncio.sleep(0)
                await deferLater(reactor, 0.001)
                seen.append("cleaned up")

        @crochet.wait_for(BOUND)
        async def mix():
            async def child(delay):
                await asyncio.sleep(delay)
                return await deferLater(reactor, delay, lambda: delay)
            return await asyncio.gather(child(0), child(0.001))

        @crochet.wait_for(BOUND)
        async def leave():
            async def child():
                sys.exit("from a child")
            await asyncio.create_task(child())

        @crochet.wait_for(0.1)
        async def endless(awaitable):
            await awaitable()

        async def sleep():
            await asyncio.sleep(1000)

        for _ in range(2):
            assert mix() == [0, 0.001]
            for awaitable, kind in ((Deferred, CancelledError), (sleep, asyncio.CancelledError)):
                result = hang(awaitable)
                mix()
                result.cancel()
                try:
                    result.wait(BOUND)
                except CancelledError:
                    assert seen == ["hanging", kind, "cleaned up"], seen
                    seen.clear()
                else:
                    sys.exit("not cancelled")
                try:
                    endless(awaitable)
                except crochet.TimeoutError as error:
                    assert "its Deferred was cancelled" in str(error), error
                else:
                    sys.exit("no timeout")
            try:
                leave()
            except SystemExit as error:
                assert error.code == "from a child"
            else:
                sys.exit("not left")
            result = hang(sleep)
            mix()

            @crochet.wait_for(BOUND)
            def forget():
                async def linger():
                    await asyncio.sleep(1000)
                tasks.append(asyncio.ensure_future(linger()))
            tasks = []
            forget()
            crochet.shutdown()
            assert seen == ["hanging", asyncio.CancelledError, "cleaned up"], seen
            seen.clear()
            assert tasks[0].cancelled()
            try:
                result.wait(BOUND)
            except crochet.ReactorStopped:
                pass
            else:
                sys.exit("answered")
            assert threading.active_count() == 1, threading.enumerate()
            crochet.setup()
        """
    )


class Interrupted(Exception):
    """
    What a signal handler raises in the reactor thread.
    """


def _interrupt() -> None:
    raise Interrupted


async def _in_group(body: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(body)
    return task.result()


# Ways to wait for a task.
WAYS: dict[str, Callable[[Any], Any]] = {
    "task": asyncio.ensure_future,
    "gather": lambda body: asyncio.gather(asyncio.sleep(0, 0), body),
    "shield": asyncio.shield,
    "from_future": lambda body: Deferred.fromFuture(asyncio.ensure_future(body)),
    "nested": lambda body: asyncio.shield(asyncio.gather(asyncio.ensure_future(body))),
    "group": _in_group,
}
THROUGH_TASKS = [pytest.param(way, marks=needs_3_11 if way == "group" else ()) for way in WAYS]


class TestInterrupted:
    """
    Bodies that an exception thrown into the loop's thread has kept from being resumed: they are
    called upon to go on, as the watch does.
    """

    @staticmethod
    def go_on(loop: Loop, operation: Any) -> bool:
        """
        Do what is done for a call in flight. Tell whether it was stranded.
        """
        path = stranded(operation)
        if path is not None:
            loop.turn()
            loop.do(go_on, path, "body", int)
            loop.turn(6)
        return path is not None

    @pytest.mark.parametrize(
        "kind", ["body", "again", "future", "as_future", "returned", *THROUGH_TASKS]
    )
    def test_go_on_or_fail(self, loop: Loop, logged: LoggedFailures, kind: str) -> None:
        """
        At whichever bytecode of ours, asyncio's or Twisted's it comes. Their `finally` blocks run
        at once; that of a task that they await, at the latest when the error is dropped.
        """
        lost = at = 0
        all_ended: list[list[str]] = []
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
        try:
            while True:
                ended: list[str] = []
                deferred: Any = Deferred()
                second: Any = Deferred()
                future: Any = loop.loop.create_future()

                async def body(
                    ended: list[str] = ended,
                    deferred: Any = deferred,
                    second: Any = second,
                    future: Any = future,
                ) -> int:
                    try:
                        awaited = deferred
                        if kind == "as_future":
                            awaited = deferred.asFuture(loop.loop)
                        value: int = await (future if kind == "future" else awaited)
                        if kind == "again":
                            value = await second
                    finally:
                        ended.append("finally")
                    return value

                async def outer(body: Any = body) -> Any:
                    value = await WAYS[kind](body())
                    return value[-1] if isinstance(value, list) else value

                if kind == "returned":
                    accept_deferreds(loop.loop)
                    task: Any = loop.loop.create_task(body())
                    operation = loop.start(task)
                    del task
                else:
                    operation = loop.start(outer() if kind in WAYS else body())
                loop.turn(2)
                fire = future.set_result if kind == "future" else deferred.callback
                sources = (SOURCE, *asyncio.__path__, defer.__file__)
                steps = Steps(at, _interrupt, sources, is_signal=True)
                with suppress(Interrupted):
                    # In a new thread: one that is traced keeps the exception that it was handling.
                    stepped = partial(steps.run, lambda fire=fire: fire(7))
                    Background(loop.do, stepped).outcome()
                if kind != "future" and not deferred.called:
                    loop.do(deferred.callback, 7)
                loop.turn(6)
                loop.do(second.callback, 7)
                if not operation.called:
                    lost += self.go_on(loop, operation)
                if kind == "body":  # of which nothing is left
                    assert not asyncio.all_tasks(loop.loop), f"not ended at step {at}"
                seen: list[Any] = []
                operation.addBoth(seen.append)
                assert seen, f"lost at step {at}"
                assert seen == [7] or isinstance(seen[0], Failure)
                if kind == "body" and seen != [7]:
                    assert type(seen[0].value) in (Interrupted, RuntimeError)
                assert ended or kind in (*WAYS, "returned"), f"not closed at step {at}"
                all_ended.append(ended)
                deferred.addErrback(lambda _: None)  # it is not to be logged
                at += 1
                if not steps.is_over:
                    break
            assert at > 3
            assert lost
            del deferred, second, future, operation, seen, body, outer, fire, steps, stepped
            loop.turn()  # which drops what it had
            gc.collect()
            logged.take()
            assert all(each == ["finally"] for each in all_ended)
        finally:
            logging.getLogger("asyncio").setLevel(logging.NOTSET)

    @pytest.mark.parametrize("way", THROUGH_TASKS[1:])
    def test_fail_if_asyncio_has_lost_a_callback(self, loop: Loop, way: str) -> None:
        """
        That of a task which is done: what is in between fails, and they get the error.
        """
        deferred: Any = Deferred()
        tasks: list[Any] = []

        async def body() -> object:
            tasks.append(asyncio.current_task())
            return await deferred

        async def outer() -> object:
            return await WAYS[way](body())

        operation = loop.start(outer())
        loop.turn(3)
        (task,) = tasks
        assert not self.go_on(loop, operation)
        for callback, _ in task._callbacks:
            task.remove_done_callback(callback)
        loop.do(deferred.callback, 7)
        loop.turn(3)
        assert not operation.called
        assert self.go_on(loop, operation)
        with pytest.raises(
            RuntimeError, match=r"body\(\) cannot go on: what it waits for is there"
        ):
            loop.outcome(operation)

    @pytest.mark.parametrize("way", THROUGH_TASKS)
    def test_are_left_alone_while_asyncio_goes_on(self, loop: Loop, way: str) -> None:
        """
        From a task to what gathers it, and on: what is seen in each turn is another matter.
        """
        deferred: Any = Deferred()

        async def body() -> object:
            return await deferred

        async def outer() -> object:
            value = await WAYS[way](body())
            return value[-1] if isinstance(value, list) else value

        async def fire() -> None:
            deferred.callback(7)
            paths.append(stranded(operation))

        operation = loop.start(outer())
        loop.turn(3)
        paths: list[Any] = []
        loop.start(fire())
        assert paths[0]
        for _ in range(10):
            if paths[-1]:
                loop.do(go_on, paths[-1], "body", int)
            paths.append(stranded(operation))
        assert loop.outcome(operation) == 7

    def test_are_not_those_that_are_to_be_woken(self, loop: Loop) -> None:
        """
        A Deferred that is fired by a task wakes them in the next turn.
        """
        deferred: Any = Deferred()

        async def body() -> object:
            return await deferred

        async def fire() -> Any:
            deferred.callback(7)
            return stranded(operation)

        operation = loop.start(body())
        path = loop.run(fire())
        assert path is not None
        loop.do(go_on, path, "body", int)
        assert loop.outcome(operation) == 7

    def test_are_not_those_whose_future_is_done(self, loop: Loop) -> None:
        """
        It wakes them in the next turn.
        """
        future = loop.loop.create_future()

        async def body() -> object:
            return await future

        operation = loop.start(body())
        loop.turn()
        future.set_result(7)
        path = stranded(operation)
        assert path is not None
        loop.do(go_on, path, "body", int)
        assert loop.outcome(operation) == 7

    def test_are_not_those_whose_future_is_of_another_loop(self, loop: Loop) -> None:
        """
        Which may be another thread's that is busy: it is to call them.
        """
        other = asyncio.new_event_loop()
        future = other.create_future()

        async def body() -> object:
            return await Deferred.fromFuture(future)

        operation = loop.start(body())
        future.set_result(7)
        assert self.go_on(loop, operation)
        assert not operation.called
        other.run_until_complete(asyncio.sleep(0))
        other.close()
        assert loop.outcome(operation) == 7

    def test_are_not_those_that_only_look_so(self, loop: Loop) -> None:
        """
        A future that calls a function with a Deferred does not wait for that, nor must a Deferred
        whose canceller has a future fire with it.
        """
        future, other = loop.loop.create_future(), loop.loop.create_future()
        told: Any = succeed(None)
        future.add_done_callback(lambda _: told)
        fired_later: Any = Deferred(lambda _: other.cancel())

        async def body() -> object:
            return await future, await fired_later

        operation = loop.start(body())
        loop.turn()
        assert not self.go_on(loop, operation)
        future.set_result(7)
        other.set_result(8)
        loop.turn()
        assert not self.go_on(loop, operation)
        fired_later.callback(9)
        assert loop.outcome(operation) == (7, 9)

    def test_are_not_those_that_wait_for_something_else_by_then(self, loop: Loop) -> None:
        """
        Though that has fired as well.
        """
        deferreds: list[Any] = [Deferred(), Deferred()]

        async def body() -> list[object]:
            return [await each for each in deferreds]

        async def fire(number: int) -> Any:
            deferreds[number].callback(number)
            path = stranded(operation)
            if number:
                go_on(paths[0], "body", int)
            return path

        operation = loop.start(body())
        paths = [loop.run(fire(0))]
        loop.turn()
        loop.run(fire(1))
        assert loop.outcome(operation) == [0, 1]

    def test_are_not_those_that_have_returned_a_deferred(self, loop: Loop) -> None:
        """
        Their tasks are done, but they are not.
        """
        first: Any = Deferred()
        last: Any = Deferred()

        async def body() -> object:
            await first
            return last

        operation = loop.start(body())
        loop.do(first.callback, None)
        loop.turn()
        assert not self.go_on(loop, operation)
        last.callback(7)
        assert loop.outcome(operation) == 7

    def test_fail_whose_task_was_not_told_what_it_awaits(
        self, loop: Loop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Then nothing can wake it, as asyncio says.
        """
        first: Any = Deferred()
        second: Any = Deferred()
        ended: list[str] = []

        async def body() -> None:
            try:
                await first
                await second
            finally:
                ended.append("finally")

        operation = loop.start(body())
        loop.turn()
        with monkeypatch.context() as patch:
            patch.setattr(
                _drivers.Awaited, "add_done_callback", lambda *_, **__: _interrupt(), raising=True
            )
            loop.do(first.callback, None)
        loop.turn()
        assert not self.go_on(loop, operation)
        second.callback(None)
        assert self.go_on(loop, operation)
        with pytest.raises(RuntimeError, match="cannot go on"):
            loop.outcome(operation)
        assert ended == ["finally"]
        first.addErrback(lambda struck: struck.trap(Interrupted))
        caplog.clear()
        del operation
        gc.collect()
        assert "Task was destroyed but it is pending" in caplog.text
