"""
The names that went out of use before 3.0.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

import crochet
from crochet import EventualResult, _legacy
from support.process import FakeProcess
from support.programs import run_python
from support.stepping import FakeWaiter


@pytest.fixture
def legacy(stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> Any:
    """
    The old decorators, for a process whose reactor turns whenever somebody waits.
    """
    stepped.bridge.new_waiter = lambda: FakeWaiter(lambda _: stepped.reactor.turn())
    monkeypatch.setattr(_legacy, "import_reactor", lambda: stepped.reactor)
    monkeypatch.setattr(_legacy, "run_in_reactor", stepped.run_in_reactor)
    monkeypatch.setattr(_legacy, "wait_for", stepped.wait_for)
    return _legacy


class TestWaitForReactor:
    """
    ``wait_for_reactor``
    """

    def test_waits_for_the_answer(self, legacy: Any) -> None:
        """
        Without a limit.
        """
        with pytest.warns(DeprecationWarning, match="wait_for_reactor is deprecated, use wait"):
            decorated = legacy.wait_for_reactor(lambda number: succeed(number + 2))
        assert decorated(5) == 7

    def test_warns_where_it_is_used(self, legacy: Any) -> None:
        """
        In the program's file.
        """
        with pytest.warns(DeprecationWarning, match="deprecated") as caught:
            legacy.wait_for_reactor(int)
        assert [warning.filename for warning in caught] == [__file__]


class TestInReactor:
    """
    ``in_reactor``
    """

    def test_gives_the_reactor(self, legacy: Any, stepped: FakeProcess) -> None:
        """
        As the first argument.
        """

        def body(reactor: Any, number: int, *, more: int) -> tuple[Any, int]:
            return reactor, number + more

        with pytest.warns(DeprecationWarning, match="in_reactor is deprecated, use run_in_reactor"):
            decorated = legacy.in_reactor(body)
        result: Any = decorated(5, more=2)
        assert isinstance(result, EventualResult)
        stepped.reactor.turn()
        assert result.wait(0) == (stepped.reactor, 7)

    def test_follows_a_deferred(self, legacy: Any, stepped: FakeProcess) -> None:
        """
        Like ``run_in_reactor``.
        """
        deferred: Deferred[int] = Deferred()
        with pytest.warns(DeprecationWarning, match="deprecated"):
            result: Any = legacy.in_reactor(lambda reactor: deferred)()
        stepped.reactor.turn()
        deferred.callback(7)
        assert result.wait(0) == 7

    def test_keeps_the_name_and_not_the_first_argument(self, legacy: Any) -> None:
        """
        Callers do not give the reactor.
        """

        def fetch(reactor: Any, number: int) -> None:
            """
            Fetch it.
            """

        with pytest.warns(DeprecationWarning, match="deprecated"):
            decorated: Any = legacy.in_reactor(fetch)
        assert decorated.__name__ == "fetch"
        assert decorated.__doc__ == fetch.__doc__
        assert "reactor" not in inspect.signature(decorated).parameters


class TestNames:
    """
    Names of the package.
    """

    def test_deferred_result_is_an_eventual_result(self) -> None:
        """
        With a warning where it is used.
        """
        with pytest.warns(DeprecationWarning, match="DeferredResult is deprecated") as caught:
            old = crochet.DeferredResult
        assert old is EventualResult
        assert [warning.filename for warning in caught] == [__file__]
        del crochet.DeferredResult

    def test_deferred_result_can_be_imported(self) -> None:
        """
        Likewise.
        """
        with pytest.warns(DeprecationWarning, match="DeferredResult is deprecated"):
            from crochet import DeferredResult
        assert DeferredResult is EventualResult
        del crochet.DeferredResult

    @pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
    @pytest.mark.parametrize("name", ["DeferredResult", "wait_for_reactor", "in_reactor"])
    def test_can_be_deleted(self, name: str) -> None:
        """
        If they are there, as MAAS does.
        """
        before = dict(vars(crochet))
        assert hasattr(crochet, name)
        delattr(crochet, name)
        vars(crochet).update(before)  # for other tests

    def test_others_are_attribute_errors(self) -> None:
        """
        With the usual text.
        """
        with pytest.raises(AttributeError, match="module 'crochet' has no attribute 'nothing'"):
            _ = crochet.nothing

    def test_work_in_a_program(self) -> None:
        """
        As they did.
        """
        finished = run_python(
            """
            import crochet

            crochet.setup()

            @crochet.in_reactor
            def add(reactor, number):
                return number + (2 if reactor.running else 0)

            @crochet.wait_for_reactor
            def waited(number):
                return number + 2

            print(add(5).wait(30), waited(5), waited.wrapped_function(6))
            """,
            flags=("-W", "ignore::DeprecationWarning"),
        )
        assert finished == (0, "7 7 8\n", "")


class TestPrivateNames:
    """
    Of version 2.1.1, as far as programs use them.
    """

    def test_import_from_the_event_loop(self) -> None:
        """
        They are the public ones.
        """
        from crochet import _eventloop

        for name in ("EventualResult", "ReactorStopped", "TimeoutError"):
            assert getattr(_eventloop, name) is getattr(crochet, name)

    def test_are_found_without_an_import_of_theirs(self) -> None:
        """
        As MAAS' tests do before they call ``setup()``, putting their own class in.
        """
        finished = run_python(
            """
            import crochet

            if hasattr(crochet.EventLoop, "wait_for_reactor"):
                del crochet.EventLoop.wait_for_reactor
            assert isinstance(crochet._main, crochet.EventLoop)

            class EventualResult(crochet.EventualResult):
                pass

            crochet._eventloop.EventualResult = crochet.EventualResult = EventualResult
            try:
                crochet._main._registry
            except AttributeError:
                print("no results are known")
            """
        )
        assert finished == (0, "no results are known\n", "")

    def test_logging_is_switched_off(self) -> None:
        """
        By None, as MAAS has it.
        """
        finished = run_python(
            """
            import logging
            from twisted.logger import Logger
            import crochet

            class Told(logging.Handler):
                def emit(self, record):
                    print("logged", record.getMessage(), flush=True)

            logging.getLogger("twisted").addHandler(Told())
            assert hasattr(crochet._main, "_startLoggingWithObserver")
            crochet._main._startLoggingWithObserver = None
            crochet.setup()
            Logger().warn("after setup()")
            crochet.shutdown()
            with crochet.running():
                Logger().warn("in running()")
            print("nothing so far")
            crochet._main._startLoggingWithObserver = crochet
            with crochet.running():
                Logger().warn("the last")
            """
        )
        assert finished.stdout.startswith("nothing so far\n")
        assert finished.stdout.endswith("logged the last\n")
