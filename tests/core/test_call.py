"""
Starting calls in the reactor thread, and what their bodies may do there.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from crochet._core import call as _call
from crochet._core import decorators as _decorators
from crochet._core import waiting as _waiting
from crochet._core.call import Call
from crochet._core.result import call_of
from crochet._errors import stopped
from crochet._threads import timeouts
from crochet._threads.primitives import Waiter
from support.process import FakeProcess, LoggedFailures, call_for, failing_call
from support.stepping import BOUND, Background, FakeClock, FakeWaiter, Steps

_colour: ContextVar[str] = ContextVar("colour", default="none")


class TestBodies:
    """
    What a body may do.
    """

    def test_may_return_a_deferred(self, stepped: FakeProcess) -> None:
        """
        Then its result is the call's.
        """
        deferred: Deferred[int] = Deferred()
        result = call_for(stepped, deferred)
        stepped.reactor.turn()
        assert not result.done()
        deferred.callback(7)
        assert result.wait(0) == 7

    @pytest.mark.parametrize("value", [7, None, [], {"a": 1}])
    def test_may_return_a_deferred_that_has_fired(
        self, stepped: FakeProcess, value: object
    ) -> None:
        """
        Then the answer is there at once.
        """
        result = call_for(stepped, succeed(value))
        stepped.reactor.turn()
        assert result.wait(0) == value

    @pytest.mark.parametrize("wrap", [fail, lambda error: Failure(error)])
    def test_may_return_a_failure(
        self, stepped: FakeProcess, wrap: Callable[[Exception], object]
    ) -> None:
        """
        In a Deferred or bare.
        """
        result = call_for(stepped, wrap(ValueError("of a body")))
        stepped.reactor.turn()
        with pytest.raises(ValueError, match="of a body"):
            result.wait(0)

    def test_may_be_a_coroutine(self, stepped: FakeProcess) -> None:
        """
        Which sees the caller's context variables to its end.
        """
        deferred: Deferred[int] = Deferred()

        async def body() -> tuple[int, str]:
            return await deferred, _colour.get()

        token = _colour.set("red")
        result = stepped.run_in_reactor(body)()
        _colour.reset(token)
        stepped.reactor.turn()
        deferred.callback(7)
        assert result.wait(0) == (7, "red")

    def test_sees_the_callers_context(self, stepped: FakeProcess) -> None:
        """
        And keeps what it sets to itself.
        """

        def body() -> str:
            seen = _colour.get()
            _colour.set("green")
            return seen

        seen = []
        for colour in ("red", "blue"):
            token = _colour.set(colour)
            seen.append(stepped.run_in_reactor(body)())
            _colour.reset(token)
        stepped.reactor.turn()
        assert [result.wait(0) for result in seen] == ["red", "blue"]
        assert _colour.get() == "none"

    @pytest.mark.parametrize(
        "error",
        [ValueError(1), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(7)],
        ids=lambda error: type(error).__name__,
    )
    def test_may_raise_anything(self, stepped: FakeProcess, error: BaseException) -> None:
        """
        It reaches the caller, and the reactor goes on.
        """
        result = failing_call(stepped, error)
        after = call_for(stepped, 7)
        stepped.reactor.turn()
        with pytest.raises(type(error)) as caught:
            result.wait(0)
        assert caught.value is error
        assert after.wait(0) == 7

    def test_share_a_deferred_with_others(self, stepped: FakeProcess) -> None:
        """
        Whose callbacks get the value, too; of an error, they need not know.
        """
        deferreds: list[Deferred[Any]] = [Deferred(), Deferred()]
        results = [call_for(stepped, deferred) for deferred in deferreds]
        stepped.reactor.turn()
        seen: list[object] = []
        for deferred in deferreds:
            deferred.addBoth(seen.append)
        deferreds[0].callback(7)
        deferreds[1].errback(ValueError("of a body"))
        assert seen == [7, None]
        assert results[0].wait(0) == 7
        with pytest.raises(ValueError, match="of a body"):
            results[1].wait(0)

    def test_keep_nothing_alive_once_started(self, stepped: FakeProcess) -> None:
        """
        Neither function nor arguments.
        """

        class Argument:
            pass

        def body(argument: Argument) -> Deferred[None]:
            return deferred

        deferred: Deferred[None] = Deferred()
        argument = Argument()
        reference = weakref.ref(argument)
        result = stepped.run_in_reactor(body)(argument)
        del argument
        assert reference() is not None
        stepped.reactor.turn()
        assert reference() is None
        deferred.callback(None)
        assert result.wait(0) is None


class Interrupted(BaseException):
    """
    What a signal handler raises in the reactor thread, after no_setup() in the main one.
    """


@dataclass(frozen=True)
class NotFound(Exception):
    """
    An exception that takes no attributes.
    """

    what: str


class Speechless(RuntimeError):
    """
    An exception that cannot say what it is about.
    """

    def __str__(self) -> str:
        raise ValueError("no text")


class Unhashable(type):
    """
    The class of classes that cannot be hashed.
    """

    __hash__ = None  # type: ignore[assignment]


class Reserved(type):
    """
    The class of classes that tell nothing.
    """

    def __getattribute__(cls, name: str) -> Any:
        raise TypeError(f"there is no {name}")


class Unequal(type):
    """
    The class of classes that cannot be compared.
    """

    __hash__ = type.__hash__

    def __eq__(cls, other: object) -> bool:
        raise TypeError("what is that?")


class Shy:
    """
    A value that raises when it is asked for its class, as a proxy for nothing does.
    """

    @property
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a context")


def _raise(error: BaseException) -> None:
    raise error


def _interrupt() -> None:
    raise Interrupted


async def _coroutine(deferred: Deferred[int]) -> int:
    return await deferred


BODIES: dict[str, Callable[[Deferred[int]], object]] = {
    "returns": lambda deferred: 7,
    "raises": lambda deferred: _raise(KeyError("of a body")),
    "has fired": lambda deferred: succeed(7),
    "has failed": lambda deferred: fail(KeyError("of a body")),
    "fires": lambda deferred: deferred,
    "awaits": _coroutine,
}


class TestAnswers:
    """
    A call that was taken to be started is answered, whatever happens around it.
    """

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
    # CPython prints what is thrown into a destructor, here that of an error, and goes on.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("kind", BODIES)
    @pytest.mark.parametrize("where", ["start", "end"])
    def test_if_an_exception_is_thrown_in(
        self, stepped: FakeProcess, logged: LoggedFailures, kind: str, where: str
    ) -> None:
        """
        At each bytecode of ours: of what starts the call, and of what its Deferred calls. (In new
        threads, for one that is traced keeps the exception that it was handling.)
        """
        for at in itertools.count():
            deferred: Deferred[int] = Deferred()
            result = stepped.run_in_reactor(BODIES[kind])(deferred)
            called: list[object] = []
            result.add_done_callback(called.append)
            steps = Steps(at, _interrupt, is_signal=True)
            wakeup = stepped.bridge._wakeup
            try:
                if where == "start":
                    drain = partial(stepped.bridge.drain_in_reactor, wakeup)
                    Background(steps.run, drain).outcome()
                else:
                    stepped.reactor.turn()
                    Background(steps.run, partial(deferred.callback, 7)).outcome()
            except Interrupted:
                pass
            stepped.bridge.wake()
            stepped.reactor.turn()
            if not deferred.called:
                deferred.callback(7)
            if not result.done():
                stepped.bridge.look_for_stranded()  # as the watch does
                stepped.reactor.turn()
                stepped.reactor.turn()
            assert result.done(), f"lost at step {at}"
            assert {*called} == {result}, f"not called back at step {at}"
            with suppress(KeyError, Interrupted, CancelledError):
                assert result.wait(0) == 7
            if not steps.is_over:
                break
        assert at >= (5 if where == "start" or kind in ("fires", "awaits") else 0)
        del deferred, result, called  # what was interrupted is logged by Twisted, too
        gc.collect()
        logged.take()

    def test_releases_a_crowd_in_parts(self, stepped: FakeProcess) -> None:
        """
        So that the reactor has time for other things. Its end releases those that are left.
        """
        deferreds: list[Deferred[int]] = [Deferred(), Deferred()]
        crowds: list[list[Waiter]] = []
        for deferred in deferreds:
            call = call_of(stepped.run_in_reactor(deferred.addCallback)(int))
            crowds.append([Waiter() for _ in range(250)])
            call.callbacks.update(dict.fromkeys(crowds[-1]))
        stepped.reactor.turn()

        def released() -> list[int]:
            return [sum(not waiter.empty() for waiter in crowd) for crowd in crowds]

        for deferred in deferreds:
            deferred.callback(1)
        assert released() == [100, 100]
        stepped.reactor.turn()
        assert released() == [200, 200]
        assert len(stepped.bridge.in_flight) == 2
        stepped.bridge.close(stopped)
        assert released() == [250, 250]
        assert not stepped.bridge.in_flight

    @pytest.mark.parametrize(
        "error", [NotFound("a page"), Speechless(), NotFound(None)], ids=lambda e: type(e).__name__
    )
    @pytest.mark.parametrize("is_late", [False, True])
    def test_with_any_exception_that_there_is(
        self, stepped: FakeProcess, error: Exception, *, is_late: bool
    ) -> None:
        """
        Itself, also where its class refuses attributes, or to say what it is about.
        """
        result = stepped.run_in_reactor(fail if is_late else _raise)(error)
        stepped.reactor.turn()
        with pytest.raises(type(error)) as raised:
            result.wait(0)
        assert raised.value is error
        with pytest.raises(type(error)):
            result.wait(0)
        with pytest.raises(type(error)) as raised:
            _waited_for(stepped, error)
        assert raised.value is error

    def test_with_what_is_no_exception(self, stepped: FakeProcess) -> None:
        """
        A TypeError says so.
        """
        deferred: Deferred[object] = Deferred()
        result = stepped.run_in_reactor(lambda: deferred)()
        stepped.reactor.turn()
        deferred.errback(cast("Any", "a text"))
        with pytest.raises(TypeError, match=r"has failed with an object of 'str'.*errback"):
            result.wait(0)

    @pytest.mark.parametrize("kind", [Unhashable, Reserved, Unequal, None])
    def test_with_any_value_that_there_is(
        self, stepped: FakeProcess, kind: type[type] | None
    ) -> None:
        """
        Itself, also where its class cannot be hashed or asked, or the value itself cannot.
        """
        value = Shy() if kind is None else kind("Value", (), {})()
        result = stepped.run_in_reactor(lambda: value)()
        stepped.reactor.turn()
        assert result.wait(0) is value

    @pytest.mark.parametrize("kind", ["returned", "awaited", "fired", "called back"])
    def test_with_a_value_that_twisted_does_not_take(
        self, stepped: FakeProcess, logged: LoggedFailures, kind: str
    ) -> None:
        """
        Or with an error, if it could not go on: Twisted asks the value for its class, and then
        calls nobody. The watch notices.
        """

        async def body(deferred: Deferred[object]) -> object:
            awaited = await deferred
            return value if kind == "returned" else awaited

        value = Shy()
        deferred: Deferred[object] = Deferred()
        if kind == "called back":
            deferred.addCallback(list)
        function = body if kind in ("returned", "awaited") else lambda deferred: deferred
        result = stepped.run_in_reactor(function)(deferred)
        stepped.reactor.turn()
        with suppress(RuntimeError):
            deferred.callback(None if kind == "returned" else value)
        assert not result.done()
        stepped.bridge.look_for_stranded()
        stepped.reactor.turn()
        stepped.reactor.turn()
        if kind in ("returned", "fired"):
            assert result.wait(0) is value
        else:
            with pytest.raises(RuntimeError, match="cannot go on"):
                result.wait(0)
        if kind != "returned":
            return  # the program's own thread was told
        del deferred, result
        gc.collect()
        (error,) = logged.take()
        assert "outside of a context" in str(error)

    def test_if_the_error_cannot_be_stored(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        For lack of memory, say: then the answer is an error that says so.
        """
        errors = [MemoryError()]

        def explained(error: BaseException, name: str) -> BaseException:
            raise errors.pop()

        monkeypatch.setattr(_call, "explained", explained)
        result = stepped.run_in_reactor(_raise)(KeyError("of a body"))
        stepped.reactor.turn()
        with pytest.raises(RuntimeError, match=r"failed with KeyError, .* MemoryError was raised"):
            result.wait(0)

    @pytest.mark.parametrize("raised", [KeyboardInterrupt(), ValueError("by a handler")])
    def test_if_a_signal_handler_raises_while_the_error_is_stored(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch, raised: BaseException
    ) -> None:
        """
        The error all the same, and what the handler has raised goes on, whatever its class.
        """
        errors = [raised]

        def explained(error: BaseException, name: str) -> BaseException:
            if errors:
                raise errors.pop()
            return error

        monkeypatch.setattr(_call, "explained", explained)
        result = stepped.run_in_reactor(_raise)(KeyError("of a body"))
        with pytest.raises(type(raised)) as seen:
            result.cancel()
        assert seen.value is raised
        with pytest.raises(CancelledError):
            result.wait(0)

    @pytest.mark.parametrize("kind", ["fires", "awaits"])
    def test_whoever_waits_sees_to_it(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """
        While the reactor is quiet, and the watch asleep.
        """
        clock = FakeClock()
        clock.install(monkeypatch)
        monkeypatch.setattr(timeouts, "LONGEST", 0.1)
        waiter = FakeWaiter(lambda timeout: stepped.reactor.turn(), clock)
        stepped.bridge.new_waiter = lambda: waiter
        deferred: Any = Deferred()
        result = stepped.run_in_reactor(BODIES[kind])(deferred)
        stepped.reactor.turn()
        state = vars(deferred)
        name = "_callbacks" if "_callbacks" in state else "callbacks"  # up to Twisted 24.10
        state[name].clear()  # an exception has come in between
        deferred.callback(7)
        assert not result.done()
        if kind == "fires":
            assert result.wait(1) == 7
        else:
            with pytest.raises(RuntimeError, match="cannot go on"):
                result.wait(1)

    def test_what_may_go_on_by_itself_is_given_a_turn(self, stepped: FakeProcess) -> None:
        """
        By the end of which asyncio would have woken a task.
        """
        deferred: Any = Deferred()
        result = stepped.run_in_reactor(_coroutine)(deferred)
        stepped.reactor.turn()
        state = vars(deferred)
        state["_callbacks" if "_callbacks" in state else "callbacks"].clear()
        deferred.callback(7)
        stepped.bridge.look_for_stranded()
        stepped.reactor.turn()
        assert not result.done()
        stepped.reactor.turn()
        with pytest.raises(RuntimeError, match=r"_coroutine\(\) cannot go on"):
            result.wait(0)


class TestAbandoned:
    """
    A call that its thread could not have cancelled.
    """

    @pytest.mark.parametrize("kind", ["wait_for", "run_in_reactor"])
    def test_is_cancelled_by_the_watch(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """
        Once; for want of stack the thread could do nothing but set an attribute.
        """
        cancelled: list[object] = []
        deferred: Deferred[None] = Deferred(cancelled.append)
        submit = stepped.bridge.submit

        def fail_submitting(call: Call) -> None:
            submit(call)
            stepped.reactor.turn()
            raise RecursionError

        def fail_cancelling(*args: object) -> None:
            raise RecursionError

        monkeypatch.setattr(_waiting, "cancel_interrupted", fail_cancelling)
        monkeypatch.setattr(_decorators, "cancel_interrupted", fail_cancelling)
        monkeypatch.setattr(stepped.bridge, "submit", fail_submitting)
        decorate = stepped.run_in_reactor if kind == "run_in_reactor" else stepped.wait_for(5)
        function = decorate(lambda: deferred)
        with pytest.raises(RecursionError):
            function()
        stepped.bridge.look_for_stranded()
        stepped.bridge.look_for_stranded()
        assert not cancelled
        stepped.reactor.turn()
        assert len(cancelled) == 1


def _waited_for(process: FakeProcess, error: Exception) -> None:
    """
    Have a wait_for() function fail, on a reactor that is stepped.
    """
    submit = process.bridge.submit

    def submit_and_turn(call: Call) -> None:
        submit(call)
        process.reactor.turn()

    process.bridge.submit = submit_and_turn  # type: ignore[method-assign]
    try:
        process.wait_for(BOUND)(_raise)(error)
    finally:
        process.bridge.submit = submit  # type: ignore[method-assign]
