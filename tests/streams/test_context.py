"""
Async context managers of the reactor thread, as ``with`` statements see them.
"""

# What is tested is a ``with`` statement, with what it raises around it and what is done in it.
# ruff: noqa: PT012, SIM117

from __future__ import annotations

import asyncio
import inspect
import pickle
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

import crochet
from crochet import DeadlockError, ReactorStopped, TimeoutError
from crochet._core.deadline import begin_block, get_bound
from crochet._core.decorators import WaitedFunction
from crochet._core.run_in_caller import run_in_caller
from crochet._streams.context import Contexting, ContextPipe
from crochet._threads import timeouts
from crochet._threads.primitives import Waits
from support.memory import cycles_of
from support.process import LoggedFailures
from support.stepping import BOUND, Background, wait_until

_colour: ContextVar[str] = ContextVar("colour", default="none")
needs_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")


@asynccontextmanager
async def noted(notes: list[object], value: object = 1) -> AsyncIterator[object]:
    """
    Note how the block ends, and in which thread, or that it was told to.
    """
    notes.append("enter")
    try:
        yield value
    except BaseException as error:
        notes.append(type(error))
        raise
    finally:
        notes.append("exit")


@asynccontextmanager
async def slow(notes: list[object], where: str) -> AsyncIterator[None]:
    """
    Wait for ever, while it is entered or exited.
    """
    try:
        if where == "enter":
            await Deferred()
        yield
    finally:
        try:
            if where == "exit":
                await Deferred()
        finally:
            notes.append("ended")


class Manager:
    """
    One that is a class, with what its exit is to return.
    """

    def __init__(self, suppresses: object = None) -> None:
        self.suppresses = suppresses
        self.exits: list[object] = []

    async def __aenter__(self) -> Manager:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> Any:
        self.exits.append(error)
        return self.suppresses


class Uncopied(Exception):
    """
    One of which there is one object only, which is kept with the answer.
    """

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)

    @classmethod
    def throw(cls) -> None:
        raise cls(1, 2)


def turn(process: Any) -> None:
    """
    Have the reactor thread do what it was given before.
    """
    process.wait_for(BOUND)(int)()


def wait_for_ever(process: Any, wait: str) -> None:
    """
    Wait for what does not come, in one of the ways to wait.
    """
    if wait == "wait_for":
        process.wait_for(BOUND)(Deferred)()
    elif wait == "wait":
        process.run_in_reactor(Deferred)().wait(BOUND)
    elif wait == "enter":
        with process.context(BOUND)(slow)([], "enter"):
            pass
    else:

        async def body() -> AsyncIterator[int]:
            await Deferred()
            yield 1

        next(process.iterate(BOUND)(body)())


