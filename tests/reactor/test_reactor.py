"""
The Twisted reactor: where it comes from, and what is done to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import twisted.internet
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from crochet._reactor import reactor as _reactors
from crochet._reactor.reactor import (
    disarm_clone,
    import_reactor,
    make_own,
    make_runnable,
    release,
    release_in_child,
    release_signals_in_child,
    use_daemon_threads,
    wind_up,
)
from support.programs import run_python
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import BOUND, Background


@pytest.fixture(params=[FakeReactor, new_real_reactor], ids=["fake", "real"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = request.param()
    yield reactor
    close_reactor(reactor)


class TestImport:
    """
    Of the process's reactor.
    """

    @pytest.fixture(autouse=True)
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> object:
        """
        What a program has installed.
        """
        installed = object()
        monkeypatch.setitem(sys.modules, "twisted.internet.reactor", installed)
        monkeypatch.setattr(twisted.internet, "reactor", installed, raising=False)
        return installed

    def test_finds_what_is_installed(self, installed: object) -> None:
        """
        Whatever that is.
        """
        assert import_reactor() is installed

    @pytest.mark.parametrize(
        ("patcher", "name", "module"),
        [
            ("gevent.monkey", "is_module_patched", "threading"),
            ("gevent.monkey", "is_module_patched", "select"),
            ("eventlet.patcher", "is_monkey_patched", "thread"),
            ("eventlet.patcher", "is_monkey_patched", "select"),
        ],
    )
    def test_refuses_what_greenlets_have_replaced(
        self, monkeypatch: pytest.MonkeyPatch, patcher: str, name: str, module: str
    ) -> None:
        """
        In which no reactor can run beside the program. What is said first is what always helps.
        """
        package = patcher.partition(".")[0]
        patched = SimpleNamespace(**{name: lambda asked: asked == module})
        monkeypatch.setitem(sys.modules, patcher, patched)
        match = rf"{package}.*'{module}'.*-k gthread.*{package}\.monkey.*\(thread=False"
        with pytest.raises(RuntimeError, match=match):
            import_reactor()

    @pytest.mark.parametrize("patcher", ["gevent.monkey", "eventlet.patcher"])
    def test_accepts_greenlets_that_left_them_alone(
        self, installed: object, monkeypatch: pytest.MonkeyPatch, patcher: str
    ) -> None:
        """
        As a program can have it.
        """

        def is_patched(module: str) -> bool:
            return module == "socket"

        patched = SimpleNamespace(is_module_patched=is_patched, is_monkey_patched=is_patched)
        monkeypatch.setitem(sys.modules, patcher, patched)
        assert import_reactor() is installed


def test_import_installs_the_default_reactor() -> None:
    """
    If the program has installed none.
    """
    run_python(
        """
        import sys
        from crochet._reactor.reactor import import_reactor

        assert "twisted.internet.reactor" not in sys.modules
        reactor = import_reactor()
        from twisted.internet import reactor as installed
        assert reactor is installed
        """
    )


def _run_once(reactor: Any, end: str = "stop") -> None:
    """
    Run a reactor until it is told to end.
    """
    reactor.callWhenRunning(getattr(reactor, end))
    reactor.run(False)


def _new_asyncio_reactor() -> Any:
    """
    Return a reactor with an event loop of its own.
    """
    reactor = AsyncioSelectorReactor(asyncio.new_event_loop())
    reactor._registerAsIOThread = False
    return reactor


class TestRevival:
    """
    Of a reactor that is to run, perhaps again.
    """

    def test_leaves_one_alone_that_has_not_run(self, reactor: Any) -> None:
        """
        What the program has asked of it is done.
        """
        seen: list[int] = []
        reactor.callWhenRunning(seen.append, 1)
        make_runnable(reactor)
        _run_once(reactor)
        assert seen == [1]

    def test_leaves_one_alone_of_which_nobody_can_tell(self) -> None:
        """
        As with a reactor of another make.
        """
        make_runnable(SimpleNamespace(running=False))  # type: ignore[arg-type]

    def test_refuses_one_that_runs(self, reactor: Any) -> None:
        """
        And the program should have said so.
        """
        caught: list[Exception] = []

        def refuse() -> None:
            try:
                make_runnable(reactor)
            except RuntimeError as error:
                caught.append(error)
            reactor.stop()

        reactor.callWhenRunning(refuse)
        reactor.run(False)
        assert "is running already" in str(caught[0])
        assert "call crochet.no_setup()" in str(caught[0])

    @pytest.mark.parametrize("end", ["stop", "crash"])
    def test_has_one_run_again(self, reactor: Any, end: str) -> None:
        """
        The same object, with timers, threads and triggers of its own life.
        """
        seen: list[Any] = []
        for life in range(3):
            reactor.callWhenRunning(seen.append, life)
            reactor.callWhenRunning(reactor.callInThread, seen.append, "in a thread")
            reactor.addSystemEventTrigger("after", "shutdown", seen.append, "shut down")
            reactor.callLater(1000, seen.append, "never")
            _run_once(reactor, end)
            wind_up(reactor)
            make_runnable(reactor)
            assert reactor.getDelayedCalls() == []
        each = ["in a thread"] + ["shut down"] * (end == "stop")
        assert sorted(map(str, seen)) == sorted(["0", "1", "2"] + 3 * each)

    def test_leaves_no_descriptor_open(self) -> None:
        """
        Of the lives before; the fixture for all tests sees to the last one's.
        """
        reactor = new_real_reactor()
        waker = reactor.waker
        _run_once(reactor)
        make_runnable(reactor)
        assert reactor.waker is not waker
        close_reactor(reactor)

    def test_begins_anew_if_it_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        For lack of a descriptor, say.
        """
        reactor = new_real_reactor()
        _run_once(reactor)

        def fail(self: object) -> None:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(type(reactor), "installWaker", fail)
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files"):
                    make_runnable(reactor)
        make_runnable(reactor)
        _run_once(reactor)
        close_reactor(reactor)

    def test_refuses_one_that_wants_more_to_be_made(self) -> None:
        """
        Crochet does not know what it was made of.
        """

        class OfAnotherMake(FakeReactor):
            def __init__(self, toolkit: object) -> None:
                super().__init__()

        reactor: Any = OfAnotherMake("toolkit")
        _run_once(reactor)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"a OfAnotherMake, has run.*do not call"):
                make_runnable(reactor)

    def test_gives_an_asyncio_reactor_a_new_event_loop(self) -> None:
        """
        Which is not set as any thread's.
        """
        reactor = _new_asyncio_reactor()
        loop = reactor._asyncioEventloop
        _run_once(reactor)
        make_runnable(reactor)
        assert loop.is_closed()
        assert not reactor._asyncioEventloop.is_closed()
        _run_once(reactor)
        release(reactor)


