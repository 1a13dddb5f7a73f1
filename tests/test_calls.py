"""
The decorators: how a function comes to run in the reactor thread.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import math
import os
import pickle
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.python.failure import Failure

import crochet
from crochet import (
    DeadlockError,
    EventualResult,
    ReactorStopped,
    TimeoutError,
    _calls,
    _result,
    _timeouts,
)
from fakes import BOUND, FakeClock, FakeLock, FakeProcess, LoggedFailures, in_reactor_thread


def add(first: int, second: int = 2) -> int:
    """
    Add two numbers.
    """
    return first + second


# As programs have them: at the top of a module.
added = crochet.run_in_reactor(add)
waited = crochet.wait_for(timeout=5)(add)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeLock]]:
    """
    Gives callers of ``wait_for`` a fake lock, with what is to happen while they wait.
    """

    def give(meanwhile: Callable[[float], object] = lambda timeout: None) -> FakeLock:
        clock = FakeClock()
        clock.install(monkeypatch)
        lock = FakeLock(meanwhile, clock)
        monkeypatch.setattr(_calls, "allocate_lock", lambda: lock)
        return lock

    return give


@pytest.fixture
def turning(stepped: FakeProcess, gate: Callable[..., FakeLock]) -> FakeProcess:
    """
    A process whose reactor turns once whenever a caller waits.
    """
    gate(lambda timeout: stepped.reactor.turn())
    return stepped


# What a body answers that returns a Deferred: a value, an error, or nothing.
_KINDS = {"answers": int, "fails": ValueError, "hangs": None}
_SOURCE = os.path.dirname(crochet.__file__)


class TestDecorating:
    """
    Both decorators, by what they leave of a function.
    """

    @pytest.fixture(params=["run_in_reactor", "wait_for"])
    def decorate(self, request: pytest.FixtureRequest, turning: FakeProcess) -> Any:
        """
        One of the decorators.
        """
        return turning.run_in_reactor if request.param == "run_in_reactor" else turning.wait_for(5)

    @pytest.fixture
    def call(self, turning: FakeProcess) -> Callable[..., Any]:
        """
        Calls a decorated function and returns what it returned.
        """

        def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            if isinstance(value, EventualResult):
                turning.reactor.turn()
                return value.wait(0)
            return value

        return call

    def test_a_function(self, decorate: Any, call: Any) -> None:
        """
        With any arguments.
        """
        decorated = decorate(add)
        assert call(decorated, 1) == 3
        assert call(decorated, 1, second=5) == 6
        assert call(decorated, first=1, second=7) == 8

    def test_arguments_of_any_name(self, decorate: Any, call: Any) -> None:
        """
        Also those that the wrappers might use themselves.
        """

        def body(**kwargs: int) -> dict[str, int]:
            return kwargs

        names = ["self", "function", "args", "result", "timeout", "name", "context"]
        kwargs = dict.fromkeys(names, 7)
        assert call(decorate(body), **kwargs) == kwargs

    def test_keeps_what_is_told_of_it(self, decorate: Any) -> None:
        """
        Name, documentation, signature, module.
        """
        decorated = decorate(add)
        assert decorated.__name__ == decorated.__qualname__ == "add"
        assert decorated.__doc__ == add.__doc__
        assert decorated.__module__ == __name__
        assert inspect.signature(decorated) == inspect.signature(add)
        assert inspect.isfunction(decorated)

    def test_keeps_the_function(self, decorate: Any) -> None:
        """
        For unit tests, by two names.
        """
        decorated = decorate(add)
        assert decorated.__wrapped__ is add
        assert decorated.wrapped_function is add

    def test_keeps_attributes(self, decorate: Any) -> None:
        """
        That other decorators have set.
        """

        def body() -> None:
            pass

        body.route = "/"  # type: ignore[attr-defined]
        assert decorate(body).route == "/"

    def test_a_lambda(self, decorate: Any, call: Any) -> None:
        """
        Is a function.
        """
        assert call(decorate(lambda: 7)) == 7

    def test_a_method(self, decorate: Any, call: Any) -> None:
        """
        Bound by the wrapper, or before.
        """

        class Account:
            balance = 7

            @decorate
            def look(self) -> int:
                return self.balance

            def peek(self) -> int:
                return self.balance

        assert call(Account().look) == 7
        assert call(Account.look, Account()) == 7
        peek = decorate(Account().peek)
        assert call(peek) == 7
        assert peek.__name__ == "peek"

    @pytest.mark.parametrize("kind", [staticmethod, classmethod])
    @pytest.mark.parametrize("is_above", [True, False])
    def test_other_methods(self, decorate: Any, call: Any, kind: Any, is_above: bool) -> None:
        """
        Above or below the decorator that makes them.
        """

        def body(*args: object) -> object:
            return args

        class Account:
            look = decorate(kind(body)) if is_above else kind(decorate(body))

        expected = (Account, 7) if kind is classmethod else (7,)
        assert call(Account.look, 7) == expected
        assert call(Account().look, 7) == expected
        assert type(vars(Account)["look"]) is kind
        assert Account.look.wrapped_function is body

    def test_a_partial(self, decorate: Any, call: Any) -> None:
        """
        Has the name of its function.
        """
        decorated = decorate(functools.partial(functools.partial(add), 5))
        assert call(decorated) == 7
        assert decorated.__name__ == "add"

    def test_an_object_that_can_be_called(self, decorate: Any, call: Any) -> None:
        """
        Has the name of its class.
        """

        class Adder:
            def __call__(self, number: int) -> int:
                return number + 2

        decorated = decorate(Adder())
        assert call(decorated, 5) == 7
        assert decorated.__name__ == "Adder"
        assert type(call(decorate(Adder))) is Adder

    def test_a_builtin(self, decorate: Any, call: Any) -> None:
        """
        Be it a function or a type.
        """
        assert call(decorate(len), "abc") == 3
        assert call(decorate(int), "7") == 7

    def test_inline_callbacks(self, decorate: Any, call: Any) -> None:
        """
        Return a Deferred, which is followed.
        """

        @decorate
        @inlineCallbacks
        def body(number: int) -> Iterator[Deferred[int]]:
            got = yield succeed(number)
            return got + 2  # type: ignore[operator]

        assert call(body, 5) == 7
        assert body.__name__ == "body"

    def test_a_coroutine_function(self, decorate: Any, call: Any) -> None:
        """
        Which is none any more: calling it needs no await.
        """

        @decorate
        async def body(number: int) -> int:
            return await succeed(number) + 2

        assert call(body, 5) == 7
        assert not inspect.iscoroutinefunction(body)
        assert inspect.iscoroutinefunction(body.__wrapped__)

    def test_a_function_marked_as_a_coroutine_function(self, decorate: Any) -> None:
        """
        Likewise. The marks are the interpreter's, by version.
        """

        def body() -> None:
            pass

        marks = ["_is_coroutine_mark", "_is_coroutine_marker", "_is_coroutine"]
        for mark in marks:
            setattr(body, mark, getattr(asyncio.coroutines, "_is_coroutine", None))
        if hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(body)
            assert inspect.iscoroutinefunction(body)
        decorated = decorate(body)
        assert not inspect.iscoroutinefunction(decorated)
        assert not set(vars(decorated)) & set(marks)

    def test_nested(self, decorate: Any) -> None:
        """
        A function defined in another is named without that one.
        """

        class Account:
            def look(self) -> None:
                raise NotImplementedError

        assert decorate(Account.look).__qualname__.endswith("Account.look")
        assert _calls.name_of_function(Account.look) == "Account.look"

    @pytest.mark.parametrize("wrap", [lambda it: it, staticmethod, classmethod, functools.partial])
    def test_refuses_generator_functions(self, decorate: Any, wrap: Any) -> None:
        """
        Their bodies would run in the thread that iterates.
        """

        def numbers() -> Iterator[int]:
            yield 7

        async def async_numbers() -> AsyncIterator[int]:
            yield 7

        for function in (numbers, async_numbers):
            with pytest.raises(TypeError, match=r"numbers\(\) is a generator function.*inlineCall"):
                decorate(wrap(function))

    @pytest.mark.parametrize("value", [7, None, "f"])
    def test_refuses_what_is_no_function(self, decorate: Any, value: Any) -> None:
        """
        With what it was.
        """
        with pytest.raises(TypeError, match=f"only functions .*{value!r}"):
            decorate(value)


@pytest.mark.parametrize("decorated", [added, waited])
def test_a_function_of_a_module_is_pickled_by_its_name(decorated: Any) -> None:
    """
    Like any other, if the name is that of the decorated one.
    """
    decorated.__qualname__ = "added" if decorated is added else "waited"
    try:
        assert pickle.loads(pickle.dumps(decorated)) is decorated
    finally:
        decorated.__qualname__ = "add"


class TestTimeouts:
    """
    What ``wait_for`` takes, when it decorates.
    """

    @pytest.mark.parametrize(
        "timeout", [0, 0.0, 5, 5.5, Decimal("0.5"), None, math.inf, 10**400, 1e300, True]
    )
    def test_any_real_number_from_zero_up(self, turning: FakeProcess, timeout: Any) -> None:
        """
        And None.
        """
        decorated = turning.wait_for(timeout)(add)
        assert decorated(5) == 7
        assert turning.wait_for(timeout=timeout)(add)(5) == 7

    @pytest.mark.parametrize(
        ("timeout", "error", "text"),
        [
            (-1, ValueError, "cannot wait for -1 s"),
            (-math.inf, ValueError, "cannot wait for -inf s"),
            (math.nan, ValueError, "NaN"),
            ("5", TypeError, "not str '5'"),
            ([], TypeError, "not list"),
        ],
    )
    def test_nothing_else(
        self, process: FakeProcess, timeout: Any, error: type[Exception], text: str
    ) -> None:
        """
        Refused before there is anything to decorate.
        """
        with pytest.raises(error, match=text):
            process.wait_for(timeout)

    def test_not_a_function(self, process: FakeProcess) -> None:
        """
        Which is what a decorator without parentheses gets.
        """
        with pytest.raises(TypeError, match=r"write @wait_for\(timeout=5\.0\), with parentheses"):

            @process.wait_for
            def body() -> None:
                raise NotImplementedError

    def test_longer_ones_than_a_lock_takes(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Are waited for in parts.
        """
        monkeypatch.setattr(_calls, "LONGEST", 10.0)
        monkeypatch.setattr(_timeouts, "LONGEST", 10.0)
        waits: list[float] = []

        def wait(timeout: float) -> None:
            waits.append(timeout)
            if len(waits) == 2:
                stepped.reactor.turn()

        gate(wait)
        assert stepped.wait_for(18)(add)(5) == 7
        assert waits == [10.0, 8.0]