class TestDecorated:
    """
    What it makes.
    """

    def test_looks_like_the_function(self, process: Any) -> None:
        """
        To programs and tools.
        """
        decorated: Any = Contexting(process.bridge).context_in_reactor(1)(noted)
        assert decorated.__name__ == "noted"
        assert decorated.__doc__ == noted.__doc__
        assert decorated.__wrapped__ is decorated.wrapped_function is noted
        assert inspect.signature(decorated) == inspect.signature(noted)
        assert type(decorated) is WaitedFunction
        assert repr(decorated([])) == "<context of noted()>"
        with pytest.raises(TypeError, match=r"noted\(\) cannot be copied or pickled"):
            pickle.dumps(decorated([]))

    def test_takes_all_kinds_of_functions(self, either: Any) -> None:
        """
        Methods, static and class methods, on either side, classes, coroutines and Deferreds.
        """
        context = either.context(BOUND)

        class Client:
            first = 5

            @context
            @asynccontextmanager
            async def method(self, number: int) -> AsyncIterator[int]:
                yield self.first + number

            @context
            @classmethod
            @asynccontextmanager
            async def of_class(cls) -> AsyncIterator[int]:
                yield cls.first

            @staticmethod
            @context
            @asynccontextmanager
            async def static() -> AsyncIterator[int]:
                yield 5

        async def later() -> Manager:
            return Manager()

        with Client().method(2) as value:
            assert value == 7
        with Client().method.with_timeout(BOUND)(3) as value:
            assert value == 8
        for function in (Client.of_class, Client().of_class, Client.static):
            with function() as value:
                assert value == 5
        for function in (Manager, later, lambda: succeed(Manager())):
            with context(function)() as value:
                assert type(value) is Manager
            assert value.exits == [None]

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ((noted,), TypeError, r"needs a timeout .*@context_in_reactor\(timeout=5\.0\)"),
            ((-1,), ValueError, r"context_in_reactor\(\) cannot wait for -1 s"),
            ((1, -1), ValueError, "give a grace from 0 seconds up"),
        ],
    )
    def test_refuses_arguments(
        self, process: Any, arguments: tuple[Any, ...], error: type[Exception], text: str
    ) -> None:
        """
        Where the function is decorated.
        """
        named = dict(zip(("timeout", "grace"), arguments, strict=False))
        with pytest.raises(error, match=text):
            Contexting(process.bridge).context_in_reactor(**named)

    def test_refuses_a_bare_generator_function(self, process: Any) -> None:
        """
        What is missing is the decorator in between.
        """
        with pytest.raises(TypeError, match=r"noted\(\) is .*put @contextlib\.asynccontextmanager"):
            Contexting(process.bridge).context_in_reactor(1)(noted.__wrapped__)  # type: ignore[attr-defined]

    def test_refuses_what_is_no_async_context_manager(self, either: Any) -> None:
        """
        Such as one that is not async.
        """

        @contextmanager
        def plain() -> Any:
            yield

        for function in (plain, lambda: None, lambda: succeed(1)):
            with (
                pytest.raises(TypeError, match="which is no async context manager"),
                either.context(BOUND)(function)(),
            ):
                pass


class TestOneTask:
    """
    Enter, block and exit are in one task and one context.
    """

    def test_has_the_context_variables_of_the_caller(self, either: Any) -> None:
        """
        And tokens can be used across the block.
        """
        seen: list[str] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            seen.append(_colour.get())
            token = _colour.set("blue")
            yield
            seen.append(_colour.get())
            _colour.reset(token)
            seen.append(_colour.get())

        def enter() -> None:
            _colour.set("red")
            with either.context(BOUND)(body)():
                _colour.set("green")

        copy_context().run(enter)
        assert seen == ["red", "blue", "red"]

    def test_is_one_task(self, on_asyncio: Any) -> None:
        """
        Of asyncio's.
        """
        tasks: list[object] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            tasks.append(asyncio.current_task())
            await asyncio.sleep(0)
            yield
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())

        with on_asyncio.context(BOUND)(body)():
            turn(on_asyncio)
        assert tasks[0] is tasks[1] is not None

    def test_anyios_task_groups_and_scopes_work(self, on_asyncio: Any) -> None:
        """
        It complains of one that is left in another task. The block's error comes out as it was.
        """
        anyio = pytest.importorskip("anyio")

        @asynccontextmanager
        async def body() -> AsyncIterator[object]:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep, BOUND)
                    outer.start_soon(anyio.sleep, BOUND)
                    yield scope
                    outer.cancel_scope.cancel()

        with on_asyncio.context(BOUND)(body)():
            turn(on_asyncio)
        error = KeyError("of the block")
        with pytest.raises(KeyError) as caught, on_asyncio.context(BOUND)(body)():
            raise error
        assert caught.value is error

    @needs_3_11
    def test_a_group_of_more_than_the_blocks_error_comes_whole(self, on_asyncio: Any) -> None:
        """
        What a child has raised meanwhile is not lost.
        """
        error = KeyError("of the block")

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            async with asyncio.TaskGroup() as group:

                async def child() -> None:
                    try:
                        await asyncio.sleep(BOUND)
                    finally:
                        raise ValueError("of a child")

                group.create_task(child())
                await asyncio.sleep(0)
                yield

        with pytest.raises(BaseException, match="TaskGroup") as caught:
            with on_asyncio.context(BOUND)(body)():
                raise error
        assert error in caught.value.exceptions  # type: ignore[attr-defined]
        assert {type(each) for each in caught.value.exceptions} == {KeyError, ValueError}  # type: ignore[attr-defined]

    def test_contexts_nest(self, either: Any) -> None:
        """
        The inner one is exited first.
        """
        notes: list[object] = []
        context = either.context(BOUND)(noted)
        with context(notes, 1) as one, context(notes, 2) as two:
            notes.append((one, two))
        assert notes == ["enter", "enter", (1, 2), "exit", "exit"]
        assert get_bound() is None  # or else each later wait would take longer


