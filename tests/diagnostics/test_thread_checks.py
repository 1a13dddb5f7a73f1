"""
CROCHET_DEBUG: which uses of Twisted are refused, and which are not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, getDebugging, setDebugging
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThreadPool

from crochet._diagnostics import thread_checks as _debug
from crochet._diagnostics.thread_checks import ThreadCheck, wants_debug
from crochet._threads.threads import start_thread
from support.process import FakeProcess, in_reactor_thread, open_bridge
from support.programs import run_python
from support.reactor import new_real_reactor
from support.stepping import BOUND, Background

REFUSED = r"it is for the reactor thread only"


@pytest.fixture
def debugged(process: FakeProcess) -> Iterator[FakeProcess]:
    """
    A process under the switch, whose program runs the reactor; this thread plays another.
    """
    process.wants_debug = True
    process.loop.no_setup()
    process.reactor.start()
    process.bridge.reactor_thread = -1
    yield process
    process.loop._thread_check.uninstall()


@pytest.fixture
def real() -> Iterator[FakeProcess]:
    """
    A process under the switch whose reactor is real and runs in a thread of its own.
    """
    reactor = new_real_reactor()
    process = FakeProcess(reactor, start_thread)
    process.wants_debug = True
    process.loop.setup()
    yield process
    process.loop.shutdown(BOUND)


def _state(reactor: Any) -> dict[str, Any]:
    """
    Return all that the switch may touch.
    """
    return {
        "reactor": {name: vars(reactor).get(name) for name in _debug._REACTOR},
        "deferred": {**vars(Deferred)},
        "timer": {**vars(DelayedCall)},
    }


class TestSwitch:
    """
    The environment variable.
    """

    @pytest.mark.parametrize(
        ("value", "is_on"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)]
    )
    def test_is_on_unless_empty_or_zero(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None, is_on: bool
    ) -> None:
        """
        Whatever else it is set to.
        """
        monkeypatch.delenv("CROCHET_DEBUG", raising=False)
        if value is not None:
            monkeypatch.setenv("CROCHET_DEBUG", value)
        assert wants_debug() is is_on

    def test_that_is_off_leaves_everything_alone(self, process: FakeProcess) -> None:
        """
        Nothing is wrapped.
        """
        before = _state(process.reactor)
        process.loop.setup()
        assert _state(process.reactor) == before

    def test_that_is_on_is_undone_by_shutdown(self, process: FakeProcess) -> None:
        """
        Everything is as it was, and set up again it is wrapped anew, or not any more.
        """
        before = _state(process.reactor)
        process.wants_debug = True
        for _ in range(2):
            process.loop.setup()
            assert "callLater" in vars(process.reactor)
            assert Deferred.callback is not before["deferred"]["callback"]
            assert getDebugging()  # Twisted notes where each Deferred was made
            process.will_run_reactor()
            process.loop.shutdown()
            assert _state(process.reactor) == before
        process.wants_debug = False
        process.loop.setup()
        assert _state(process.reactor) == before
        process.will_run_reactor()
        process.loop.shutdown()

    def test_leaves_twisteds_own_on(self, process: FakeProcess) -> None:
        """
        If the program has switched that on itself.
        """
        setDebugging(True)
        try:
            process.wants_debug = True
            process.loop.setup()
            process.will_run_reactor()
            process.loop.shutdown()
            assert getDebugging()
        finally:
            setDebugging(False)

    def test_that_is_on_is_undone_by_a_setup_that_fails(self, process: FakeProcess) -> None:
        """
        Which leaves everything as it was.
        """
        before = _state(process.reactor)
        process.wants_debug = True
        process.threads.error = RuntimeError("no thread can be started")
        with pytest.raises(RuntimeError, match="no thread"):
            process.loop.setup()
        assert _state(process.reactor) == before

    def test_leaves_to_others_what_they_have_wrapped(self, process: FakeProcess) -> None:
        """
        Theirs stays, and ours lets everything pass, once it has been undone.
        """
        bridge = open_bridge(process.reactor)
        bridge.reactor_thread = -1
        check = ThreadCheck(bridge, lambda: True)
        check.install(process.reactor)
        ours = process.reactor.callLater
        process.reactor.callLater = lambda *args: ours(*args)
        theirs = process.reactor.callLater
        check.uninstall()
        assert process.reactor.callLater is theirs
        bridge.reactor_thread = None
        theirs(1, int).cancel()

    def test_puts_back_what_was_in_the_object(self, process: FakeProcess) -> None:
        """
        After no_setup() the reactor's crash() is one of ours already.
        """
        process.reactor.crash = crash = lambda: None
        check = ThreadCheck(process.bridge, lambda: True)
        check.install(process.reactor)
        assert process.reactor.crash is not crash
        check.uninstall()
        assert process.reactor.crash is crash


class TestReactor:
    """
    Its methods.
    """

    @pytest.mark.parametrize("name", _debug._REACTOR)
    def test_are_refused_in_foreign_threads(self, real: FakeProcess, name: str) -> None:
        """
        All that it has, right after setup() and before anything is done. The text names the line
        and both threads.
        """
        assert name in vars(real.reactor)
        with pytest.raises(RuntimeError) as caught:
            getattr(real.reactor, name)()
        code = caught.value.__traceback__
        assert code is not None
        assert str(caught.value).startswith(
            f"reactor.{name}() was called in 'MainThread', {__file__}:{code.tb_lineno} in "
            "test_are_refused_in_foreign_threads(), and it is for the reactor thread only, "
            "'crochet-reactor'. Do this in a function decorated with @run_in_reactor or "
        )

    def test_are_refused_as_soon_as_setup_has_returned(self, process: FakeProcess) -> None:
        """
        Its thread has been started by then, and has perhaps not come to its first step. What it
        does before that step, and after the bridge has forgotten it, is not refused.
        """
        process.wants_debug = True
        process.loop.setup()
        (thread,) = process.threads.started
        assert process.bridge.reactor_thread is None
        thread.ident = -1
        with pytest.raises(RuntimeError, match=REFUSED):
            process.reactor.callLater(0, int)
        thread.ident = threading.get_ident()
        process.reactor.callLater(0, int)
        process.will_run_reactor()
        thread.ident = None
        process.loop.shutdown()

    def test_are_allowed_in_the_reactor_thread(self, real: FakeProcess) -> None:
        """
        For bodies, what is handed to callFromThread(), and Twisted itself.
        """
        results: list[str] = []
        has_run = threading.Event()

        def note(text: str) -> None:
            results.append(text)
            if len(results) == 2:
                has_run.set()

        real.wait_for(BOUND)(lambda: real.reactor.callLater(0, note, "body"))()
        real.reactor.callFromThread(lambda: real.reactor.callLater(0, note, "call from thread"))
        assert has_run.wait(BOUND)
        assert sorted(results) == ["body", "call from thread"]

    def test_are_allowed_before_it_runs_and_after_its_end(self, process: FakeProcess) -> None:
        """
        In any thread.
        """
        process.wants_debug = True
        process.loop.no_setup()
        process.reactor.callLater(0, process.reactor.stop)
        Background(process.reactor.callWhenRunning, int).outcome()
        process.reactor.run()
        process.reactor.callLater(0, int)
        Background(process.reactor.callLater, 0, int).outcome()
        process.loop._thread_check.uninstall()

    def test_are_refused_beside_the_programs_own_reactor(self, debugged: FakeProcess) -> None:
        """
        And crash(), which is watched, has not been called then.
        """
        with pytest.raises(RuntimeError, match=REFUSED):
            debugged.reactor.crash()
        assert debugged.reactor.running

    def test_may_be_used_by_its_thread_pool(self, debugged: FakeProcess) -> None:
        """
        Which is made when it is first needed, perhaps by a foreign thread; that calls at once.
        """
        reactor = debugged.reactor
        reactor.threadpool = None
        pool = reactor.getThreadPool()
        try:
            answer = deferToThreadPool(reactor, pool, lambda: 7)
            done = threading.Event()
            with in_reactor_thread(debugged.bridge):
                answer.addCallback(lambda value: done.set())
            reactor._wakings.get(timeout=BOUND)
            with in_reactor_thread(debugged.bridge):
                reactor.turn()
            assert done.is_set()
            with pytest.raises(RuntimeError, match=r"reactor\.callWhenRunning\(\)"):
                reactor.callWhenRunning(int)
        finally:
            pool.stop()

    def test_are_named_by_the_programs_line(
        self, debugged: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Not by Twisted's, which a transport's write() or a timeout comes through.
        """
        waiting: Deferred[None] = Deferred()
        with pytest.raises(RuntimeError, match=rf"'MainThread', {__file__}:\d+ in test_are_named"):
            waiting.addTimeout(1, debugged.reactor)

    def test_are_named_by_the_innermost_line_if_all_is_twisteds(self) -> None:
        """
        A thread of Twisted's may have nothing of the program's in its stack.
        """
        names: dict[str, Any] = {
            "__name__": "twisted.internet.something",
        }
        exec("def innermost():\n    yield", names)
        generator = names["innermost"]()
        next(generator)
        frame = generator.gi_frame
        assert frame.f_back is None
        assert _debug._line_of(frame) == "<string>:2 in innermost()"