class TestRelease:
    """
    Of what a reactor keeps open.
    """

    @pytest.mark.parametrize("make", [new_real_reactor, _new_asyncio_reactor, FakeReactor])
    @pytest.mark.parametrize("release_it", [release, release_in_child])
    def test_closes_all(self, make: Any, release_it: Any) -> None:
        """
        Once or twice; the fixture for all tests sees to that. Then the reactor can be revived.
        """
        reactor = make()
        _run_once(reactor)
        release_it(reactor)
        release_it(reactor)
        make_runnable(reactor)
        _run_once(reactor)
        release(reactor)

    @pytest.mark.parametrize("make", [new_real_reactor, _new_asyncio_reactor])
    def test_in_a_child_takes_nothing_from_the_parent(self, make: Any) -> None:
        """
        Whose reactor is not unregistered from: the two share one poller.
        """
        if not hasattr(os, "fork"):
            pytest.skip("there are no forks here")
        reactor = make()
        seen: list[int] = []

        def fork() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                try:
                    release_in_child(reactor)
                    make_runnable(reactor)
                    _run_once(reactor)
                    os._exit(7)
                finally:
                    os._exit(1)
            seen.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            waking = Background(reactor.callFromThread, reactor.stop)
            reactor.callLater(BOUND, reactor.crash)
            waking.outcome()

        reactor.callWhenRunning(fork)
        reactor.run(False)
        assert seen == [7]
        for call in reactor.getDelayedCalls():
            call.cancel()
        release(reactor)

    def test_in_a_child_leaves_a_loop_that_cannot_be_gutted(self) -> None:
        """
        Such as uvloop's: it is kept, for a garbage collection would close it.
        """
        stopped: list[None] = []
        loop = SimpleNamespace(
            is_closed=lambda: False, close=pytest.fail, stop=lambda: stopped.append(None)
        )
        reactor = SimpleNamespace(running=True, waker=None, _asyncioEventloop=loop)
        release_in_child(reactor)
        assert stopped  # for a clone of the thread that runs it
        assert reactor._asyncioEventloop is None
        assert not reactor.running
        assert _reactors._not_to_be_closed.pop() is loop

    @pytest.mark.parametrize("step", ["_close_self_pipe", "close", "nothing"])
    def test_in_a_child_of_a_parent_that_was_closing_the_loop(self, step: str) -> None:
        """
        In another thread, at whatever step: shutdown() does. What is open still is closed.
        """
        reactor = _new_asyncio_reactor()
        _run_once(reactor)
        loop = reactor._asyncioEventloop
        getattr(loop, step, int)()
        release_in_child(reactor)
        assert loop.is_closed()
        assert reactor._asyncioEventloop is None
        make_runnable(reactor)
        _run_once(reactor)
        release(reactor)