class TestRunInReactor:
    """
    ``run_in_reactor``
    """

    def test_returns_at_once(self, stepped: FakeProcess) -> None:
        """
        The body runs in the reactor's thread.
        """
        idents: list[int] = []
        result = stepped.run_in_reactor(lambda: idents.append(threading.get_ident()))()
        assert isinstance(result, EventualResult)
        assert idents == []
        stepped.reactor.turn()
        assert idents == [threading.get_ident()]

    def test_from_the_reactor_thread(self, stepped: FakeProcess) -> None:
        """
        Is fine: nobody waits.
        """
        with in_reactor_thread(stepped.bridge):
            result = stepped.run_in_reactor(add)(5)
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("function", [add, len, asyncio.sleep])
    def test_wrong_arguments_are_an_error(
        self, stepped: FakeProcess, function: Callable[..., object]
    ) -> None:
        """
        For whoever takes the result.
        """
        result = stepped.run_in_reactor(function)(1, 2, 3, 4)
        stepped.reactor.turn()
        with pytest.raises(TypeError, match="argument"):
            result.wait(0)

    def test_before_setup(self, process: FakeProcess) -> None:
        """
        Raises, and the body never runs.
        """
        with pytest.raises(RuntimeError, match=r"add\(\) was called before crochet\.setup"):
            process.run_in_reactor(add)(5)

    def test_interrupted(self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        By a signal's exception while the reactor is woken: nobody has the result, so the call is
        withdrawn. The next one is not kept from waking.
        """
        ran: list[int] = []

        def interrupt(*args: object) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt("Ctrl-C")

        monkeypatch.setattr(stepped.bridge, "_ring", interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.run_in_reactor(ran.append)(1)
        result = stepped.run_in_reactor(ran.append)(2)
        stepped.reactor.turn()
        assert ran == [2]
        assert result.wait(0) is None
        assert stepped.bridge.in_flight == set()


class TestWaitFor:
    """
    ``wait_for``
    """

    def test_returns_the_value(self, turning: FakeProcess) -> None:
        """
        Of a plain function, a Deferred or a coroutine.
        """

        async def coroutine() -> int:
            return 7

        for body in (lambda: 7, lambda: succeed(7), coroutine):
            assert turning.wait_for(5)(body)() == 7

    def test_raises_the_error(self, turning: FakeProcess, logged: LoggedFailures) -> None:
        """
        The very object, with the frames of both sides.
        """
        error = ValueError("of a body")

        @turning.wait_for(5)
        def body() -> None:
            raise error

        with pytest.raises(ValueError, match="of a body") as caught:
            body()
        assert caught.value is error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names == ["test_raises_the_error", "wait_for_reactor", "throw", "body"]

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
    def test_raises_any_exception(self, turning: FakeProcess, kind: type[BaseException]) -> None:
        """
        Of the body's; the operation is over, and is not given up.
        """

        @turning.wait_for(5)
        def body() -> None:
            raise kind("of a body")

        with pytest.raises(kind, match="of a body"):
            body()

    def test_in_the_reactor_thread(self, stepped: FakeProcess) -> None:
        """
        Is refused, and the body not run.
        """
        ran: list[int] = []
        with in_reactor_thread(stepped.bridge):
            with pytest.raises(DeadlockError, match=r"append\(\) in the reactor thread"):
                stepped.wait_for(5)(ran.append)(1)
            stepped.reactor.turn()
        assert ran == []

    def test_before_setup(self, process: FakeProcess) -> None:
        """
        Is refused.
        """
        with pytest.raises(RuntimeError, match=r"add\(\) was called before crochet\.setup"):
            process.wait_for(5)(add)(5)

    def test_after_the_end(self, stepped: FakeProcess) -> None:
        """
        Is refused at once.
        """
        stepped.reactor.stop()
        stepped.reactor.turn()
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            stepped.wait_for(5)(add)(5)

    def test_while_the_reactor_ends(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        Is released.
        """

        def stop(timeout: float) -> None:
            stepped.reactor.stop()
            stepped.reactor.turn()

        gate(stop)
        with pytest.raises(ReactorStopped, match="the reactor has stopped"):
            stepped.wait_for(5)(Deferred)()

    def test_in_a_real_thread(self, running: FakeProcess) -> None:
        """
        The way that programs do.
        """

        async def body(number: int) -> tuple[int, int]:
            deferred: Deferred[int] = Deferred()
            running.reactor.callLater(0, deferred.callback, number)
            return await deferred, threading.get_ident()

        assert running.wait_for(BOUND)(body)(7) == (7, running.bridge.reactor_thread)


class TestGivingUp:
    """
    A wait that ends for lack of time.
    """

    def test_cancels_the_operation(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        And waits for its end.
        """
        told: list[object] = []
        lock = gate(lambda timeout: stepped.reactor.turn())
        expected = r"Deferred\(\) has not answered in 5 s; it was cancelled"
        with pytest.raises(TimeoutError, match=expected) as caught:
            stepped.wait_for(5)(Deferred)(told.append)
        assert len(told) == 1
        assert caught.value.__context__ is None
        assert lock.waits == pytest.approx([5.0, 0.02])
        assert stepped.bridge.in_flight == set()

    def test_waits_for_its_cleanup(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        A second at most, once it has been told.
        """
        cleaned = Deferred[None]()
        waits: list[float] = []

        async def body() -> None:
            try:
                await Deferred()
            finally:
                await cleaned

        def wait(timeout: float) -> None:
            waits.append(timeout)
            stepped.reactor.turn()
            if timeout == pytest.approx(1.0):
                cleaned.callback(None)

        gate(wait)
        with pytest.raises(TimeoutError, match="it was cancelled"):
            stepped.wait_for(5)(body)()
        assert waits == pytest.approx([5.0, 0.02, 1.0])

    def test_waits_no_longer_than_that(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        What comes then is lost, unless it is an error.
        """
        last: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await last

        lock = gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(body)()
        assert lock.waits == pytest.approx([5.0, 0.02, 1.0])
        last.callback(None)
        assert stepped.bridge.in_flight == set()

    def test_does_not_wait_for_a_busy_reactor(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        To which the cancellation does not get through.
        """
        turns = iter([stepped.reactor.turn])
        lock = gate(lambda timeout: next(turns, lambda: None)())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(Deferred)()
        assert lock.waits == pytest.approx([5.0, 0.02])
        stepped.reactor.turn()
        assert stepped.bridge.in_flight == set()

    def test_logs_another_error_that_comes_too_late(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        Than the CancelledError that is expected.
        """
        error = ValueError("of a cleanup")
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5)(Deferred)(lambda deferred: deferred.errback(error))
        gc.collect()
        assert logged.take() == [error]

    @pytest.mark.parametrize("timeout", [0, 5])
    def test_before_the_start(self, stepped: FakeProcess, gate: Any, timeout: float) -> None:
        """
        Withdraws the call, and the body never runs.
        """
        ran: list[int] = []
        lock = gate()
        expected = rf"append\(\) has not started in {timeout} s; it was withdrawn.* not come to it"
        with pytest.raises(TimeoutError, match=expected):
            stepped.wait_for(timeout)(ran.append)(1)
        assert lock.waits == [timeout]
        assert stepped.bridge.in_flight == set()
        stepped.reactor.turn()
        assert ran == []

    def test_before_the_reactor_runs(self, process: FakeProcess, gate: Any) -> None:
        """
        After ``no_setup()``, the text says so. The call may be in time.
        """
        ran: list[int] = []
        process.loop.no_setup()
        gate()
        with pytest.raises(TimeoutError, match=r"not running yet.*has to call reactor\.run\(\)"):
            process.wait_for(5)(ran.append)(1)
        gate(lambda timeout: (process.reactor.start(), process.reactor.turn()))
        process.bridge.reactor_thread = None
        assert process.wait_for(5)(lambda: 7)() == 7
        assert ran == []

    def test_as_the_answer_comes(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The caller's time is over. 2. The answer is stored. 3. The caller finds it, and cancels
        nothing.
        """

        class LateLock(FakeLock):
            def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
                has_acquired = super().acquire(blocking, timeout)
                if not has_acquired:
                    stepped.reactor.turn()
                return has_acquired

        monkeypatch.setattr(_calls, "allocate_lock", LateLock)
        assert stepped.wait_for(5)(lambda: 7)() == 7

    def test_in_a_real_thread(self, running: FakeProcess) -> None:
        """
        With real locks and a short time. Whatever has started by then is cancelled.
        """
        started: list[object] = []
        told: list[object] = []

        def body() -> Deferred[object]:
            started.append(Deferred(told.append))
            return started[0]  # type: ignore[return-value]

        with pytest.raises(TimeoutError, match=r"body\(\) has not"):
            running.wait_for(0.05)(body)()
        has_been_told = threading.Event()
        running.reactor.callFromThread(has_been_told.set)
        assert has_been_told.wait(BOUND)
        assert told == started

    def test_of_a_reactor_that_is_blocked(self, running: FakeProcess) -> None:
        """
        By another body. The call is withdrawn.
        """
        ran: list[int] = []
        blocked, go_on = threading.Event(), threading.Event()

        def block() -> None:
            blocked.set()
            assert go_on.wait(BOUND)

        running.run_in_reactor(block)()
        assert blocked.wait(BOUND)
        expected = r"waits in test_calls\.py:\d+ block\(\) for an event\. It has been busy for "
        with pytest.raises(TimeoutError, match=expected):
            running.wait_for(0.01)(ran.append)(1)
        go_on.set()
        assert running.wait_for(BOUND)(lambda: 7)() == 7
        assert ran == []

    def test_leaves_no_cycle(self, running: FakeProcess) -> None:
        """
        Of error, traceback and frame.
        """

        def act(timeout: float) -> None:
            try:
                running.wait_for(timeout)(Deferred)()
            except TimeoutError:
                pass
            for _ in range(2):
                running.wait_for(BOUND)(int)()

        for timeout in (0.0, 0.05):
            act(timeout)
            gc.collect()
            gc.disable()
            try:
                act(timeout)
                assert gc.collect() == 0
            finally:
                gc.enable()

    def test_an_error_leaves_no_cycle(self, running: FakeProcess) -> None:
        """
        Likewise.
        """

        def body() -> None:
            raise ValueError("of a body")

        def act() -> None:
            try:
                running.wait_for(BOUND)(body)()
            except ValueError:
                pass
            for _ in range(2):
                running.wait_for(BOUND)(int)()

        act()
        gc.collect()
        gc.disable()
        try:
            act()
            assert gc.collect() == 0
        finally:
            gc.enable()


class TestGrace:
    """
    The time for an operation's cleanup.
    """

    @pytest.mark.parametrize(("grace", "waits"), [(3, [5.0, 0.02, 3.0]), (0.01, [5.0, 0.01, 0.01])])
    def test_is_the_programs_choice(
        self,
        stepped: FakeProcess,
        gate: Callable[..., FakeLock],
        grace: float,
        waits: list[float],
    ) -> None:
        """
        The error tells whether it was enough.
        """
        last: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await last

        lock = gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet") as caught:
            stepped.wait_for(5, grace=grace)(body)()
        assert lock.waits == pytest.approx(waits)
        assert (caught.value.cancelled, caught.value.ended) == (True, False)
        last.callback(None)

    def test_may_be_none(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Then the operation is told, and nothing is waited for.
        """
        told: list[object] = []
        lock = gate(lambda timeout: timeout and stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, grace=0)(Deferred)(told.append)
        assert lock.waits == [5.0, 0.0]
        stepped.reactor.turn()
        assert len(told) == 1

    @pytest.mark.parametrize(
        ("grace", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)]
    )
    def test_is_a_number_of_seconds(
        self, stepped: FakeProcess, grace: Any, error: type[Exception]
    ) -> None:
        """
        From zero up.
        """
        with pytest.raises(error):
            stepped.wait_for(5, grace=grace)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take notes from 3.11 on")
    @pytest.mark.parametrize(
        ("starts", "ends", "note"),
        [
            (False, False, "body() had not started; it was withdrawn and will not run."),
            (True, True, "body() was cancelled, and has ended."),
            (True, False, "body() was told to cancel but has not ended yet."),
        ],
    )
    def test_another_exception_has_a_note_of_how_it_ended(
        self,
        stepped: FakeProcess,
        gate: Callable[..., FakeLock],
        starts: bool,
        ends: bool,
        note: str,
    ) -> None:
        """
        Printed below its traceback.
        """

        def interrupt(timeout: float) -> None:
            if starts:
                stepped.reactor.turn()
            if timeout == 5.0:
                raise KeyboardInterrupt("Ctrl-C")

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                if not ends:
                    await Deferred()

        gate(interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            stepped.wait_for(5)(body)()
        assert caught.value.__notes__ == [note]


class TestLateValues:
    """
    What comes after the wait was given up.
    """

    def test_are_handed_over(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Once, whenever they come.
        """
        late: list[object] = []
        opened: Deferred[str] = Deferred()

        async def body() -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return await opened

        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, on_late=late.append)(body)()
        assert late == []
        opened.callback("a connection")
        stepped.reactor.turn()
        assert late == ["a connection"]

    def test_that_come_while_it_is_cancelled(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        For want of anything better to answer a cancellation with.
        """
        late: list[object] = []
        started: Deferred[str] = Deferred(lambda deferred: deferred.callback("a connection"))
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="it was cancelled"):
            stepped.wait_for(5, on_late=late.append)(lambda: started)()
        assert late == ["a connection"]

    def test_after_an_interruption_twice(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        Are handed over once, though both have the operation cancelled.
        """
        late: list[object] = []
        opened: Deferred[str] = Deferred()

        async def body() -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return await opened

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            raise KeyboardInterrupt(f"at {timeout:g}")

        gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"at 0\.02"):
            stepped.wait_for(5, on_late=late.append)(body)()
        stepped.reactor.turn()
        opened.callback("a connection")
        assert late == ["a connection"]

    def test_errors_are_not(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        They are logged, unless they are what was expected.
        """
        late: list[object] = []
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)()
        error = ValueError("of a cleanup")
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)(lambda d: d.errback(error))
        assert late == []
        gc.collect()
        assert logged.take() == [error]

    def test_an_error_in_the_hand_over_is_logged(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        And does no harm to the reactor.
        """
        error = LookupError("in on_late")

        def refuse(value: object) -> None:
            raise error

        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="it was cancelled"):
            stepped.wait_for(5, on_late=refuse)(Deferred)(lambda d: d.callback("a connection"))
        assert logged.take() == [error]

    def test_are_nothing_to_one_that_cannot_be_called(self, stepped: FakeProcess) -> None:
        """
        Which is refused where the function is decorated.
        """
        with pytest.raises(TypeError, match="on_late is a function that takes the late value"):
            stepped.wait_for(5, on_late="close")  # type: ignore[call-overload]


class TestWithTimeout:
    """
    ``f.with_timeout(2.0)``
    """

    def test_is_the_same_function_with_another_timeout(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        And the same grace.
        """
        waited = stepped.wait_for(5, grace=0.01)(Deferred)
        lock = gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match=r"Deferred\(\) has not answered in 2 s"):
            waited.with_timeout(2)()
        assert lock.waits == pytest.approx([2.0, 0.01])

    def test_leaves_the_function_as_it_was(self, turning: FakeProcess) -> None:
        """
        It takes what that takes, and has its name.
        """
        waited = turning.wait_for(5)(add)
        quick = waited.with_timeout(None)
        assert quick.__name__ == "add"
        assert quick(1, second=5) == waited(1, second=5) == 6

    def test_of_a_method(self, turning: FakeProcess) -> None:
        """
        Is looked up on the class.
        """

        class Client:
            @turning.wait_for(5)
            def fetch(self, name: str) -> tuple[object, str]:
                return self, name

        client = Client()
        assert Client.fetch.with_timeout(2)(client, "x") == (client, "x")

    @pytest.mark.parametrize("timeout", [-1, "2", add])
    def test_takes_what_wait_for_takes(self, stepped: FakeProcess, timeout: Any) -> None:
        """
        And nothing else.
        """
        with pytest.raises((TypeError, ValueError)):
            stepped.wait_for(5)(add).with_timeout(timeout)


class TestInterruptions:
    """
    A wait that ends by an exception that a signal handler raises.
    """

    def test_before_the_start(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Withdraws the call.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        ran: list[int] = []
        gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(ran.append)(1)
        stepped.reactor.turn()
        assert ran == []
        assert stepped.bridge.in_flight == set()

    def test_after_the_start(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Cancels the operation, and waits for its end.
        """
        told: list[object] = []

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == 5.0:
                raise KeyboardInterrupt("Ctrl-C")

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(Deferred)(told.append)
        assert lock.waits == pytest.approx([5.0, 0.02])
        assert len(told) == 1
        assert stepped.bridge.in_flight == set()

    def test_leaves_no_flag_behind(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        1. The caller has noted that a wake-up is on its way. 2. Signals keep it from waking and
        from taking that back. 3. It wakes the reactor in any case, for those who come after it.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        gate(interrupt)
        stepped.reactor.turn()
        before = stepped.reactor.number_of_wakings()
        stepped.bridge._wakeup = [None]
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(int)()
        assert stepped.reactor.number_of_wakings() > before
        result = stepped.run_in_reactor(lambda: 7)()
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("second_at", [0.02, 1.0])
    def test_twice(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], second_at: float
    ) -> None:
        """
        Cancels the operation, whose end is not waited for any longer.
        """
        told: list[object] = []
        cleaned: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred(told.append)
            finally:
                await cleaned

        def interrupt(timeout: float) -> None:
            if timeout != 0.02 or second_at != 0.02:
                stepped.reactor.turn()
            if timeout in (5.0, second_at):
                raise KeyboardInterrupt(f"Ctrl-C at {timeout}")

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"Ctrl-C at {second_at}"):
            stepped.wait_for(5)(body)()
        assert lock.waits[-1] == second_at
        stepped.reactor.turn()
        assert len(told) == 1
        cleaned.callback(None)
        assert stepped.bridge.in_flight == set()

    def test_while_it_gives_up(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        1. The time is over, the operation is told to cancel. 2. A signal comes while its cleanup
        is waited for. 3. It has been told: nothing more is to be done.
        """
        told: list[object] = []

        async def body() -> None:
            try:
                await Deferred(told.append)
            finally:
                await cleaned

        cleaned: Deferred[None] = Deferred()

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == pytest.approx(1.0):
                raise KeyboardInterrupt("Ctrl-C")

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(body)()
        assert lock.waits == pytest.approx([5.0, 0.02, 1.0])
        assert len(told) == 1
        cleaned.callback(None)

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_step(
        self, stepped: FakeProcess, gate: Any, kind: str, logged: LoggedFailures
    ) -> None:
        """
        At each call and return within the library, in turn: no operation is left running, none
        starts later, and the next call is answered. An error that does not get through is logged.
        """
        for point in itertools.count():
            interruption = _Interruption(point)
            self._check_a_call_with(stepped, gate, kind, interruption)
            assert not stepped.bridge.in_flight, f"left in flight: {interruption}"
            if not interruption.has_come:
                break
        assert {type(error) for error in logged.take()} == {ValueError} & {_KINDS[kind]}
        assert point > 15

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_two_steps(
        self, stepped: FakeProcess, gate: Any, kind: str, logged: LoggedFailures, monkeypatch: Any
    ) -> None:
        """
        Likewise, and a second time at each call and return of what is done about the first.
        """
        abandon = _result.abandon
        seconds = 0
        for point, second_point in itertools.product(range(40), range(40)):
            second = _Interruption(second_point)

            def interrupted(*args: Any, second: _Interruption = second) -> None:
                with second:
                    abandon(*args)

            monkeypatch.setattr(_result, "abandon", interrupted)
            self._check_a_call_with(stepped, gate, kind, _Interruption(point))
            seconds += second.has_come
        assert seconds > 50
        logged.take()

    def test_at_every_two_steps_of_a_call_in_the_background(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch, logged: LoggedFailures
    ) -> None:
        """
        ``run_in_reactor`` either returns a result, or the body never runs. An interruption as it
        returns is like one right after that: the result is lost, and the call goes on.
        """
        abandon = _result.abandon
        seconds = 0
        ran: list[int] = []
        for point, second_point in itertools.product(range(20), range(20)):
            interruption, second = _Interruption(point), _Interruption(second_point)

            def interrupted(*args: Any, second: _Interruption = second) -> None:
                with second:
                    abandon(*args)

            monkeypatch.setattr(_result, "abandon", interrupted)
            call = stepped.run_in_reactor(ran.append)
            result = None
            with interruption:
                try:
                    result = call(point)
                except KeyboardInterrupt:
                    pass
            for _ in range(2):
                stepped.reactor.turn()
            is_made = result is not None or "return of <EventualResult" in repr(interruption)
            assert ran == [point] * is_made, (interruption, second)
            ran.clear()
            seconds += second.has_come
        assert seconds > 50
        # Nobody ordered those, if the second interruption kept that from being noted.
        assert {type(error) for error in logged.take()} <= {CancelledError}

    def _check_a_call_with(
        self, stepped: FakeProcess, gate: Any, kind: str, interruption: _Interruption
    ) -> None:
        started = self._interrupted_call(stepped, gate, kind, interruption)
        running = [deferred for deferred in started if not deferred.called]
        for _ in range(2):
            stepped.reactor.turn()
        assert all(deferred.called for deferred in running), f"left running: {interruption}"
        assert len(started) <= 1, f"started later or twice: {interruption}"
        gate(lambda timeout: stepped.reactor.turn())
        assert stepped.wait_for(5)(lambda: succeed(3))() == 3

    def _interrupted_call(
        self, stepped: FakeProcess, gate: Any, kind: str, interruption: _Interruption
    ) -> list[Deferred[object]]:
        """
        Call a body that returns a Deferred, and return what it returned, whenever that was.
        """
        started: list[Deferred[object]] = []
        is_over = False

        def body() -> Deferred[object]:
            started.append(Deferred())
            if is_over:
                started.append(Deferred())  # is not to be
            return started[0]

        def meanwhile(timeout: float) -> None:
            with _undisturbed():
                stepped.reactor.turn()
                if kind != "hangs" and started and not started[0].called:
                    started[0].callback(7 if kind == "answers" else Failure(ValueError("why")))

        gate(meanwhile)
        call = stepped.wait_for(5)(body)
        with interruption:
            try:
                assert call() == 7
            except (KeyboardInterrupt, ValueError, TimeoutError):
                pass
        is_over = True
        return started


class _Interruption:
    """
    Raises KeyboardInterrupt at the n-th call or return in the library's code.
    """

    def __init__(self, point: int) -> None:
        self._left = point
        self.has_come = False
        self._place = "nowhere"

    def __repr__(self) -> str:
        return f"<interruption in {self._place}>"

    def __enter__(self) -> None:
        sys.setprofile(self._profile)

    def __exit__(self, *args: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        is_ours = frame.f_code.co_filename.startswith(_SOURCE)
        if self.has_come or not is_ours or _is_finalizer(frame):
            return
        if self._left == 0:
            # The interpreter stops profiling when a profiler raises.
            self.has_come = True
            self._place = f"{frame.f_code.co_name}, line {frame.f_lineno}, {event} of {argument}"
            raise KeyboardInterrupt(self._place)
        self._left -= 1


def _is_finalizer(frame: FrameType | None) -> bool:
    """
    Tell whether an exception would only be printed, for this runs within a ``__del__``.
    """
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """
    Do what the reactor thread does, which no signal handler interrupts.
    """
    profile = sys.getprofile()
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(profile)