class TestTimers:
    """
    What callLater() returns.
    """

    @pytest.mark.parametrize("name", ["cancel", "reset", "delay"])
    def test_are_refused_in_foreign_threads(self, debugged: FakeProcess, name: str) -> None:
        """
        And stay as they are.
        """
        with in_reactor_thread(debugged.bridge):
            timer = debugged.reactor.callLater(5, int)
        with pytest.raises(RuntimeError, match=rf"IDelayedCall\.{name}\(\) .* {REFUSED}"):
            getattr(timer, name)(*([] if name == "cancel" else [1]))
        assert timer.active()
        assert timer.getTime() == 5
        with in_reactor_thread(debugged.bridge):
            timer.reset(1)
            timer.cancel()

    def test_of_a_clock_are_left_alone(self, debugged: FakeProcess) -> None:
        """
        It is not the reactor, though the class is the same.
        """
        timer = Clock().callLater(5, int)
        timer.delay(1)
        timer.cancel()


# What is done to a Deferred in the reactor thread.
TOUCHES: dict[str, Callable[[Any], object]] = {
    "addCallback": lambda deferred: deferred.addCallback(lambda value: value),
    "addErrback": lambda deferred: deferred.addErrback(lambda failure: failure),
    "addBoth": lambda deferred: deferred.addBoth(lambda value: value),
    "addCallbacks": lambda deferred: deferred.addCallbacks(
        lambda value: value, lambda value: value
    ),
    "await": lambda deferred: Deferred.fromCoroutine(_await(deferred)),
}


