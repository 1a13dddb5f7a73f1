"""
The decorators: how a function comes to run in the reactor thread.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import pickle
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks, succeed

import crochet
from crochet import DeadlockError, EventualResult, ReactorStopped, TimeoutError
from crochet._core.decorators import name_of_function
from crochet._threads import timeouts
from support.process import FakeProcess, LoggedFailures, in_reactor_thread
from support.stepping import BOUND, FakeWaiter


def add(first: int, second: int = 2) -> int:
    """
    Add two numbers.
    """
    return first + second


# As programs have them: at the top of a module.
added = crochet.run_in_reactor(add)
waited = crochet.wait_for(timeout=5)(add)


@pytest.fixture
def turning(stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> FakeProcess:
    """
    A process whose reactor turns once whenever a caller waits.
    """
    waits(lambda timeout: stepped.reactor.turn())
    return stepped


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
        Calls of the wrapper need no await, either. The marks are the interpreter's, by version.
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
        assert name_of_function(Account.look) == "Account.look"

    @pytest.mark.parametrize("wrap", [lambda it: it, staticmethod, classmethod, functools.partial])
    def test_refuses_generator_functions(self, decorate: Any, wrap: Any) -> None:
        """
        Their bodies would run in the thread that iterates. ``run_in_reactor`` warns of plain ones.
        What to write instead works.
        """

        def numbers() -> Iterator[int]:
            yield 7

        async def async_numbers() -> AsyncIterator[int]:
            yield 7

        if isinstance(decorate, functools.partial):
            with pytest.raises(TypeError, match=r"numbers\(\) is a generator function.*inlineCall"):
                decorate(wrap(numbers))
        with pytest.raises(TypeError, match=r"numbers\(\) is an async generator") as caught:
            decorate(wrap(async_numbers))
        assert "inlineCallbacks" not in str(caught.value)
        advice = str(caught.value).split("`")[3]
        assert advice == "return [item async for item in async_numbers(...)]"
        names: dict[str, Any] = {"async_numbers": async_numbers}
        exec(f"async def collected():\n {advice.replace('...', '')}", names)
        coroutine = names["collected"]()
        with pytest.raises(StopIteration) as returned:
            coroutine.send(None)
        assert returned.value.value == [7]

    @pytest.mark.parametrize("wrap", [lambda it: it, staticmethod])
    def test_warns_of_a_generator_function(
        self, turning: FakeProcess, call: Any, wrap: Any
    ) -> None:
        """
        In the program's line. Programs written for 2.1.1 may decorate one, and get a generator.
        """

        def numbers() -> Iterator[int]:
            yield 7

        with pytest.warns(DeprecationWarning, match=r"numbers\(\) is a generator func") as caught:
            decorated = turning.run_in_reactor(wrap(numbers))
        assert [warning.filename for warning in caught] == [__file__]
        made = call(decorated)
        assert inspect.isgenerator(made)
        assert list(made) == [7]

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
        "timeout", [5, 5.5, Decimal("0.5"), None, math.inf, 10**400, 1e300, True]
    )
    def test_any_real_number_above_zero(self, turning: FakeProcess, timeout: Any) -> None:
        """
        And None.
        """
        decorated = turning.wait_for(timeout)(add)
        assert decorated(5) == 7
        assert turning.wait_for(timeout=timeout)(add)(5) == 7

    @pytest.mark.parametrize("timeout", [0, 0.0, False])
    def test_zero(self, turning: FakeProcess, timeout: Any) -> None:
        """
        For a call that is answered at once, or not at all: nothing is waited for.
        """
        with pytest.raises(TimeoutError, match=r"add\(\) has not started in 0 s"):
            turning.wait_for(timeout)(add)(5)

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
        self,
        stepped: FakeProcess,
        waits: Callable[..., FakeWaiter],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """
        Are waited for in parts.
        """

        def wait(timeout: float) -> None:
            if len(waiter.waits) == 2:
                stepped.reactor.turn()

        waiter = waits(wait)
        monkeypatch.setattr(timeouts, "LONGEST", 10.0)
        assert stepped.wait_for(18)(add)(5) == 7
        assert waiter.waits == [10.0, 8.0]


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

    def test_interrupted(self, stepped: FakeProcess) -> None:
        """
        By a signal's exception while the reactor is woken: nobody has the result, so the call is
        withdrawn. The next one is not kept from waking.
        """
        ran: list[int] = []
        ring = stepped.bridge._wake_reactor

        def interrupt(*args: object) -> None:
            stepped.bridge._wake_reactor = ring
            raise KeyboardInterrupt("Ctrl-C")

        stepped.bridge._wake_reactor = interrupt
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.run_in_reactor(ran.append)(1)
        result = stepped.run_in_reactor(ran.append)(2)
        stepped.reactor.turn()
        assert ran == [2]
        assert result.wait(0) is None
        assert stepped.bridge.calls_in_flight() == set()


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
        assert names == [
            "test_raises_the_error",
            "wait_for_reactor",
            "run_and_wait",
            "throw",
            "body",
        ]

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
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        Is released.
        """

        def stop(timeout: float) -> None:
            stepped.reactor.stop()
            stepped.reactor.turn()

        waits(stop)
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


class TestWithTimeout:
    """
    ``f.with_timeout(2.0)``
    """

    def test_is_the_same_function_with_another_timeout(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        And the same grace.
        """
        waited = stepped.wait_for(5, grace=0.01)(Deferred)
        waiter = waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match=r"Deferred\(\) has not answered in 2 s"):
            waited.with_timeout(2)()
        assert waiter.waits == pytest.approx([2.0, 0.01])

    def test_leaves_the_function_as_it_was(self, turning: FakeProcess) -> None:
        """
        It takes what that takes, and has its name.
        """
        waited = turning.wait_for(5)(add)
        quick = waited.with_timeout(None)
        assert quick.__name__ == quick.__qualname__ == "add"
        assert quick(1, second=5) == waited(1, second=5) == 6

    def test_of_a_method(self, turning: FakeProcess) -> None:
        """
        Is looked up on the instance, or on the class.
        """

        class Client:
            @turning.wait_for(5)
            def fetch(self, name: str) -> tuple[object, str]:
                return self, name

        client = Client()
        assert client.fetch.with_timeout(2)("x") == (client, "x")
        assert Client.fetch.with_timeout(2)(client, "x") == (client, "x")
        assert Client.fetch.with_timeout(2).__wrapped__ is Client.fetch.__wrapped__

    @pytest.mark.parametrize("timeout", [-1, "2", add])
    def test_takes_what_wait_for_takes(self, stepped: FakeProcess, timeout: Any) -> None:
        """
        And nothing else.
        """
        with pytest.raises((TypeError, ValueError)):
            stepped.wait_for(5)(add).with_timeout(timeout)
