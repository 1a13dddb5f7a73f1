"""
``reactor_only``: where a guarded function may be called, and what it looks like.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.python import threadable

import crochet
from crochet._diagnostics import guards as _guards
from crochet._diagnostics.guards import guard
from support.process import FakeProcess, LoggedFailures, in_reactor_thread
from support.programs import run_python
from support.stepping import BOUND

# What the bodies below have been given: nothing, unless they have run.
ran: list[object] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    """
    Begin with bodies that have not run.
    """
    ran.clear()


@pytest.fixture
def reactor_only(stepped: FakeProcess) -> Any:
    """
    The decorator, for a process whose reactor this thread plays.
    """
    return functools.partial(guard, stepped.bridge)


@crochet.reactor_only
def of_a_module(number: int, *, colour: str = "red") -> int:
    """
    Say so.
    """
    ran.append(number)
    return number


@crochet.reactor_only
async def awaited(number: int) -> int:
    """
    Say so.
    """
    ran.append(number)
    return number


class TestCalls:
    """
    Of functions that were guarded.
    """

    def test_in_the_reactor_thread_are_made(self, stepped: FakeProcess, reactor_only: Any) -> None:
        """
        With all arguments, and bring what the function returns.
        """
        function = reactor_only(lambda *args, **kwargs: (args, kwargs))
        with in_reactor_thread(stepped.bridge):
            assert function(1, a=2) == ((1,), {"a": 2})

    def test_in_another_are_refused(self, stepped: FakeProcess, reactor_only: Any) -> None:
        """
        Before anything of the body runs, by a text that names both threads and says what to do.
        """
        function = reactor_only(ran.append)
        stepped.bridge.reactor_thread = -1
        with pytest.raises(RuntimeError) as caught:
            function(1)
        assert str(caught.value) == (
            "list.append() is for the reactor thread only, an unnamed thread (-0x1), and was "
            "called in 'MainThread'. Call it from a function decorated with @run_in_reactor or "
            "@wait_for(timeout), or with reactor.callFromThread(list.append, ...)."
        )
        assert not ran

    def test_in_real_threads_go_by_the_thread(self, running: FakeProcess) -> None:
        """
        Refused here, made there, and the thread's name is told.
        """
        function: Any = guard(running.bridge, threading.get_ident)
        with pytest.raises(RuntimeError, match=r"only, 'crochet-reactor', and .* in 'MainThread'"):
            function()
        ident = running.wait_for(BOUND)(function)()
        assert ident == running.bridge.reactor_thread

    @pytest.mark.parametrize("state", ["before", "after"])
    def test_without_a_reactor_are_refused(self, process: FakeProcess, state: str) -> None:
        """
        The text says so: nobody can tell which thread will run one.
        """
        if state == "after":
            process.loop.setup()
            process.reactor.callFromThread(process.reactor.stop)
            process.run_reactor()
        function: Any = guard(process.bridge, ran.append)
        with pytest.raises(
            RuntimeError, match=r"while no reactor runs\. Call crochet\.setup\(\) .*callWhenRunning"
        ):
            function(1)
        assert not ran

    @pytest.mark.parametrize("is_running", [True, False])
    def test_go_by_twisted_where_crochet_knows_no_reactor(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch, is_running: bool
    ) -> None:
        """
        A library may guard its functions, and the program run the reactor without Crochet. Twisted
        remembers the thread when its reactor has ended, and it may be another by then.
        """
        monkeypatch.setattr(threadable, "ioThread", threading.get_ident())
        monkeypatch.setattr(_guards, "imported_reactor", lambda: process.reactor)
        process.reactor._started = is_running
        function: Any = guard(process.bridge, ran.append)
        if is_running:
            function(1)
        else:
            with pytest.raises(RuntimeError, match="while no reactor runs"):
                function(1)
        assert ran == [1] * is_running

    def test_of_methods(self, stepped: FakeProcess, reactor_only: Any) -> None:
        """
        Of all kinds, with the decorator above or below.
        """

        class Shop:
            @reactor_only
            def own(self) -> str:
                return type(self).__name__

            @reactor_only
            @staticmethod
            def static_below(name: str) -> str:
                return name

            @staticmethod
            @reactor_only
            def static_above(name: str) -> str:
                return name

            @reactor_only
            @classmethod
            def class_below(cls) -> str:
                return cls.__name__

            @classmethod
            @reactor_only
            def class_above(cls) -> str:
                return cls.__name__

        shop = Shop()
        calls = [
            shop.own,
            functools.partial(shop.static_below, "Shop"),
            functools.partial(Shop.static_above, "Shop"),
            Shop.class_below,
            shop.class_above,
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match=r"(own|below|above)\(\) is for the reactor"):
                call()
            with in_reactor_thread(stepped.bridge):
                assert call() == "Shop"

    def test_of_inline_callbacks(self, stepped: FakeProcess, reactor_only: Any) -> None:
        """
        Are refused at once, and return the Deferred.
        """

        @reactor_only
        @inlineCallbacks
        def body(number: int) -> Iterator[Deferred[int]]:
            ran.append(number)
            yield succeed(number)

        with pytest.raises(RuntimeError, match="for the reactor thread only"):
            body(1)
        assert not ran
        with in_reactor_thread(stepped.bridge):
            assert isinstance(body(2), Deferred)
        assert ran == [2]

    def test_of_coroutine_functions_are_refused_to_who_drives_them(
        self, stepped: FakeProcess, reactor_only: Any
    ) -> None:
        """
        The body would run there, wherever the coroutine was made.
        """

        @reactor_only
        async def body(number: int) -> int:
            ran.append(number)
            return number

        made_elsewhere = body(1)
        with pytest.raises(RuntimeError, match=r"body\(\) is for the reactor thread only"):
            body(2).send(None)
        assert not ran
        with in_reactor_thread(stepped.bridge), pytest.raises(StopIteration) as ended:
            made_elsewhere.send(None)
        assert ended.value.value == 1
        assert ran == [1]

    def test_of_coroutine_functions_are_awaited(self, running: FakeProcess) -> None:
        """
        By a reactor, and what they await.
        """
        guarding = functools.partial(guard, running.bridge)

        @guarding
        async def body(number: int) -> int:
            return await succeed(number)

        assert running.wait_for(BOUND)(body)(7) == 7

    def test_that_fail_raise_what_the_body_raises(
        self, stepped: FakeProcess, reactor_only: Any, logged: LoggedFailures
    ) -> None:
        """
        As it is.
        """
        with in_reactor_thread(stepped.bridge), pytest.raises(ZeroDivisionError):
            reactor_only(lambda: 1 / 0)()


class TestGuarded:
    """
    What a guarded function looks like.
    """

    def test_has_the_functions_name_and_signature(self) -> None:
        """
        And docstring, and the function itself for unit tests.
        """
        function: Any = of_a_module
        assert (function.__name__, function.__qualname__) == ("of_a_module", "of_a_module")
        assert function.__module__ == __name__
        assert inspect.getdoc(function) == "Say so."
        assert (
            str(inspect.signature(function)) == "(number: 'int', *, colour: 'str' = 'red') -> 'int'"
        )
        assert function.__wrapped__(3) == 3

    @pytest.mark.parametrize("function", [of_a_module, awaited])
    def test_is_pickled_by_name(self, function: Any) -> None:
        """
        Like any function.
        """
        assert pickle.loads(pickle.dumps(function)) is function

    def test_is_a_coroutine_function_if_the_function_is(self, reactor_only: Any) -> None:
        """
        So that frameworks which look at that treat it as one.
        """
        assert inspect.iscoroutinefunction(awaited)
        assert inspect.iscoroutinefunction(reactor_only(functools.partial(awaited, 1)))
        assert not inspect.iscoroutinefunction(of_a_module)

    def test_may_be_a_partial(self, stepped: FakeProcess, reactor_only: Any) -> None:
        """
        Which has no name of its own.
        """
        function = reactor_only(functools.partial(int, "7"))
        assert function.__name__ == "int"
        with in_reactor_thread(stepped.bridge):
            assert function() == 7

    @pytest.mark.parametrize("kind", ["plain", "async"])
    def test_is_no_generator_function(self, reactor_only: Any, kind: str) -> None:
        """
        Its body would run elsewhere than where it is called.
        """

        def plain() -> Iterator[int]:
            yield 1

        async def asynchronous() -> Any:
            yield 1

        with pytest.raises(TypeError, match=r"is a generator function.*above @inlineCallbacks"):
            reactor_only(plain if kind == "plain" else asynchronous)

    def test_is_no_other_thing(self, reactor_only: Any) -> None:
        """
        Only what can be called.
        """
        with pytest.raises(TypeError, match=r"only functions .* not 7"):
            reactor_only(7)


def test_the_programs_reactor_is_known_after_no_setup() -> None:
    """
    In a real process: refused before it runs and in other threads, made in its thread.
    """
    finished = run_python(
        """
        import crochet
        from crochet import no_setup, reactor_only

        no_setup()
        from twisted.internet import reactor, threads

        @reactor_only
        def stop():
            reactor.stop()
            print("stopped")

        def try_to_stop():
            try:
                stop()
            except RuntimeError as error:
                print(str(error).partition(".")[0])

        try_to_stop()
        def begin():
            threads.deferToThread(try_to_stop).addBoth(lambda _: stop())

        reactor.callWhenRunning(begin)
        reactor.run()
        try_to_stop()
        """
    )
    first, second, *rest = finished.stdout.splitlines()
    assert (
        first == "stop() is for the reactor thread only, and was called in 'MainThread' while no "
        "reactor runs"
    )
    assert second.startswith(
        "stop() is for the reactor thread only, 'MainThread', and was called in 'Pool"
    )
    assert rest == ["stopped", first]


def test_a_program_of_twisteds_alone_may_call_guarded_functions() -> None:
    """
    In a real process, which has never set up Crochet.
    """
    finished = run_python(
        """
        from crochet import reactor_only
        from twisted.internet import reactor

        @reactor_only
        def stop():
            reactor.stop()

        reactor.callWhenRunning(stop)
        reactor.run()
        print("done")
        """
    )
    assert finished.stdout == "done\n"
