"""
The other way: from the reactor thread into the thread that waits there.
"""

from __future__ import annotations

import gc
import threading
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks

from crochet._core import run_in_caller as _caller
from crochet._core.result import call_of
from support.process import FakeProcess, in_reactor_thread
from support.stepping import BOUND, Background, wait_until

_colour: ContextVar[str] = ContextVar("colour", default="none")


def _for(process: FakeProcess) -> Any:
    return lambda function, *args, **kwargs: _caller.run_in_caller(
        process.bridge, partial(function, *args, **kwargs)
    )


@pytest.fixture
def run_in_caller(running: FakeProcess) -> Any:
    """
    The function, for a process whose reactor runs.
    """
    return _for(running)


class TestRuns:
    """
    In the thread that waits.
    """

    def test_for_wait_for(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        In that thread's context, with arguments, and the value comes back.
        """
        seen: list[object] = []

        def work(number: int, *, factor: int) -> int:
            seen.extend([threading.get_ident(), _colour.get()])
            return number * factor

        async def body() -> int:
            _colour.set("of the body")
            value = await run_in_caller(work, 3, factor=2)
            assert threading.get_ident() == running.bridge.reactor_thread
            return int(value)

        assert running.wait_for(BOUND)(body)() == 6
        assert seen == [threading.get_ident(), "none"]

    def test_for_wait(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        Of an EventualResult, once somebody waits.
        """
        go_on: Deferred[None] = Deferred()

        async def body() -> Any:
            await go_on
            return await run_in_caller(threading.get_ident)

        result = running.run_in_reactor(body)()
        waiter = Background(result.wait, BOUND)
        wait_until(lambda: len(call_of(result).callbacks) == 1, "nobody waits")
        running.reactor.callFromThread(go_on.callback, None)
        assert waiter.outcome() == waiter.thread.ident

    def test_what_raises(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        The error is the body's to handle; the wait goes on.
        """

        def work() -> None:
            raise LookupError("in the caller")

        async def body() -> str:
            with pytest.raises(LookupError, match="in the caller"):
                await run_in_caller(work)
            return "handled"

        assert running.wait_for(BOUND)(body)() == "handled"

    def test_what_is_interrupted(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        Ctrl-C is meant for the thread as well: its wait ends, and the operation with it.
        """
        seen: list[type[BaseException]] = []

        def work() -> None:
            raise KeyboardInterrupt("Ctrl-C")

        async def body() -> None:
            try:
                await run_in_caller(work)
            except BaseException as error:
                seen.append(type(error))
                raise

        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            running.wait_for(BOUND)(body)()
        assert seen == [CancelledError]

    def test_one_inside_the_other(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        Blocking, reactor, blocking, reactor, and so on, ten deep.
        """

        @running.wait_for(BOUND)
        async def nested(depth: int) -> int:
            return 1 + await run_in_caller(nested, depth - 1) if depth else 0

        assert nested(10) == 10

    def test_in_bodies_of_every_kind(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        At their start, and when they have been resumed.
        """

        @running.wait_for(BOUND)
        def plain() -> Deferred[int]:
            visit: Deferred[int] = run_in_caller(threading.get_ident)
            return visit

        @running.wait_for(BOUND)
        @inlineCallbacks
        def generator() -> Any:
            first = yield run_in_caller(threading.get_ident)
            second = yield run_in_caller(threading.get_ident)
            return first if first == second else None

        @running.wait_for(BOUND)
        async def resumed_by_another() -> int:
            step: Deferred[None] = Deferred()
            running.run_in_reactor(lambda: step.callback(None))()
            await step
            ident: int = await run_in_caller(threading.get_ident)
            return ident

        for body in (plain, generator, resumed_by_another):
            assert body() == threading.get_ident()

    def test_several_at_once(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        One after another, in order.
        """
        seen: list[int] = []

        async def body() -> None:
            last = [run_in_caller(seen.append, number) for number in range(10)][-1]
            await last

        running.wait_for(BOUND)(body)()
        assert seen == list(range(10))

    def test_in_a_call_made_in_the_body(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        The call is the inner one, and who waits for the outer has no part in it.
        """

        async def inner() -> None:
            await run_in_caller(print)

        async def outer() -> None:
            await running.run_in_reactor(inner)()

        with pytest.raises(RuntimeError, match=r"run_in_caller\(\) in inner\(\): no thread waits"):
            running.wait_for(BOUND)(outer)()


class TestDoesNotRun:
    """
    Where there is nobody, or not any more.
    """

    def test_outside_the_reactor_thread(self, run_in_caller: Any) -> None:
        """
        There one calls the function.
        """
        with pytest.raises(RuntimeError, match="This is another thread: call the function"):
            run_in_caller(print)

    def test_outside_a_call(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        In some callback of the program's.
        """
        failures: list[Any] = []
        called = threading.Event()

        def callback() -> None:
            run_in_caller(print).addErrback(failures.append)
            called.set()

        running.reactor.callFromThread(callback)
        assert called.wait(BOUND)
        assert "in a callback()" in failures[0].getErrorMessage()

    def test_for_a_call_that_has_ended(self, running: FakeProcess, run_in_caller: Any) -> None:
        """
        Though its context lives on.
        """
        errors: list[Any] = []
        step: Deferred[None] = Deferred()

        async def afterwards() -> None:
            await step
            try:
                await run_in_caller(print)
            except RuntimeError as error:
                errors.append(error)

        def body() -> None:
            Deferred.fromCoroutine(afterwards())

        running.wait_for(BOUND)(body)()
        gc.collect()
        running.reactor.callFromThread(step.callback, None)
        running.wait_for(BOUND)(lambda: None)()
        wait_until(lambda: bool(errors), "nobody was told")
        assert "in a callback()" in str(errors[0])

    def test_when_the_answer_comes_first(self, stepped: FakeProcess) -> None:
        """
        1. The body asks for a visit. 2. It answers without awaiting it. 3. The waiter takes the
        answer, and drops the task, of which the reactor is told.
        """
        run_in_caller = _for(stepped)
        failures: list[Any] = []
        ran: list[int] = []

        def body() -> int:
            run_in_caller(ran.append, 1).addErrback(failures.append)
            return 7

        result = stepped.run_in_reactor(body)()
        waiter = Background(result.wait, BOUND)
        wait_until(lambda: len(call_of(result).callbacks) == 1, "nobody waits")
        with in_reactor_thread(stepped.bridge):
            stepped.reactor.turn()
        assert waiter.outcome() == 7
        del waiter
        gc.collect()
        wait_until(lambda: bool(stepped.reactor.turn() or failures), "nobody was told")
        assert "no thread waits" in failures[0].getErrorMessage()
        assert ran == []

    def test_what_was_cancelled_first(self, stepped: FakeProcess) -> None:
        """
        The waiter comes, and finds nothing to do.
        """
        run_in_caller = _for(stepped)
        ran: list[int] = []
        failures: list[Any] = []
        unending: Deferred[None] = Deferred()

        def body() -> Deferred[None]:
            visit = run_in_caller(ran.append, 1)
            visit.addErrback(failures.append)
            visit.cancel()
            return unending

        result = stepped.run_in_reactor(body)()
        waiter = Background(result.wait, BOUND)
        wait_until(lambda: len(call_of(result).callbacks) == 1, "nobody waits")
        with in_reactor_thread(stepped.bridge):
            stepped.reactor.turn()
        assert failures[0].check(CancelledError)
        unending.callback(None)
        assert waiter.outcome() is None
        assert ran == []