async def _await(deferred: Deferred[Any]) -> None:
    await deferred


def _fire(deferred: Deferred[Any], name: str) -> None:
    deferred.addErrback(lambda failure: None)
    {
        "callback": lambda: deferred.callback(None),
        "errback": lambda: deferred.errback(ValueError("it failed")),
        "cancel": lambda: deferred.cancel(),
    }[name]()


class TestDeferreds:
    """
    Which may be fired where.
    """

    @pytest.mark.parametrize("name", ["callback", "errback", "cancel"])
    def test_of_the_reactor_are_refused_in_foreign_threads(
        self, debugged: FakeProcess, name: str
    ) -> None:
        """
        Those that were made in its thread. They have not fired then, and can be fired there.
        """
        with in_reactor_thread(debugged.bridge):
            deferred: Deferred[Any] = Deferred()
        with pytest.raises(RuntimeError, match=rf"Deferred\.{name}\(\) was called .* {REFUSED}"):
            _fire(deferred, name)
        assert not deferred.called
        with in_reactor_thread(debugged.bridge):
            _fire(deferred, name)
        assert deferred.called

    @pytest.mark.parametrize("touch", TOUCHES)
    def test_that_it_waits_for_are_refused_in_foreign_threads(
        self, debugged: FakeProcess, touch: str
    ) -> None:
        """
        Wherever they were made.
        """
        deferred: Deferred[Any] = Deferred()
        with in_reactor_thread(debugged.bridge):
            TOUCHES[touch](deferred)
        with pytest.raises(RuntimeError, match=REFUSED):
            deferred.callback(None)
        with in_reactor_thread(debugged.bridge):
            deferred.callback(None)

    @pytest.mark.parametrize("name", ["callback", "errback", "cancel"])
    def test_that_it_never_sees_may_be_fired_anywhere(
        self, debugged: FakeProcess, name: str
    ) -> None:
        """
        A unit test makes and fires them in its own thread, where no reactor is; also a coroutine.
        """
        _fire(Deferred(), name)
        waited_for: Deferred[int] = Deferred()
        answers: list[int] = []
        Deferred.fromCoroutine(_double(waited_for)).addCallback(answers.append)
        waited_for.callback(21)
        defer.maybeDeferred(int, "7").addCallback(answers.append)
        assert answers == [42, 7]

    def test_of_a_foreign_thread_may_be_fired_in_the_reactors(self, debugged: FakeProcess) -> None:
        """
        By callFromThread(), as deferToThread() does.
        """
        deferred: Deferred[int] = Deferred()
        answers: list[int] = []
        deferred.addCallback(answers.append)
        debugged.reactor.callFromThread(deferred.callback, 7)
        with in_reactor_thread(debugged.bridge):
            debugged.reactor.turn()
        assert answers == [7]

    def test_of_the_reactor_may_be_fired_after_its_end(self, debugged: FakeProcess) -> None:
        """
        To clean up.
        """
        with in_reactor_thread(debugged.bridge):
            deferred: Deferred[None] = Deferred()
        debugged.bridge.reactor_thread = None
        deferred.callback(None)

    def test_of_an_earlier_life_may_be_fired_anywhere(self, debugged: FakeProcess) -> None:
        """
        The thread that it was for is gone; that of the next has never seen it.
        """
        with in_reactor_thread(debugged.bridge):
            deferred: Deferred[None] = Deferred()
        debugged.loop._thread_check.install(debugged.reactor)
        deferred.callback(None)

    def test_of_results_are_cancelled_from_any_thread(self, real: FakeProcess) -> None:
        """
        For that goes through the reactor thread.
        """
        result = real.run_in_reactor(Deferred)()
        result.cancel()
        with pytest.raises(defer.CancelledError):
            result.wait(BOUND)


