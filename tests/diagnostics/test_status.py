"""
What the bridge does now, as a value.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from crochet import Lag, Status, _errors
from crochet._core.stash import StashStatus
from crochet._diagnostics import status as _status
from crochet._diagnostics.frames import Place
from crochet._threads import clock as _clock
from support.process import FakeProcess, in_reactor_thread
from support.programs import run_python
from support.stepping import BOUND, Background


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """
    The time, as calls, the bridge and status() see it, in a list.
    """
    now = [100.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    return now


class TestState:
    """
    Of the bridge.
    """

    def test_before_setup(self, process: FakeProcess) -> None:
        """
        There is nothing to tell.
        """
        status = process.loop.status()
        assert status == Status("not set up", None, None, None, None, (), StashStatus("memory", 0))
        assert str(status) == "crochet: not set up\nno calls"

    def test_through_a_life_of_ours(self, process: FakeProcess) -> None:
        """
        From setup() to shutdown().
        """
        seen: list[Status] = []
        process.loop.setup()
        seen.append(process.loop.status())
        process.reactor.callWhenRunning(lambda: seen.append(process.loop.status()))
        process.reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: seen.append(process.loop.status())
        )
        process.will_run_reactor()
        process.loop.shutdown()
        seen.append(process.loop.status())
        assert [status.state for status in seen] == [
            "not running yet",
            "stopping",
            "stopping",
            "shut down",
        ]

    def test_while_it_runs(self, running: FakeProcess) -> None:
        """
        With its thread.
        """
        ident = running.bridge.reactor_thread
        running.wait_for(BOUND)(int)()
        status = running.loop.status()
        assert (status.state, status.thread, status.ident) == ("running", "crochet-reactor", ident)
        asked = os.environ.get("CROCHET_TEST_REACTOR") or "epoll"
        assert status.reactor == (asked if sys.platform == "linux" else status.reactor)
        assert f"thread crochet-reactor ({ident})" in str(status)
        assert status.lag is not None
        assert 0 <= status.lag.median <= status.lag.maximum

    @pytest.mark.parametrize("end", ["stop", "crash"])
    def test_of_a_reactor_that_the_program_runs(self, process: FakeProcess, end: str) -> None:
        """
        Before it does, while, and afterwards.
        """
        seen: list[Status] = []
        process.loop.no_setup()
        seen.append(process.loop.status())

        def look() -> None:
            seen.append(process.loop.status())
            getattr(process.reactor, end)()

        process.reactor.callWhenRunning(look)
        process.reactor.run()
        seen.append(process.loop.status())
        after = {"stop": "stopped", "crash": "crashed"}[end]
        assert [status.state for status in seen] == ["not running yet", "running", after]
        assert seen[1].ident == threading.get_ident()
        assert seen[1].thread == threading.current_thread().name
        assert seen[2].ident is None

    def test_of_a_reactor_thread_that_died(self, process: FakeProcess) -> None:
        """
        That is a crash, too.
        """
        process.bridge.refuse(partial(_errors.ended_with, ValueError("no")))
        assert process.loop.status().state == "crashed"

    def test_at_exit(self, process: FakeProcess) -> None:
        """
        Refused, with the reason.
        """
        process.bridge.refuse(_errors.exiting)
        assert process.loop.status().state == "exiting"

    def test_in_a_forked_child(self, process: FakeProcess) -> None:
        """
        Before its first call, whose reactor ever it was.
        """
        process.loop.setup()
        result = process.run_in_reactor(int)()
        process.fork()
        status = process.loop.status()
        assert (status.state, status.calls, status.ident) == ("forked", (), None)
        assert result.done()

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("EPollReactor", "epoll"),
            ("PollReactor", "poll"),
            ("SelectReactor", "select"),
            ("AsyncioSelectorReactor", "asyncio"),
            ("KQueueReactor", "kqueue"),
            ("Reactor", "reactor"),
        ],
    )
    def test_names_the_kind_of_reactor(self, name: str, kind: str) -> None:
        """
        As Twisted's installers do.
        """
        assert _status._kind(type(name, (), {})()) == kind

    def test_is_frozen(self, process: FakeProcess) -> None:
        """
        It is a snapshot.
        """
        status: Any = process.loop.status()
        with pytest.raises(dataclasses.FrozenInstanceError):
            status.state = "running"


class TestLag:
    """
    How long calls wait for the reactor thread.
    """

    def test_is_that_of_the_bursts(self, stepped: FakeProcess, clock: list[float]) -> None:
        """
        From submit to start of the first call of each.
        """
        for lag in (0.5, 0.25, 3.0):
            stepped.run_in_reactor(int)()
            clock[0] += lag
            stepped.run_in_reactor(int)()
            stepped.reactor.turn()
            clock[0] += 1.0
        lag = stepped.loop.status().lag
        assert lag == Lag(0.5, 3.0)
        assert "\nlag: 0.5 s (median), 3.0 s (maximum)\n" in str(stepped.loop.status())

    def test_of_calls_behind_one_that_blocks(
        self, stepped: FakeProcess, clock: list[float]
    ) -> None:
        """
        In the same burst.
        """

        def block() -> None:
            clock[0] += 5.0

        stepped.run_in_reactor(block)()
        stepped.run_in_reactor(int)()
        stepped.reactor.turn()
        lag = stepped.loop.status().lag
        assert lag is not None
        assert lag.maximum == 5.0

    def test_is_noted_once_a_millisecond_at_most(
        self, stepped: FakeProcess, clock: list[float]
    ) -> None:
        """
        The calls of one share the time of their start.
        """
        results = []
        for _ in range(10):
            results.append(stepped.run_in_reactor(Deferred)())
            clock[0] += 0.0001
            stepped.reactor.turn()
        assert len(stepped.bridge.lags) == 1
        assert len({id(result._call.started) for result in results}) == 1
        for result in results:
            result.cancel()
        stepped.reactor.turn()
        assert all(result.original_failure() for result in results)

    def test_of_an_earlier_life_is_forgotten(self, stepped: FakeProcess) -> None:
        """
        When the bridge is opened again.
        """
        stepped.run_in_reactor(int)()
        stepped.reactor.turn()
        assert stepped.loop.status().lag is not None
        stepped.bridge.open(stepped.reactor.callFromThread)
        assert stepped.loop.status().lag is None


class TestCalls:
    """
    In flight.
    """

    def test_are_told_oldest_first(self, stepped: FakeProcess, clock: list[float]) -> None:
        """
        With their age and state, by the file and line that made them.
        """

        async def fetch() -> None:
            await deferred

        def lookup() -> None: ...

        deferred = Deferred[None]()
        first = stepped.run_in_reactor(fetch)()
        line = sys._getframe().f_lineno - 1
        clock[0] += 2.0
        stepped.reactor.turn()
        second = stepped.run_in_reactor(lookup)()
        clock[0] += 1.0
        status = stepped.loop.status()
        running, queued = status.calls
        assert (running.function, running.state, running.age) == ("fetch", "running", 3.0)
        assert (queued.function, queued.state, queued.age) == ("lookup", "queued", 1.0)
        assert (running.file, running.line) == (__file__, line)
        assert queued.line == line + 4
        place = Place("fetch", __file__, fetch.__code__.co_firstlineno + 1)
        assert [*running.waits_on] == [place, Place("", "", 0)]
        assert queued.waits_on == ()
        assert repr(running) == "<running call of fetch(), 3.0 s old>"
        assert str(status).splitlines()[2:] == [
            "calls in flight: 2, 1 of them queued",
            "  age  state    function  called at" + " " * 11 + "waits in",
            f"3.0 s  running  fetch()   test_status.py:{line}  {place} > a Deferred",
            f"1.0 s  queued   lookup()  test_status.py:{line + 4}  -",
        ]
        deferred.callback(None)
        stepped.reactor.turn()
        assert first.wait(0) is second.wait(0) is None
        assert stepped.loop.status().calls == ()

    def test_by_wait_for(self, running: FakeProcess) -> None:
        """
        Who waits is the caller.
        """
        deferred = Deferred[int]()
        has_begun = threading.Event()

        def fetch() -> Deferred[int]:
            has_begun.set()
            return deferred

        waiting = Background(running.wait_for(BOUND)(fetch))
        assert has_begun.wait(BOUND)
        running.wait_for(BOUND)(int)()  # by now, fetch() has returned
        (call,) = running.loop.status().calls
        assert call.function == "fetch"
        assert call.file is not None
        assert os.path.basename(call.file) == "stepping.py"
        assert call.line == Background._run.__code__.co_firstlineno + 2
        running.run_in_reactor(deferred.callback)(1)
        assert waiting.outcome() == 1

    def test_that_are_seen_by_the_reactor_thread(self, stepped: FakeProcess) -> None:
        """
        In a body, which is then running.
        """
        seen: list[Status] = []
        result = stepped.run_in_reactor(lambda: seen.append(stepped.loop.status()))()
        with in_reactor_thread(stepped.bridge):
            stepped.reactor.turn()
        assert [call.state for call in seen[0].calls] == ["running"]
        assert seen[0].calls[0].waits_on == ()
        assert result.wait(0) is None

    def test_are_not_kept_alive(self, stepped: FakeProcess) -> None:
        """
        By a snapshot: an error that nobody takes is logged when the result is dropped.
        """
        result = stepped.run_in_reactor(Deferred)()
        stepped.reactor.turn()
        (call,) = stepped.loop.status().calls
        assert [str(place) for place in call.waits_on] == ["a Deferred"]
        reference = weakref.ref(result)
        result.cancel()
        stepped.reactor.turn()
        assert result.original_failure() is not None
        assert call.waits_on == ()
        del result
        gc.collect()
        assert reference() is None
        assert call.waits_on == ()
        assert call.function == "Deferred"

    def test_keep_no_locals_of_their_callers_alive(self, stepped: FakeProcess) -> None:
        """
        For they hold no frame.
        """

        class Precious:
            pass

        def call() -> tuple[Any, weakref.ref[Precious]]:
            precious = Precious()
            return stepped.run_in_reactor(int)(), weakref.ref(precious)

        result, reference = call()
        assert reference() is None
        stepped.reactor.turn()
        assert result.wait(0) == 0

    def test_made_by_no_python_code(self) -> None:
        """
        But by an exit hook: there is no file then.
        """
        finished = run_python(
            """
            import atexit, threading
            import crochet

            crochet.setup()

            @crochet.run_in_reactor
            def look():
                status = crochet.status()
                print(status.calls[0].function, status.calls[0].file, status.calls[0].line)
                print(str(status).splitlines()[4].split()[2:])

            atexit.register(lambda: crochet.wait_for(30)(int)())
            atexit.register(look)
            """
        )
        assert finished.stdout == "look None None\n['running', 'look()', '-', '-']\n"

    def test_many_are_cut(self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A thousand: nothing is worked out for a snapshot that is not looked at, and for the page
        only what it shows.
        """
        looked: list[object] = []

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def count(*args: object) -> Any:
                looked.append(function)
                return function(*args)

            return count

        monkeypatch.setattr(_status, "awaits", counted(_status.awaits))
        monkeypatch.setattr(_status, "line_of", counted(_status.line_of))
        results = [stepped.run_in_reactor(int)() for _ in range(1000)]
        status = stepped.loop.status()
        assert len(status.calls) == 1000
        assert looked == []
        page = str(status).splitlines()
        assert page[1] == "calls in flight: 1000, 1000 of them queued"
        assert page[-1] == "and 950 more"
        assert len(page) == 2 + 1 + 50 + 1
        assert len(looked) == 100
        while not results[-1].done():
            stepped.reactor.turn()

    def test_ages_are_never_negative(self, stepped: FakeProcess) -> None:
        """
        The time is taken after the calls.
        """
        stepped.run_in_reactor(int)()
        assert stepped.loop.status().calls[0].age >= 0
        stepped.reactor.turn()


