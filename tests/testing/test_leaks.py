"""
What a test leaves behind: found, named and cleared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, ProcessProtocol, Protocol
from twisted.internet.tcp import _reservedFD
from twisted.logger import Logger, LogLevel

from crochet.testing import _leaks as _leaks
from crochet.testing._leaks import LeakCheck
from support.process import FakeProcess, LoggedFailures
from support.stepping import BOUND

# From before the first test that uses it: what it starts is no test's.
pytestmark = pytest.mark.usefixtures("running", "reserved")


@pytest.fixture(scope="module")
def reserved() -> None:
    """
    The descriptor that Twisted keeps, once it has listened anywhere, for when there are no more.
    """
    _reservedFD.reserve()


@pytest.fixture
def check(running: FakeProcess) -> Iterator[LeakCheck]:
    """
    The check of a test on a reactor that runs.
    """
    check = LeakCheck(running.bridge, lambda: running.reactor, lambda: "(here)\n")
    check.begin()
    yield check
    check.allow()
    check.find_and_clear()


def in_reactor(running: FakeProcess, function: Any, *args: object) -> Any:
    """
    Call a function in the reactor thread.
    """
    return running.wait_for(timeout=BOUND)(function)(*args)


class TestOperations:
    """
    Calls that nobody has answered.
    """

    def test_are_cancelled(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        So that the next test does not meet them.
        """
        result = running.run_in_reactor(Deferred)()
        assert check.find_and_clear() == [
            "an operation that has not ended: Deferred()\n    a Deferred"
        ]
        assert result.done()

    def test_of_before_are_left_alone(self, running: FakeProcess) -> None:
        """
        They are some other test's, or the program's.
        """
        before = running.run_in_reactor(Deferred)()
        in_reactor(running, int)
        check = LeakCheck(running.bridge, lambda: running.reactor, lambda: "")
        check.begin()
        assert check.find_and_clear() == []
        assert not before.done()
        before.cancel()

    def test_that_are_allowed_are_left_alone(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        Other kinds are not allowed by that.
        """
        result = running.run_in_reactor(Deferred)()
        call = in_reactor(running, running.reactor.callLater, BOUND, print)
        check.allow("operations")
        (leak,) = check.find_and_clear()
        assert leak.startswith("a delayed call of print(), due in ")
        assert not call.active()
        assert not result.done()
        result.cancel()


class TestDelayedCalls:
    """
    Of the reactor.
    """

    def test_are_named_by_their_function(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        However it is wrapped. And by where they were made, if Twisted knows.
        """

        def brew(kind: str) -> None:
            raise AssertionError("this is not called")

        in_reactor(running, running.reactor.callLater, BOUND, partial(brew, "tea"))
        (leak,) = check.find_and_clear()
        assert "brew() (" in leak
        assert __file__ in leak
        assert "tea" not in leak

    def test_tell_where_they_were_made(
        self, running: FakeProcess, check: LeakCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        If Twisted has been told to note it.
        """
        monkeypatch.setattr(DelayedCall, "debug", True)
        in_reactor(running, lambda: running.reactor.callLater(BOUND, Logger()) and None)
        (leak,) = check.find_and_clear()
        assert "a delayed call of Logger(), due in" in leak
        assert "s, made here:\n" in leak
        assert "running.reactor.callLater(BOUND, Logger())" in leak

    def test_that_are_gone_when_cleared_are_no_matter(
        self, running: FakeProcess, check: LeakCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. This finds two. 2. To cancel the first cancels the second, too.
        """
        calls: list[Any] = []

        def schedule() -> None:
            second = running.reactor.callLater(BOUND, print)
            first = running.reactor.callLater(BOUND, print)
            cancel = first.cancel
            first.cancel = lambda: (cancel(), second.cancel())
            # Whichever comes first in the list.
            second_cancel = second.cancel
            second.cancel = lambda: (second_cancel(), first.active() and cancel())
            calls.extend([first, second])

        in_reactor(running, schedule)
        assert len(check.find_and_clear()) == 2
        assert [call.active() for call in calls] == [False, False]


class TestReaders:
    """
    Ports, connections and the pipes of processes.
    """

    def test_are_closed(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        A port, and both ends of a connection.
        """
        made: list[Any] = []
        connected = threading.Event()

        class Noting(Protocol):
            def connectionMade(self) -> None:
                made.append(self.transport)
                if len(made) == 2:
                    connected.set()

        def connect() -> None:
            factory = Factory.forProtocol(Noting)
            port = running.reactor.listenTCP(0, factory, interface="127.0.0.1")
            client = ClientFactory.forProtocol(Noting)
            running.reactor.connectTCP("127.0.0.1", port.getHost().port, client)

        in_reactor(running, connect)
        assert connected.wait(BOUND)
        leaks = check.find_and_clear()
        assert len(leaks) == 3
        assert all(leak.startswith("a reader or writer: ") for leak in leaks)
        assert [transport.connected for transport in made] == [0, 0]

    def test_of_processes_have_them_killed(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        Nobody would read what they say.
        """
        spawn = running.reactor.spawnProcess
        ended = threading.Event()

        class Noting(ProcessProtocol):
            def processExited(self, reason: object) -> None:
                ended.set()

        transport = in_reactor(running, spawn, Noting(), "sleep", ["sleep", str(BOUND)])
        assert check.find_and_clear()

        def reap() -> None:
            if transport.pid is not None:  # else somebody else has, and Twisted would log an error
                transport.reapProcess()

        in_reactor(running, reap)
        while not ended.wait(0.01):
            in_reactor(running, reap)

    def test_may_fail_to_close(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        What they say to it interests nobody, as long as they are gone.
        """
        reading, writing = os.pipe()

        class Stubborn:
            def fileno(self) -> int:
                return reading

            def doRead(self) -> None:
                raise AssertionError("nothing is there to be read")

            def logPrefix(self) -> str:
                return "stubborn"

            def connectionLost(self, reason: object) -> None:
                raise ValueError("no")

        in_reactor(running, running.reactor.addReader, Stubborn())
        (leak,) = check.find_and_clear()
        assert "Stubborn" in leak
        os.close(reading)
        os.close(writing)

    def test_that_are_allowed_are_left_alone(self, running: FakeProcess, check: LeakCheck) -> None:
        """
        A server for all tests, say.
        """
        listen = running.reactor.listenTCP
        port = in_reactor(running, partial(listen, 0, Factory(), interface="127.0.0.1"))
        check.allow("readers")
        assert check.find_and_clear() == []
        assert port.connected
        in_reactor(running, port.stopListening)


class TestErrors:
    """
    What was logged, and what nobody took.
    """

    def test_are_shown_with_their_tracebacks(
        self, running: FakeProcess, check: LeakCheck, logged: LoggedFailures
    ) -> None:
        """
        Those of results that are held are taken, and so are not logged later.
        """
        held = running.run_in_reactor(lambda: 1 / 0)()
        in_reactor(running, int)
        try:
            int("tea")
        except ValueError:
            Logger().failure("no {what}", what="number")
            Logger().failure("as expected", level=LogLevel.warn)
        first, second = check.find_and_clear()
        assert first.startswith("a logged error: no number\n    Traceback ")
        assert "an error of TestErrors" not in second
        assert "nobody has taken: \n    Traceback " in second
        assert "ZeroDivisionError" in second
        del held
        assert [type(error) for error in logged.take()] == [ValueError]

    def test_of_before_are_some_other_tests(
        self, running: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        They are logged when their results are dropped.
        """
        held = running.run_in_reactor(lambda: 1 / 0)()
        in_reactor(running, int)
        check = LeakCheck(running.bridge, lambda: running.reactor, lambda: "")
        check.begin()
        assert check.find_and_clear() == []
        del held
        assert [type(error) for error in logged.take()] == [ZeroDivisionError]

    def test_that_are_allowed_are_forgotten(
        self, running: FakeProcess, check: LeakCheck, logged: LoggedFailures
    ) -> None:
        """
        Nor are they logged later.
        """
        held = running.run_in_reactor(lambda: 1 / 0)()
        in_reactor(running, int)
        check.allow("errors")
        assert check.find_and_clear() == []
        del held
        assert logged.take() == []


class TestReactor:
    """
    That which is looked at.
    """

    def test_may_be_busy(
        self, running: FakeProcess, check: LeakCheck, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        That is a leak, too. It is not waited for any longer than need be.
        """
        monkeypatch.setattr(_leaks, "_PATIENCE", 0.01)
        gate = threading.Event()
        running.reactor.callFromThread(gate.wait, BOUND)
        late = LeakCheck(running.bridge, lambda: running.reactor, lambda: "(here)\n")
        late.begin()
        (leak,) = check.find_and_clear()
        gate.set()
        assert leak.startswith("the reactor thread, which has done nothing else for 0.01 s.")
        assert "(here)" in leak
        monkeypatch.setattr(_leaks, "_PATIENCE", BOUND)
        in_reactor(running, int)
        late.allow()
        late.find_and_clear()

    def test_may_have_ended(self, process: FakeProcess) -> None:
        """
        Then nothing can have been left in it.
        """
        check = LeakCheck(process.bridge, lambda: None, lambda: "")
        check.begin()
        assert check.find_and_clear() == []
        assert process.threads.started == []

    def test_may_end_with_operations_in_flight(self, process: FakeProcess) -> None:
        """
        They are found all the same: a bridge that was never closed behind them.
        """
        check = LeakCheck(process.bridge, lambda: None, None)
        check.begin()
        process.loop.setup()
        result = process.run_in_reactor(int)()
        (leak,) = check.find_and_clear()
        assert leak == "an operation that has not ended: int()"
        assert result.done()
        process.loop._reactor_thread = None