async def _double(deferred: Deferred[int]) -> int:
    return 2 * await deferred


class TestLives:
    """
    The reactor started, stopped, forked under the switch, in real processes.
    """

    BEGINNING = """
        import os, sys, threading
        import crochet
        from crochet import run_in_reactor, setup, shutdown, wait_for
        BOUND = float(sys.argv[1])
        os.environ["CROCHET_DEBUG"] = "1"

        def is_refused(function, *args):
            try:
                function(*args)
            except RuntimeError as error:
                assert "for the reactor thread only" in str(error), error
                return True
            return False

        @wait_for(BOUND)
        async def answer():
            from twisted.internet import reactor, task, threads
            await task.deferLater(reactor, 0)
            return await threads.deferToThread(lambda: 7)
    """

    def test_of_one_reactor_follow_one_another(self) -> None:
        """
        Stopped, started, crashed and started again: refused while it runs, allowed between.
        """
        finished = run_python(
            self.BEGINNING
            + """
        from twisted.internet import reactor
        for end in (shutdown, reactor.stop, reactor.crash):
            setup()
            assert is_refused(reactor.callLater, 0, print)
            assert answer() == 7
            if end is shutdown:
                shutdown()
            else:
                thread, = (t for t in threading.enumerate() if t.name == "crochet-reactor")
                reactor.callFromThread(end)
                thread.join(BOUND)
            assert not is_refused(reactor.callWhenRunning, int)
        setup()
        assert is_refused(reactor.callLater, 0, print)
        shutdown()
        print("done", "callLater" in vars(reactor))
        """
        )
        assert finished == (0, "done False\n", "")

    @pytest.mark.parametrize("kind", ["asyncio", "select", "poll"])
    def test_of_other_reactors_are_the_same(self, kind: str) -> None:
        """
        They do some things by their own methods, in their thread.
        """
        finished = run_python(
            f"""
        from twisted.internet import {kind}reactor
        {kind}reactor.install()
            """
            + self.BEGINNING
            + """
        from twisted.internet import reactor
        for _ in range(2):
            setup()
            assert answer() == 7
            assert is_refused(reactor.callLater, 0, print)
            shutdown()
        print("done", "callLater" in vars(reactor))
        """
        )
        assert finished == (0, "done False\n", "")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_go_on_in_a_forked_child(self) -> None:
        """
        Which gets a reactor of its own at the first call, and undoes it all, too.
        """
        finished = run_python(
            self.BEGINNING
            + """
        from twisted.internet import reactor
        setup()
        assert answer() == 7
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if not pid:
            assert not is_refused(reactor.callWhenRunning, int)
            assert answer() == 7
            assert is_refused(reactor.callLater, 0, print)
            shutdown()
            os._exit(7 if "callLater" not in vars(reactor) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert answer() == 7
        assert is_refused(reactor.callLater, 0, print)
        shutdown()
        print("done")
        """
        )
        assert finished == (0, "done\n", "")

    def test_serve_connections_and_child_processes(self) -> None:
        """
        Twisted uses its own methods, and a transport written to from elsewhere is seen.
        """
        finished = run_python(
            self.BEGINNING
            + """
        from twisted.internet import endpoints, protocol, reactor, utils

        class Echo(protocol.Protocol):
            def dataReceived(self, data):
                self.transport.write(data)

        class Client(protocol.Protocol):
            def connectionMade(self):
                self.received = threading.Event()

            def dataReceived(self, data):
                self.received.set()

        @wait_for(BOUND)
        async def connect():
            port = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
                protocol.Factory.forProtocol(Echo)
            )
            to = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
            return await endpoints.connectProtocol(to, Client())

        @wait_for(BOUND)
        async def run():
            return await utils.getProcessOutput(sys.executable, ["-c", "print(7)"], os.environ)

        setup()
        client = connect()
        assert is_refused(client.transport.write, b"hello")
        wait_for(BOUND)(client.transport.write)(b"hello")
        assert client.received.wait(BOUND)
        assert run() == b"7\\n"
        print("done")
        """
        )
        assert finished == (0, "done\n", "")