class Reader:
    """
    Something to be read.
    """

    def __init__(self, fileno: Any) -> None:
        self.fileno = fileno

    def logPrefix(self) -> str:
        return "a reader"


class TestInAChild:
    """
    What a forked child does with the reactor that it has inherited. (test_fork.py forks.)
    """

    def test_one_that_has_never_run_gets_its_own_poller(self) -> None:
        """
        And keeps what it has been told to do.
        """
        reactor = new_real_reactor()
        try:
            waker = reactor.waker
            timer = reactor.callLater(1000, lambda: None)
            trigger = reactor.addSystemEventTrigger("before", "shutdown", lambda: None)
            make_own(reactor)
            assert reactor.waker is not waker
            assert timer in reactor.getDelayedCalls()
            reactor.removeSystemEventTrigger(trigger)
            timer.cancel()
        finally:
            close_reactor(reactor)

    def test_one_that_is_to_read_something_is_left_alone(self) -> None:
        """
        As is one that runs.
        """
        reactor = new_real_reactor()
        one, other = socket.socketpair()
        try:
            waker = reactor.waker
            reader = Reader(one.fileno)
            reactor.addReader(reader)
            make_own(reactor)
            assert reactor.waker is waker
            reactor.removeReader(reader)
            reactor.running = True
            make_own(reactor)
            assert reactor.waker is waker
            reactor.running = False
        finally:
            one.close()
            other.close()
            close_reactor(reactor)

    def test_its_sigchld_wakes_nobody(self) -> None:
        """
        The pipe is the parent's, too.
        """
        told: list[str] = []
        waker = SimpleNamespace(
            uninstall=lambda: told.append("uninstalled"),
            connectionLost=lambda reason: told.append("closed"),
        )
        parts = [SimpleNamespace(_childWaker=waker), SimpleNamespace()]
        reactor = SimpleNamespace(_signals=SimpleNamespace(_signalHandlings=parts))
        release_signals_in_child(reactor)
        assert told == ["uninstalled", "closed"]
        release_signals_in_child(reactor)
        assert told == ["uninstalled", "closed"]

    def test_a_clone_of_the_reactor_thread_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        When it comes back to the loop. Another thread of the child may run that.
        """

        class Ended(Exception):
            pass

        def end(status: int) -> None:
            raise Ended(status)

        class Reactor:
            def __init__(self) -> None:
                self.threadCallQueue = [1]
                self.iterated: list[object] = []

            def doIteration(self, delay: float | None) -> None:
                self.iterated.append(delay)

        monkeypatch.setattr(os, "_exit", end)
        reactor = Reactor()
        disarm_clone(reactor)
        assert reactor.threadCallQueue == []
        with pytest.raises(Ended, match="0"):
            reactor.doIteration(0.0)
        Background(reactor.doIteration, 1.0).outcome()
        assert reactor.iterated == [1.0]


class TestWindingUp:
    """
    What a crashed reactor leaves undone.
    """

    def test_after_a_crash(self, reactor: Any) -> None:
        """
        Its workers end.
        """
        workers: list[threading.Thread] = []
        blocked = threading.Event()

        def work() -> None:
            workers.append(threading.current_thread())
            blocked.set()

        reactor.callWhenRunning(reactor.callInThread, work)
        reactor.callWhenRunning(blocked.wait, BOUND)
        _run_once(reactor, "crash")
        wind_up(reactor)
        workers[0].join(BOUND)
        assert not workers[0].is_alive()
        assert reactor.threadpool is None

    def test_closes_connections(self, monkeypatch: pytest.MonkeyPatch, reactor: Any) -> None:
        """
        As a stop does.
        """
        closed: list[str] = []
        monkeypatch.setattr(reactor, "disconnectAll", lambda: closed.append("closed"))
        _run_once(reactor, "crash")
        wind_up(reactor)
        assert closed == ["closed"]

    @pytest.mark.parametrize("has_run", [True, False])
    def test_is_nothing_otherwise(
        self, monkeypatch: pytest.MonkeyPatch, reactor: Any, has_run: bool
    ) -> None:
        """
        After a stop, or if the reactor has never run.
        """
        if has_run:
            _run_once(reactor)
        monkeypatch.setattr(reactor, "disconnectAll", pytest.fail)
        wind_up(reactor)

    def test_leaves_a_reactor_of_another_make_alone(self) -> None:
        """
        Of which nobody can tell.
        """
        wind_up(SimpleNamespace(running=False))


class TestPool:
    """
    The threads of ``deferToThread()``.
    """

    def test_has_daemons(self, reactor: Any) -> None:
        """
        Which Python does not wait for before it calls exit hooks.
        """
        use_daemon_threads(reactor)
        seen: list[bool] = []

        def work() -> None:
            seen.append(threading.current_thread().daemon)
            reactor.callFromThread(reactor.stop)

        reactor.callWhenRunning(reactor.callInThread, work)
        reactor.run(False)
        assert seen == [True]

    @pytest.mark.parametrize(
        ("text", "is_hidden"),
        [("can't create new thread at interpreter shutdown", True), ("can't start", False)],
    )
    def test_starts_no_worker_at_exit(
        self, reactor: Any, monkeypatch: pytest.MonkeyPatch, text: str, is_hidden: bool
    ) -> None:
        """
        And says nothing of it, for what it was to do is cancelled. Any other failure is one.
        """

        def fail(thread: threading.Thread) -> None:
            raise RuntimeError(text)

        use_daemon_threads(reactor)
        worker = reactor.getThreadPool().threadFactory(target=int, name="late")
        monkeypatch.setattr(threading.Thread, "start", fail)
        with nullcontext() if is_hidden else pytest.raises(RuntimeError, match=text):
            worker.start()
        worker.join()

    def test_need_not_be_there(self) -> None:
        """
        Not every reactor has one.
        """
        use_daemon_threads(object())  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="there select() takes any number")
@pytest.mark.parametrize("installs", [False, True])
def test_select_beyond_its_descriptors(installs: bool) -> None:
    """
    setup() refuses, and nothing is changed: of a reactor that is not installed yet, or is to be
    revived; or of one that the program has installed.
    """
    run_python(
        """
        import os, resource, sys, threading
        import ctypes  # as Twisted does; some libffi keep a descriptor open once it is used
        import crochet

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limits[1] != resource.RLIM_INFINITY and limits[1] < 1200:
            sys.exit()
        resource.setrlimit(resource.RLIMIT_NOFILE, (1200, limits[1]))

        def refused(installs=False):
            opened = []
            while not opened or opened[-1] < 1030:
                opened.append(os.open(os.devnull, os.O_RDONLY))
            if installs:
                from twisted.internet import selectreactor
                selectreactor.install()
            before = len(os.listdir("/dev/fd"))
            for _ in range(2):
                try:
                    crochet.setup(reactor="select")
                except RuntimeError as error:
                    assert "select() takes only low ones" in str(error), error
                else:
                    sys.exit("not refused")
                assert threading.active_count() == 1, threading.enumerate()
                assert len(os.listdir("/dev/fd")) == before
            for fd in opened:
                os.close(fd)

        if sys.argv[2] == "True":
            refused(installs=True)
            sys.exit()
        refused()
        assert "twisted.internet.reactor" not in sys.modules
        for _ in range(2):
            crochet.setup(reactor="select")
            assert crochet.wait_for(float(sys.argv[1]))(int)() == 0
            crochet.shutdown()
            refused()
        """,
        str(installs),
    )