class TestErrors:
    """
    Of the block, and of either end.
    """

    @pytest.mark.parametrize(
        "kind", [KeyError, StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit]
    )
    def test_of_the_block_come_out_as_they_were(
        self, either: Any, kind: type[BaseException]
    ) -> None:
        """
        The same object, with this thread's frames only. The context has seen it.
        """
        notes: list[object] = []
        error = kind("of the block")
        with pytest.raises(kind) as caught, either.context(BOUND)(noted)(notes):
            raise error
        assert caught.value is error
        assert notes == ["enter", kind, "exit"]
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names == ["test_of_the_block_come_out_as_they_were"]
        assert error.__context__ is None

    def test_of_the_block_can_be_suppressed(self, either: Any) -> None:
        """
        By any true value. Where there is none, that is of no consequence.
        """
        with either.context(BOUND)(Manager)([1]) as manager:
            raise KeyError
        with either.context(BOUND)(Manager)([1]):
            pass
        assert [type(error) for error in manager.exits] == [KeyError]
        with pytest.raises(KeyError), either.context(BOUND)(Manager)([]):
            raise KeyError

    def test_of_the_enter(self, either: Any) -> None:
        """
        The block is not run. The error has the frames of both threads.
        """

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            raise LookupError("no such host")
            yield

        with pytest.raises(LookupError, match="no such host") as caught:
            with either.context(BOUND)(body)():
                raise AssertionError("the block was run")
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[0] == "test_of_the_enter"
        assert names[-1] == "body"

    @pytest.mark.parametrize("fails", [False, True])
    def test_of_the_exit(self, either: Any, fails: bool) -> None:
        """
        It comes instead of the block's, which is its context.
        """
        own = KeyError("of the block")

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            try:
                yield
            finally:
                raise ValueError("of the exit")

        with pytest.raises(ValueError, match="of the exit") as caught:
            with either.context(BOUND)(body)():
                if fails:
                    raise own
        assert caught.value.__context__ is (own if fails else None)

    def test_leave_no_cycle(self, either: Any) -> None:
        """
        Whatever raises, and whether the exit passes it on.
        """

        def act() -> None:
            with suppress(Uncopied), either.context(BOUND)(Uncopied.throw)():
                pass
            for function, error in ((noted, KeyError), (Manager, ValueError), (slow, TimeoutError)):
                if function is slow and sys.version_info >= (3, 12):
                    continue  # there a block's error beside a timeout of the exit leaves one
                args: tuple[Any, ...] = (
                    () if function is Manager else ([], "exit") if function is slow else ([],)
                )
                timeout = 0.02 if function is slow else BOUND
                try:
                    with either.context(timeout)(function)(*args):
                        raise error
                except (KeyError, ValueError, TimeoutError):
                    pass
            for _ in range(2):
                turn(either)

        assert cycles_of(act) == 0