class TestAnywhere:
    """
    It may be asked for wherever code runs.
    """

    def test_in_signal_handlers_between_any_two_steps(self, running: FakeProcess) -> None:
        """
        Of a call, too. (A profile function comes between the same steps as a signal.)
        """
        seen: list[Status] = []
        body = running.wait_for(BOUND)(int)

        def look(frame: object, event: str, argument: object) -> None:
            sys.setprofile(None)
            seen.append(running.loop.status())
            sys.setprofile(look)

        sys.setprofile(look)
        try:
            assert body() == 0
        finally:
            sys.setprofile(None)
        assert len(seen) > 10
        assert {status.state for status in seen} == {"running"}

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
    def test_in_a_signal_handler_while_the_main_thread_waits(self) -> None:
        """
        It shows that very call.
        """
        finished = run_python(
            """
            import os, signal, sys
            import crochet
            from twisted.internet.defer import Deferred
            from twisted.internet import reactor

            bound = float(sys.argv[1])
            deferred = Deferred()

            def look(*args):
                (call,) = crochet.status().calls
                seen.append((call.function, call.state, call.line, *call.waits_on))

            signal.signal(signal.SIGUSR1, look)
            seen = []

            def send():
                # Again and again: one that comes just before a thread blocks does not wake it.
                if not seen:
                    os.kill(os.getpid(), signal.SIGUSR1)
                    reactor.callLater(0.02, send)
                else:
                    deferred.callback("answered")

            @crochet.wait_for(timeout=bound)
            def fetch():
                reactor.callLater(0, send)
                return deferred

            crochet.setup()
            print(fetch(), *seen[0])
            """
        )
        assert finished.stdout == "answered fetch running 31 a Deferred\n"

    def test_while_others_call(self, running: FakeProcess) -> None:
        """
        And are answered: no snapshot fails, and each shows calls in order.
        """
        is_over = threading.Event()

        def call() -> None:
            while not is_over.is_set():
                for result in [running.run_in_reactor(int)() for _ in range(20)]:
                    result.wait(BOUND)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            callers = [Background(call) for _ in range(3)]
            for _ in range(300):
                status = running.loop.status()
                ages = [call.age for call in status.calls]
                assert ages == sorted(ages, reverse=True)
                assert str(status)
        finally:
            is_over.set()
            sys.setswitchinterval(interval)
        for caller in callers:
            caller.outcome()


def test_nothing_is_registered_at_import() -> None:
    """
    A look at nothing changes nothing.
    """
    finished = run_python(
        """
        import sys, threading
        import crochet

        print(crochet.status())
        print("twisted.internet.reactor" in sys.modules, threading.active_count())
        """
    )
    assert finished.stdout == "crochet: not set up\nno calls\nFalse 1\n"
