"""
The fakes do what the real things do: each contract runs on both.
"""

from __future__ import annotations

import _thread
import io
import logging
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRestartable, ReactorNotRunning
from twisted.logger import LogBeginner, LogPublisher

from crochet._logs.observer import LogBridge
from crochet._reactor.children import ChildWatcher
from crochet._threads.threads import start_thread
from support.process import FakeChildren, FakeLogs, FakeThreads, LoggedFailures
from support.programs import run_python
from support.reactor import FakeReactor, close_reactor, new_real_reactor
from support.stepping import (
    BOUND,
    Background,
    SteppedDeque,
    SteppedDict,
    SteppedSet,
    together,
)


@pytest.fixture(params=[FakeReactor, new_real_reactor], ids=["fake", "real"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    A reactor that has not run.
    """
    reactor = request.param()
    yield reactor
    close_reactor(reactor)


class TestReactor:
    """
    What Crochet expects of a reactor.
    """

    def test_calls_from_other_threads_in_order(self, reactor: Any) -> None:
        """
        What comes before the run is called, too, and all of it in the reactor's thread.
        """
        called: list[tuple[int, int]] = []
        reactor.callFromThread(lambda: called.append((1, _thread.get_ident())))
        running = Background(reactor.run, False)
        reactor.callFromThread(lambda: called.append((2, _thread.get_ident())))
        reactor.callFromThread(reactor.stop)
        running.outcome()
        assert called == [(1, running.thread.ident), (2, running.thread.ident)]

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    def test_logs_what_a_call_raises(
        self, reactor: Any, logged: LoggedFailures, error: type[BaseException]
    ) -> None:
        """
        And goes on.
        """

        def fail() -> None:
            raise error("of a call")

        reactor.callFromThread(fail)
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        assert [type(each) for each in logged.take()] == [error]

    def test_calls_later(self, reactor: Any) -> None:
        """
        In the order of their times; what was cancelled is not called.
        """
        called: list[int] = []
        reactor.callLater(0.02, called.append, 2)
        reactor.callLater(0.01, called.append, 1)
        cancelled = reactor.callLater(0.015, called.append, 3)
        assert cancelled.active()
        cancelled.cancel()
        assert not cancelled.active()
        reactor.callLater(0.03, reactor.stop)
        reactor.run(False)
        assert called == [1, 2]

    def test_tells_whether_it_runs(self, reactor: Any) -> None:
        """
        From its start to the end of its shutdown.
        """
        seen: list[bool] = [reactor.running]
        reactor.callWhenRunning(lambda: seen.append(reactor.running))
        reactor.addSystemEventTrigger("before", "shutdown", lambda: seen.append(reactor.running))
        reactor.addSystemEventTrigger("after", "shutdown", lambda: seen.append(reactor.running))
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        assert [*seen, reactor.running] == [False, True, True, False, False]

    def test_calls_at_once_what_is_to_be_called_when_it_runs(self, reactor: Any) -> None:
        """
        If it does run, and whoever asks.
        """
        called: list[str] = []

        def ask() -> None:
            reactor.callWhenRunning(called.append, "asked for")
            called.append("asked")
            reactor.stop()

        reactor.callWhenRunning(ask)
        reactor.run(False)
        assert called == ["asked for", "asked"]

    def test_waits_for_the_triggers_before_its_end(self, reactor: Any) -> None:
        """
        A Deferred that such a trigger returns holds the shutdown up; timers go on.
        """
        ended: Deferred[None] = Deferred()
        seen: list[str] = []

        def end() -> Deferred[None]:
            reactor.callLater(0.01, lambda: (seen.append("timer"), ended.callback(None)))
            return ended

        reactor.addSystemEventTrigger("before", "shutdown", end)
        reactor.addSystemEventTrigger("during", "shutdown", seen.append, "during")
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        assert seen == ["timer", "during"]

    def test_forgets_a_trigger_that_is_removed(self, reactor: Any) -> None:
        """
        Others remain.
        """
        seen: list[int] = []
        removed = reactor.addSystemEventTrigger("before", "shutdown", seen.append, 1)
        reactor.addSystemEventTrigger("before", "shutdown", seen.append, 2)
        reactor.removeSystemEventTrigger(removed)
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        assert seen == [2]

    def test_crashes_without_triggers(self, reactor: Any) -> None:
        """
        The run just ends.
        """
        seen: list[int] = []
        reactor.addSystemEventTrigger("before", "shutdown", seen.append, 1)
        reactor.callFromThread(reactor.crash)
        reactor.run(False)
        assert seen == []
        assert not reactor.running

    def test_cannot_be_stopped_unless_it_runs(self, reactor: Any) -> None:
        """
        Neither before nor after.
        """
        with pytest.raises(ReactorNotRunning):
            reactor.stop()
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        with pytest.raises(ReactorNotRunning):
            reactor.stop()

    def test_cannot_be_run_twice(self, reactor: Any) -> None:
        """
        It tells by an attribute whether it has run.
        """
        assert not reactor._startedBefore
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        assert reactor._startedBefore
        with pytest.raises(ReactorNotRestartable):
            reactor.run(False)

    def test_takes_calls_after_its_end_and_makes_none(self, reactor: Any) -> None:
        """
        It does not even say so.
        """
        called: list[int] = []
        reactor.callFromThread(reactor.stop)
        reactor.run(False)
        reactor.callFromThread(called.append, 1)
        with pytest.raises(ReactorNotRestartable):
            reactor.run(False)
        assert called == []


@pytest.mark.parametrize("kind", [dict, SteppedDict])
def test_a_stepped_dict_is_a_dict(kind: Callable[[], Any]) -> None:
    """
    As long as no step is asked for.
    """
    items = kind()
    assert not items
    items[1] = None
    items[2] = None
    assert list(items) == [1, 2]
    del items[2]
    assert (items.pop(1), len(items)) == (None, 0)
    with pytest.raises(KeyError):
        del items[2]


@pytest.mark.parametrize("kind", [deque, SteppedDeque])
def test_a_stepped_deque_is_a_deque(kind: Callable[[], Any]) -> None:
    """
    As long as no step is asked for.
    """
    items = kind()
    assert not items
    items.append(1)
    items.append(2)
    assert items
    assert (items.popleft(), len(items)) == (1, 1)
    items.clear()
    with pytest.raises(IndexError):
        items.popleft()


@pytest.mark.parametrize("kind", [set, SteppedSet])
def test_a_stepped_set_is_a_set(kind: Callable[[], Any]) -> None:
    """
    As long as no step is asked for.
    """
    items = kind()
    items.add(1)
    items.add(2)
    copied = items.copy()
    items.discard(2)
    items.discard(2)
    assert (items, copied) == ({1}, {1, 2})


@pytest.mark.parametrize(
    ("kind", "step", "operate", "before", "after"),
    [
        (SteppedDict, "before_set", lambda items: items.__setitem__(7, None), 0, 1),
        (SteppedDict, "after_set", lambda items: items.__setitem__(7, None), 1, 1),
        (SteppedDeque, "before_append", lambda items: items.append(7), 0, 1),
        (SteppedDeque, "after_append", lambda items: items.append(7), 1, 1),
        (SteppedDeque, "before_len", len, 0, 0),
        (SteppedSet, "before_add", lambda items: items.add(7), 0, 1),
        (SteppedSet, "after_add", lambda items: items.add(7), 1, 1),
        (SteppedSet, "after_copy", lambda items: items.copy(), 0, 0),
    ],
)
def test_a_step_is_made_once(
    kind: Callable[[], Any], step: str, operate: Callable[[Any], object], before: int, after: int
) -> None:
    """
    Where it is told to.
    """
    items = kind()
    seen: list[int] = []
    setattr(items, step, lambda: seen.append(len([*items])))
    operate(items)
    assert seen == [before]
    assert len(items) == after
    copied = items.copy()
    assert len(copied) == after
    assert seen == [before]


@pytest.mark.parametrize("is_fake", [True, False], ids=["fake", "real"])
def test_a_started_thread_runs_its_target_once(is_fake: bool) -> None:
    """
    It is a daemon, and has its name.
    """
    idents: list[int] = []
    fakes = FakeThreads()
    start: Any = fakes if is_fake else start_thread
    thread = start(lambda: idents.append(_thread.get_ident()), "crochet-test")
    if is_fake:
        assert thread.is_alive()
        thread.run()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert idents == [thread.ident]
    assert (thread.name, thread.daemon) == ("crochet-test", True)


def _real_logs() -> LogBridge:
    publisher = LogPublisher()
    return LogBridge(
        publisher=publisher,
        beginner=LogBeginner(publisher, io.StringIO(), sys, warnings),
        logger=logging.getLogger("test_fakes"),
        start_thread=start_thread,
    )


@pytest.mark.parametrize("make", [FakeLogs, _real_logs], ids=["fake", "real"])
def test_logs_are_started_and_stopped(make: Callable[[], Any]) -> None:
    """
    Any number of times; and finished, and reset in a forked child.
    """
    logs = make()
    for _ in range(2):
        logs.start()
        assert logs.stop(BOUND) is True
    logs.start()
    assert logs.finish(BOUND) is True
    assert logs.stop(BOUND) is True
    logs.after_fork_in_child()
    logs.start()
    assert logs.stop(BOUND) is True


@pytest.mark.parametrize(
    "make",
    [lambda _: FakeChildren(), lambda reactor: ChildWatcher(reactor, start_thread)],
    ids=["fake", "real"],
)
def test_children_are_watched(make: Callable[[Any], Any]) -> None:
    """
    From a start to a stop, any number of times, and to a fork.
    """
    children = make(FakeReactor())
    for _ in range(2):
        children.start()
        children.stop()
    children.stop()
    children.start()
    children.after_fork_in_child()
    children.stop()


class TestHelpers:
    """
    What tests of others rely on.
    """

    def test_background_hands_on_what_comes_of_it(self) -> None:
        """
        A value or an error.
        """
        assert Background(lambda: 7).outcome() == 7
        with pytest.raises(SystemExit, match="3"):
            Background(lambda: exit(3)).outcome()

    def test_together_begins_in_as_many_threads(self) -> None:
        """
        And returns in the order of their numbers.
        """
        idents: set[int] = set()
        barrier = threading.Barrier(3)

        def run(index: int) -> int:
            barrier.wait(BOUND)
            idents.add(_thread.get_ident())
            return index

        assert together(3, run) == [0, 1, 2]
        assert len(idents) == 3

    def test_run_python_shows_the_output_of_a_program_that_fails(self) -> None:
        """
        Both streams.
        """
        with pytest.raises(pytest.fail.Exception, match=r"(?s)status 3.*this.*that"):
            run_python("import sys; print('this'); sys.stderr.write('that'); sys.exit(3)")

    def test_run_python_shows_the_stacks_of_a_program_that_hangs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Once its time is over, which here is when it has come to the place where it hangs.
        """
        communicate = subprocess.Popen.communicate

        def until_it_hangs(process: Any, timeout: float) -> Any:
            monkeypatch.undo()
            assert process.stdout.readline() == "here\n"
            raise subprocess.TimeoutExpired(process.args, timeout)

        monkeypatch.setattr(subprocess.Popen, "communicate", until_it_hangs)
        with pytest.raises(pytest.fail.Exception, match=r"(?s)has not ended.*File .* in hang"):
            run_python(
                """
                import threading

                def hang():
                    print("here")
                    threading.Event().wait()

                hang()
                """
            )
        assert subprocess.Popen.communicate is communicate