class TestTheEnd:
    """
    The exit runs once, however the block is left.
    """

    def test_in_any_order(self, either: Any) -> None:
        """
        Nothing of a block is left in the context, where it would have each later wait look at it.
        """
        contexts = [either.context(BOUND)(noted)([]) for _ in range(3)]
        for context in contexts:
            context.__enter__()
        for index in (1, 0, 2):
            contexts[index].__exit__(None, None, None)
        assert get_bound() is None

    def test_interrupted_as_it_is_begun(self, either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        1. The block has begun. 2. A signal's exception ends the enter, and so the context. 3. The
        next wait is none of its business.
        """

        def begin(*args: Any) -> None:
            begin_block(*args)
            raise KeyboardInterrupt

        notes: list[object] = []
        monkeypatch.setattr("crochet._streams.context.begin_block", begin)
        context = either.context(BOUND)(noted)(notes)
        with pytest.raises(KeyboardInterrupt):
            context.__enter__()
        wait_until(lambda: notes[-1] == "exit", "the exit")
        turn(either)
        assert either.wait_for(BOUND)(int)() == 0

    def test_in_another_thread(self, either: Any) -> None:
        """
        As by a stack that is closed there.
        """
        notes: list[object] = []
        context = either.context(BOUND)(noted)(notes)
        assert context.__enter__() == 1
        assert Background(context.__exit__, None, None, None).outcome() is False
        assert notes == ["enter", "exit"]
        assert context.__exit__(None, None, None) is False
        assert notes == ["enter", "exit"]

    def test_does_not_come_of_a_look_that_is_too_early(self, either: Any) -> None:
        """
        1. The thread looks for the item, finds none, and asks for it. 2. It is there. The body
        pauses on: only to leave the context resumes it.
        """
        notes: list[object] = []
        context = either.context(BOUND)(noted)(notes)
        context.__enter__()
        context._consumer.pipe.ask()  # step 1, a little late
        turn(either)
        assert notes == ["enter"]
        context.__exit__(None, None, None)
        assert notes == ["enter", "exit"]

    def test_before_the_body_has_paused(self, either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        1. The body hands over the value. 2. The context is left, and the reactor thread comes to
        resume the body, as where the value's destructor runs the loop. 3. The body does not pause.
        """

        def enter(pipe: ContextPipe, value: object) -> None:
            hand_over(pipe, value)
            wait_until(lambda: pipe.is_left and either.bridge._queue, "step 2")
            either.bridge.drain_in_reactor([None])

        notes: list[object] = []
        hand_over = ContextPipe.enter
        monkeypatch.setattr(ContextPipe, "enter", enter)
        with either.context(BOUND)(noted)(notes):
            pass
        assert notes == ["enter", "exit"]

    def test_in_the_reactor_thread_nobody_waits(self, either: Any) -> None:
        """
        It would wait for itself.
        """
        notes: list[object] = []
        context = either.context(BOUND)(noted)(notes)
        context.__enter__()
        either.wait_for(BOUND)(context.__exit__)(None, None, None)
        del context
        wait_until(lambda: len(notes) == 2, "the exit")
        turn(either)
        assert notes == ["enter", "exit"]

    def test_of_the_last_reference(self, either: Any) -> None:
        """
        The context is cancelled, as by a signal that keeps a block from being left. Later waits of
        the thread are none of its business.
        """
        notes: list[object] = []
        either.context(BOUND)(noted)(notes).__enter__()
        wait_until(lambda: len(notes) == 3, "the exit")
        assert issubclass(notes[1], (CancelledError, asyncio.CancelledError))  # type: ignore[arg-type]
        turn(either)
        assert notes[2:] == ["exit"]

    def test_of_the_reactor(self, own: Any) -> None:
        """
        The context is cancelled, and has ended before the reactor has. An error of the block goes
        on, for that is the news.
        """
        notes: list[object] = []
        with pytest.raises(ReactorStopped), own.context(BOUND)(noted)(notes):
            own.loop.shutdown(BOUND)
            assert notes[2:] == ["exit"]
        own.loop.setup()
        with pytest.raises(KeyError), own.context(BOUND)(noted)(notes):
            own.loop.shutdown(BOUND)
            raise KeyError
        with pytest.raises(ReactorStopped, match=r"Deferred\(\) cannot be answered"):
            own.loop.setup()
            with own.context(BOUND)(noted)(notes):
                own.loop.shutdown(BOUND)
                wait_for_ever(own, "wait_for")
        assert notes.count("exit") == 3

    def test_is_refused_a_second_time(self, either: Any) -> None:
        """
        As by the one that is wrapped.
        """
        context = either.context(BOUND)(noted)([])
        with context:
            pass
        with pytest.raises(RuntimeError, match=r"noted\(\) has been entered before"):
            context.__enter__()

    def test_is_refused_in_the_reactor_thread(self, either: Any) -> None:
        """
        Nothing is run.
        """
        notes: list[object] = []
        context = either.context(BOUND)(noted)(notes)
        with pytest.raises(DeadlockError, match=r"async with noted\.__wrapped__"):
            either.wait_for(BOUND)(context.__enter__)()
        assert notes == []

    def test_is_refused_without_a_reactor(self, process: Any) -> None:
        """
        Nothing is left behind.
        """
        context: Any = Contexting(process.bridge).context_in_reactor(1)(noted)
        with pytest.raises(RuntimeError, match=r"call crochet\.setup|setup\(\)"), context([]):
            pass
        assert process.bridge.watched == set()

    def test_is_told_of_by_status(self, either: Any) -> None:
        """
        How far each is.
        """

        def details() -> list[str]:
            return [call().details for call in either.bridge.in_flight]

        with either.context(BOUND)(noted)([]):
            assert details() == ["waits for its with block to end"]
        context = either.context(0.01, grace=0)(slow)
        for where, expected in (("enter", "is being entered"), ("exit", "is being exited")):
            seen: list[str] = []

            @asynccontextmanager
            async def body(where: str = where, seen: list[str] = seen) -> AsyncIterator[None]:
                if where == "enter":
                    seen.extend(details())
                yield
                if where == "exit":
                    seen.extend(details())

            with either.context(BOUND)(body)():
                pass
            assert seen == [expected]
        del context


class TestTimeouts:
    """
    Either end is bounded.
    """

    @pytest.mark.usefixtures("patient")
    @pytest.mark.parametrize("where", ["enter", "exit"])
    def test_cancel_it(self, either: Any, where: str) -> None:
        """
        The error tells which end it was, why, and what became of it.
        """
        notes: list[object] = []
        what = "been entered" if where == "enter" else "been exited"
        expected = (
            rf"the context of slow\(\) has not {what} in 0\.05 s; it was cancelled\. It started .*"
            r"and waits in .*test_context\.py:\d+ slow\(\) > a Deferred\."
        )
        with pytest.raises(TimeoutError, match=expected) as caught:
            with either.context(0.05)(slow)(notes, where):
                assert where == "exit"
        assert notes == ["ended"]
        assert caught.value.cancelled
        assert caught.value.ended
        assert caught.value.state == "waiting"

    def test_wait_for_no_longer_than_the_grace(self, either: Any) -> None:
        """
        A cleanup that does not end goes on by itself.
        """
        cleaned: Deferred[None] = Deferred()
        notes: list[object] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            try:
                yield
                await Deferred()
            finally:
                await cleaned
                notes.append("ended")

        with pytest.raises(TimeoutError, match="told to cancel but has not ended yet"):
            with either.context(0.5, grace=0.05)(body)():  # its enter must be in time
                pass
        assert notes == []
        either.wait_for(BOUND)(lambda: cleaned.callback(None))()
        wait_until(lambda: notes == ["ended"], "the cleanup")

    def test_leave_the_exit_its_grace_after_a_deadline(self, either: Any) -> None:
        """
        What has ended the block must not keep the context from being exited.
        """
        notes: list[object] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            try:
                yield
            except TimeoutError:
                waited: Deferred[None] = Deferred()
                either.reactor.callLater(0.01, waited.callback, None)
                await waited
                notes.append("exit")
                raise

        with pytest.raises(TimeoutError, match="deadline"), crochet.deadline(0.02):
            with either.context(BOUND)(body)():
                wait_for_ever(either, "wait_for")
        assert notes == ["exit"]

    def test_deadlines_bound_the_enter(self, either: Any) -> None:
        """
        And one that is over keeps it from beginning.
        """
        notes: list[object] = []
        with pytest.raises(TimeoutError, match=r"all that deadline\(\) left"):
            with crochet.deadline(0.02), either.context(BOUND)(slow)(notes, "enter"):
                pass
        assert notes == ["ended"]
        with pytest.raises(TimeoutError, match=r"noted\(\) was not started"):
            with crochet.deadline(0), either.context(BOUND)(noted)(notes):
                pass
        assert notes == ["ended"]

    def test_deadlines_of_the_enter_hold_for_the_context(self, either: Any) -> None:
        """
        For all of its life, as for the body of any call.
        """
        left: list[float] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            yield
            left.append(crochet.deadline.remaining())

        context = either.context(BOUND)(body)()
        with crochet.deadline(BOUND):
            context.__enter__()
        context.__exit__(None, None, None)
        assert left[0] <= BOUND

    @pytest.mark.parametrize("where", ["enter", "exit"])
    def test_and_any_exception_out_of_the_wait(self, either: Any, where: str) -> None:
        """
        Such as Ctrl-C: it is cancelled, and has ended.
        """
        notes: list[object] = []

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            try:
                if where == "enter":
                    await run_in_caller(either.bridge, interrupt)
                yield
                await run_in_caller(either.bridge, interrupt)
            finally:
                notes.append("ended")

        def interrupt() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), either.context(BOUND)(body)():
            assert where == "exit"
        assert notes == ["ended"]


