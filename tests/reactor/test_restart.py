"""
Running the same reactor again.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from crochet._reactor.forked import release_in_child
from crochet._reactor.restart import finish_crash, make_runnable, release
from support.programs import run_python
from support.reactor import (
    FakeReactor,
    close_reactor,
    new_asyncio_reactor,
    new_real_reactor,
    run_once,
)
from support.stepping import BOUND


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
        run_once(reactor)
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
            run_once(reactor, end)
            finish_crash(reactor)
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
        run_once(reactor)
        make_runnable(reactor)
        assert reactor.waker is not waker
        close_reactor(reactor)

    def test_begins_anew_if_it_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        For lack of a descriptor, say.
        """
        reactor = new_real_reactor()
        run_once(reactor)

        def fail(self: object) -> None:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(type(reactor), "installWaker", fail)
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files"):
                    make_runnable(reactor)
        make_runnable(reactor)
        run_once(reactor)
        close_reactor(reactor)

    def test_refuses_one_that_wants_more_to_be_made(self) -> None:
        """
        Crochet does not know what it was made of.
        """

        class OfAnotherMake(FakeReactor):
            def __init__(self, toolkit: object) -> None:
                super().__init__()

        reactor: Any = OfAnotherMake("toolkit")
        run_once(reactor)
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"a OfAnotherMake, has run.*do not call"):
                make_runnable(reactor)

    def test_gives_an_asyncio_reactor_a_new_event_loop(self) -> None:
        """
        Which is not set as any thread's.
        """
        reactor = new_asyncio_reactor()
        loop = reactor._asyncioEventloop
        run_once(reactor)
        make_runnable(reactor)
        assert loop.is_closed()
        assert not reactor._asyncioEventloop.is_closed()
        run_once(reactor)
        release(reactor)


class TestRelease:
    """
    Of what a reactor keeps open.
    """

    @pytest.mark.parametrize("make", [new_real_reactor, new_asyncio_reactor, FakeReactor])
    @pytest.mark.parametrize("release_it", [release, release_in_child])
    def test_closes_all(self, make: Any, release_it: Any) -> None:
        """
        Once or twice; the fixture for all tests sees to that. Then the reactor can be revived.
        """
        reactor = make()
        run_once(reactor)
        release_it(reactor)
        release_it(reactor)
        make_runnable(reactor)
        run_once(reactor)
        release(reactor)


def test_release_of_a_loop_that_is_half_closed() -> None:
    """
    A signal has interrupted the first attempt.
    """
    reactor = new_asyncio_reactor()
    loop = reactor._asyncioEventloop
    loop._close_self_pipe()
    release(reactor)
    assert loop.is_closed()


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
        run_once(reactor, "crash")
        finish_crash(reactor)
        workers[0].join(BOUND)
        assert not workers[0].is_alive()
        assert reactor.threadpool is None

    def test_closes_connections(self, monkeypatch: pytest.MonkeyPatch, reactor: Any) -> None:
        """
        As a stop does.
        """
        closed: list[str] = []
        monkeypatch.setattr(reactor, "disconnectAll", lambda: closed.append("closed"))
        run_once(reactor, "crash")
        finish_crash(reactor)
        assert closed == ["closed"]

    @pytest.mark.parametrize("has_run", [True, False])
    def test_is_nothing_otherwise(
        self, monkeypatch: pytest.MonkeyPatch, reactor: Any, has_run: bool
    ) -> None:
        """
        After a stop, or if the reactor has never run.
        """
        if has_run:
            run_once(reactor)
        monkeypatch.setattr(reactor, "disconnectAll", pytest.fail)
        finish_crash(reactor)

    def test_leaves_a_reactor_of_another_make_alone(self) -> None:
        """
        Of which nobody can tell.
        """
        finish_crash(SimpleNamespace(running=False))


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