class TestAContextThatDies:
    """
    While the block is running.
    """

    @staticmethod
    def dying(die: Any) -> Callable[[], Any]:
        """
        Return one that fails once *die* has fired.
        """
        anyio = pytest.importorskip("anyio")

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            async with anyio.create_task_group() as group:

                async def child() -> None:
                    await die
                    raise ConnectionError("lost")

                group.start_soon(child)
                yield

        return body

    @pytest.mark.parametrize("wait", ["wait_for", "wait", "enter", "next"])
    def test_ends_the_wait_under_way(
        self, on_asyncio: Any, wait: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        And the ``with`` statement raises what it has died of. The thread is woken, and need not
        look up by itself.
        """
        monkeypatch.setattr(timeouts, "LONGEST", 10 * BOUND)
        die: Deferred[None] = Deferred()
        on_asyncio.run_in_reactor(on_asyncio.reactor.callLater)(0.05, die.callback, None)
        with pytest.raises(BaseException, match="TaskGroup") as caught:
            with on_asyncio.context(BOUND)(self.dying(die))():
                with pytest.raises(RuntimeError, match=r"body\(\) has ended while") as inner:
                    wait_for_ever(on_asyncio, wait)
                raise inner.value
        assert [str(each) for each in caught.value.exceptions] == ["lost"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("wait", ["wait_for", "wait", "enter", "next"])
    def test_ends_the_next_wait_and_only_that(self, on_asyncio: Any, wait: str) -> None:
        """
        Before anything is begun. The block may go on; what it died of is raised at its end.
        """
        die: Deferred[None] = Deferred()
        with pytest.raises(BaseException, match="TaskGroup") as caught:
            with on_asyncio.context(BOUND)(self.dying(die))():
                on_asyncio.run_in_reactor(die.callback)(None)
                wait_until(lambda: not on_asyncio.bridge.in_flight, "its end")
                with crochet.deadline(BOUND):
                    with pytest.raises(RuntimeError, match=r"body\(\) has ended while"):
                        wait_for_ever(on_asyncio, wait)
                turn(on_asyncio)
        assert [str(each) for each in caught.value.exceptions] == ["lost"]  # type: ignore[attr-defined]
        turn(on_asyncio)

    def test_has_nothing_begun_that_is_to_be_waited_for(self, on_asyncio: Any) -> None:
        """
        The call that is refused is not run.
        """
        die: Deferred[None] = Deferred()
        began: list[int] = []
        with pytest.raises(BaseException, match="TaskGroup"):
            with on_asyncio.context(BOUND)(self.dying(die))():
                on_asyncio.run_in_reactor(die.callback)(None)
                wait_until(lambda: not on_asyncio.bridge.in_flight, "its end")
                on_asyncio.wait_for(BOUND)(began.append)(1)
        turn(on_asyncio)
        assert began == []

    def test_is_noticed_by_a_wait_that_has_looked_before(
        self, on_asyncio: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. A wait looks for a note. 2. The context ends, leaves one, and finds no wait listed.
        3. The wait is listed, and looks once more before it blocks.
        """
        die: Deferred[None] = Deferred()
        result = on_asyncio.run_in_reactor(Deferred)()

        class Late(Waits):
            def __setitem__(self, waiter: Any, wait: Any) -> None:
                if not die.called:
                    on_asyncio.reactor.callFromThread(die.callback, None)
                    wait_until(lambda: len(on_asyncio.bridge.in_flight) == 1, "its end")
                super().__setitem__(waiter, wait)

        with pytest.raises(BaseException, match="TaskGroup"):
            with on_asyncio.context(BOUND)(self.dying(die))():
                monkeypatch.setattr(on_asyncio.bridge, "waits", Late())
                result.wait()
        assert not result.done()
        result.cancel()

    def test_without_an_error_ends_the_block_only(self, on_asyncio: Any) -> None:
        """
        A scope that was cancelled is left, and what it has cancelled is no error.
        """
        anyio = pytest.importorskip("anyio")

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            with anyio.move_on_after(0.02):
                yield

        with on_asyncio.context(BOUND)(body)():
            wait_for_ever(on_asyncio, "wait_for")
        with pytest.raises(KeyError), on_asyncio.context(BOUND)(body)():
            with suppress(RuntimeError):
                wait_for_ever(on_asyncio, "wait_for")
            raise KeyError

    @needs_3_11
    def test_by_a_timeout_of_its_own(self, on_asyncio: Any) -> None:
        """
        asyncio's, around the block.
        """

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            async with asyncio.timeout(0.02):
                yield

        with pytest.raises(asyncio.TimeoutError) as caught, on_asyncio.context(BOUND)(body)():
            wait_for_ever(on_asyncio, "wait_for")
        assert not isinstance(caught.value, TimeoutError)

    def test_leaves_other_threads_alone(self, on_asyncio: Any) -> None:
        """
        Also those that have a copy of the context.
        """
        answers: list[object] = []
        die: Deferred[None] = Deferred()
        with suppress(BaseException), on_asyncio.context(BOUND)(self.dying(die))():
            copied = copy_context()
            on_asyncio.run_in_reactor(die.callback)(None)
            wait_until(lambda: not on_asyncio.bridge.in_flight, "its end")
            answers.append(Background(copied.run, on_asyncio.wait_for(BOUND)(int)).outcome())
        assert answers == [0]

    def test_with_an_error_of_the_block_tells_of_both(self, on_asyncio: Any) -> None:
        """
        That of the context is raised, the other is in its history.
        """
        die: Deferred[None] = Deferred()
        own = KeyError("of the block")
        with pytest.raises(BaseException, match="TaskGroup") as caught:
            with on_asyncio.context(BOUND)(self.dying(die))():
                on_asyncio.run_in_reactor(die.callback)(None)
                wait_until(lambda: not on_asyncio.bridge.in_flight, "its end")
                raise own
        history: list[BaseException | None] = [caught.value]
        while history[-1] is not None:
            history.append(history[-1].__context__)
        assert own in history

    def test_is_logged_if_nobody_learns_of_it(
        self, on_asyncio: Any, logged: LoggedFailures
    ) -> None:
        """
        Its object was dropped.
        """
        error = ValueError("of the exit")

        @asynccontextmanager
        async def body() -> AsyncIterator[None]:
            try:
                yield
            finally:
                raise error

        on_asyncio.context(BOUND)(body)().__enter__()
        wait_until(lambda: not on_asyncio.bridge.in_flight, "its end")
        turn(on_asyncio)
        assert logged.take() == [error]


def test_an_exit_stack_of_its_own_works(either: Any) -> None:
    """
    It is told of the block's error by ``sys.exc_info()``, as in an ``async with``.
    """
    notes: list[object] = []

    @asynccontextmanager
    async def body() -> AsyncIterator[AsyncExitStack]:
        async with AsyncExitStack() as stack:
            stack.push(lambda *_: notes.append(sys.exc_info()[0]))
            yield stack

    with pytest.raises(KeyError), either.context(BOUND)(body)():
        raise KeyError
    assert notes == [KeyError]
    assert threading.current_thread() is threading.main_thread()
