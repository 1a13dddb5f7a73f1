"""
Child processes are seen to end, without SIGCHLD, and whatever becomes of their pipes.

The first half steps a watcher through its races with fakes. The second runs this file as a program,
once for each reactor, with real children: a process has one SIGCHLD and one run of its reactor.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import importlib
import json
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from crochet._reactor import children as _children
from crochet._reactor.children import ChildWatcher, ExitStatusUnknown
from crochet._threads.threads import start_thread

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Twisted needs no help on Windows")

REACTORS = ["epoll", "poll", "select", "asyncio"]
# Seconds that anything may take before it counts as never.
BOUND = 60.0
# An idle child. It ends by itself, should a test fail to end it.
IDLE = ["/bin/sh", "-c", "exec sleep 120"]


# ---------------------------------------------------------------------------------- the fakes


class FakeReactor:
    """
    As much of a reactor as the watcher touches; calls from threads wait for `run_calls()`.
    """

    def __init__(self) -> None:
        self.running = True
        self.internal: set[Any] = set()
        self.readers: list[Any] = []
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        with contextlib.suppress(ValueError):
            self.readers.remove(reader)

    def _addInternalReader(self, reader: Any) -> None:
        self.internal.add(reader)
        self.addReader(reader)

    def _removeInternalReader(self, reader: Any) -> None:
        self.internal.remove(reader)
        self.removeReader(reader)

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def removeAll(self) -> list[Any]:
        removed = [reader for reader in self.readers if reader not in self.internal]
        for reader in removed:
            self.removeReader(reader)
        return removed

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        self.calls.append((call, args))

    def run_calls(self) -> None:
        while self.calls:
            call, args = self.calls.pop(0)
            call(*args)


class FakeTwisted:
    """
    As much of `twisted.internet.process`: its list of children, and the two functions that keep it.
    """

    def __init__(self) -> None:
        self.reapProcessHandlers: dict[int, Any] = {}

        def registerReapProcessHandler(pid: int, process: Any) -> None:
            self.reapProcessHandlers[pid] = process

        def unregisterReapProcessHandler(pid: int, process: Any) -> None:
            if self.reapProcessHandlers.get(pid) is not process:
                raise RuntimeError("Try to unregister a process not registered.")
            del self.reapProcessHandlers[pid]

        self.registerReapProcessHandler = registerReapProcessHandler
        self.unregisterReapProcessHandler = unregisterReapProcessHandler
        self.functions = (registerReapProcessHandler, unregisterReapProcessHandler)

    def is_untouched(self) -> bool:
        found = (self.registerReapProcessHandler, self.unregisterReapProcessHandler)
        return found == self.functions


class FakeProcess:
    """
    A child whose exit status the kernel has, or (None) does not have any more.
    """

    def __init__(self, twisted: FakeTwisted, pid: int, status: int | None = 0) -> None:
        self.twisted = twisted
        self.pid = pid
        self.status = status
        self.reasons: list[object] = []

    def spawn(self) -> None:
        self.twisted.registerReapProcessHandler(self.pid, self)

    def reapProcess(self) -> None:
        if self.status is not None:
            self.twisted.unregisterReapProcessHandler(self.pid, self)
            self.processEnded(self.status)

    def _getReason(self, status: int) -> object:
        return status

    def processEnded(self, status: int) -> None:
        self.reasons.append(self._getReason(status))


class World:
    """
    A watcher among fakes, and the kernel's side of it: descriptors, and what they say.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = FakeReactor()
        self.twisted = FakeTwisted()
        self.threads: list[Callable[[], None]] = []
        self.has_threads = True
        self.opened: list[int] = []
        # What opening raises, what a descriptor says, what a thread's waiting returns.
        self.open_error: OSError | None = None
        self.ended: _children._Status | OSError | None = None
        self.waited: int | _children._Status = _children._Status.UNREAPED
        monkeypatch.setattr(_children, "_twisted_process", lambda: self.twisted)
        monkeypatch.setattr(_children, "_open_end", self.open_end)
        monkeypatch.setattr(_children, "_look", self.look)
        monkeypatch.setattr(_children, "_wait_for_end", lambda pid: self.waited)
        self.watcher = ChildWatcher(self.reactor, self.start_thread)

    def open_end(self, pid: int) -> int:
        if self.open_error is not None:
            raise self.open_error
        self.opened.append(os.open(os.devnull, os.O_RDONLY))
        return self.opened[-1]

    def look(self, fd: int) -> _children._Status | None:
        assert fd in self.opened
        if isinstance(self.ended, OSError):
            raise self.ended
        return self.ended

    def start_thread(self, target: Callable[[], None], name: str) -> object:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        self.threads.append(target)
        return None

    def spawn(self, pid: int = 11, status: int | None = 0) -> FakeProcess:
        process = FakeProcess(self.twisted, pid, status)
        process.spawn()
        return process

    def only_reader(self) -> Any:
        [reader] = self.reactor.readers
        return reader

    def run_threads(self) -> None:
        while self.threads:
            self.threads.pop()()
        self.reactor.run_calls()

    def is_clean(self) -> bool:
        return not self.reactor.readers and not self.reactor.internal and not any_open(self.opened)


def failures_in(event: dict[str, Any]) -> list[Failure]:
    """
    Return an event's failure; Twisted's old way of logging has another name for it.
    """
    return [event[key] for key in ("log_failure", "failure") if key in event][:1]


def any_open(fds: list[int]) -> bool:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.fstat(fd)
            return True
    return False


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """
    A started watcher among fakes; whatever the test did, stopping leaves nothing behind.
    """
    world = World(monkeypatch)
    world.watcher.start()
    yield world
    world.watcher.stop()
    assert world.is_clean()
    assert world.twisted.is_untouched()


@pytest.fixture
def logged() -> Iterator[list[Failure]]:
    """
    The failures that are logged during the test.
    """
    failures: list[Failure] = []

    def observe(event: dict[str, Any]) -> None:
        failures.extend(failures_in(event))

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)


def test_descriptor_watches_while_the_child_lives(world: World) -> None:
    """
    One reader, internal, that names the child; gone with its descriptor before the child's
    protocol hears of the end.
    """
    process = world.spawn(status=7)
    assert repr(world.only_reader()) == "<crochet's watch over child process 11>"
    assert world.only_reader().logPrefix() == "child process 11"
    assert world.only_reader().fileno() == world.opened[0]
    assert world.reactor.removeAll() == []
    was_clean: list[bool] = []
    process._getReason = lambda status: was_clean.append(world.is_clean())  # type: ignore[func-returns-value]
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert was_clean == [True]
    assert world.twisted.reapProcessHandlers == {}


def test_status_comes_from_twisted(world: World) -> None:
    """
    The watcher says when to look; the exit status is read by Twisted.
    """
    process = world.spawn(status=7)
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert process.reasons == [7]


def test_application_reaps_first(world: World) -> None:
    """
    Between our look and Twisted's somebody takes the status: the end is reported all the same.
    """
    process = world.spawn(status=None)
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    [reason] = process.reasons
    assert isinstance(reason, ExitStatusUnknown)
    assert reason.pid == 11
    assert world.twisted.reapProcessHandlers == {}


def test_nobody_is_asked_for_a_lost_status(world: World) -> None:
    """
    The kernel says that no child is behind the descriptor: its pid may be another child's by
    now, so Twisted must not reap by pid.
    """
    process = world.spawn(status=7)
    world.ended = _children._Status.LOST
    world.only_reader().doRead()
    [reason] = process.reasons
    assert isinstance(reason, ExitStatusUnknown)


def test_twisted_reaps_first(world: World) -> None:
    """
    The pipes close before the descriptor is looked at: the watch ends at once, and what comes
    late from the reactor is no end of the next child with that pid.
    """
    first = world.spawn()
    reader = world.only_reader()
    first.reapProcess()
    assert world.is_clean()
    second = world.spawn()
    world.ended = _children._Status.UNREAPED
    reader.doRead = functools.partial(world.watcher._ended_in_reactor, reader, world.ended)
    reader.doRead()
    reader.connectionLost(None)
    assert (first.reasons, second.reasons) == ([0], [])
    assert world.threads == []
    second.reapProcess()


def test_debugger_holds_the_child(world: World) -> None:
    """
    Readable, but nothing to reap: a thread waits in place of a reader that would spin.
    """
    process = world.spawn()
    world.only_reader().doRead()
    assert world.is_clean()
    assert len(world.threads) == 1
    assert process.reasons == []
    world.run_threads()
    assert process.reasons == [0]


def test_descriptor_was_closed_by_others(world: World) -> None:
    """
    A program that closes all descriptors closes ours; a thread takes over.
    """
    process = world.spawn()
    os.close(world.opened[0])
    world.ended = OSError(errno.EBADF, "Bad file descriptor")
    world.only_reader().doRead()
    world.run_threads()
    assert process.reasons == [0]


def test_reactor_drops_the_reader(world: World) -> None:
    """
    A running reactor has lost our reader to an error: a thread takes over.
    """
    process = world.spawn()
    world.only_reader().connectionLost(None)
    assert world.is_clean()
    world.run_threads()
    assert process.reasons == [0]


def test_reactor_stops(world: World) -> None:
    """
    A reactor that is stopping drops our reader: the descriptor is closed and no thread started.
    """
    process = world.spawn()
    world.reactor.running = False
    world.only_reader().connectionLost(None)
    assert world.is_clean()
    assert world.threads == []
    assert process.reasons == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EMFILE, errno.EPERM])
def test_no_descriptor(world: World, code: int) -> None:
    """
    Where no descriptor is to be had a thread waits, and Twisted reads the status.
    """
    world.open_error = OSError(code, os.strerror(code))
    process = world.spawn(status=3)
    assert world.reactor.readers == []
    world.run_threads()
    assert process.reasons == [3]


@pytest.mark.parametrize("waited", [5, _children._Status.LOST])
def test_thread_knows_the_status(world: World, waited: int | _children._Status) -> None:
    """
    Without `os.waitid` waiting has reaped the child, or found that somebody else had.
    """
    world.open_error = OSError(errno.ENOSYS, "")
    world.waited = waited
    process = world.spawn(status=None)
    world.run_threads()
    [reason] = process.reasons
    assert reason == 5 or (waited != 5 and isinstance(reason, ExitStatusUnknown))
    assert world.twisted.reapProcessHandlers == {}


def test_reactor_refuses_the_descriptor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The kernel's limit on watched descriptors is reached: a thread waits, the descriptor is closed.
    """

    def refuse(reader: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(world.reactor, "addReader", refuse)
    process = world.spawn()
    assert world.is_clean()
    world.run_threads()
    assert process.reasons == [0]


def test_select_takes_no_high_descriptor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Beyond FD_SETSIZE the select reactor gets a thread, and any other still the descriptor.
    """

    def refuse(*arguments: object) -> None:
        raise ValueError("filedescriptor out of range in select()")

    monkeypatch.setattr(select, "select", refuse)
    world.spawn(11)
    assert len(world.reactor.readers) == 1
    monkeypatch.setattr("twisted.internet.selectreactor.SelectReactor", FakeReactor)
    world.spawn(12)
    assert len(world.reactor.readers) == 1
    assert len(world.threads) == 1
    assert any_open(world.opened[:1])
    assert not any_open(world.opened[1:])


def test_reactor_without_internal_readers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A reactor of another make gets an ordinary reader.
    """
    monkeypatch.delattr(FakeReactor, "_addInternalReader")
    monkeypatch.delattr(FakeReactor, "_removeInternalReader")
    process = world.spawn()
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert process.reasons == [0]


def test_child_is_gone_when_we_come(world: World) -> None:
    """
    Nothing is behind the pid any more: reported, but not before spawnProcess() has returned.
    """
    world.open_error = ProcessLookupError(errno.ESRCH, "")
    process = world.spawn(status=7)
    assert process.reasons == []
    world.reactor.run_calls()
    [reason] = process.reasons
    assert isinstance(reason, ExitStatusUnknown)
    assert world.threads == []


def test_child_that_ended_at_once_is_not_watched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Twisted looks before it registers; a child reported then is none of ours.
    """
    world.watcher.stop()
    monkeypatch.setattr(world.twisted, "registerReapProcessHandler", lambda pid, process: None)
    world.twisted.functions = (world.twisted.registerReapProcessHandler, world.twisted.functions[1])
    world.watcher.start()
    world.spawn()
    assert world.opened == []


def test_forgotten_by_twisted(world: World) -> None:
    """
    Somebody empties Twisted's list behind everybody's back: the child's end is nobody's.
    """
    process = world.spawn()
    world.twisted.reapProcessHandlers = {}
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert process.reasons == []
    assert world.is_clean()


def test_forgotten_by_twisted_and_pid_used_again(world: World) -> None:
    """
    The watch over a forgotten child gives way to the next child of that pid.
    """
    world.spawn()
    stale = world.only_reader()
    world.twisted.reapProcessHandlers = {}
    process = world.spawn(status=4)
    assert world.only_reader() is not stale
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert process.reasons == [4]


def test_neither_descriptor_nor_thread(world: World, logged: list[Failure]) -> None:
    """
    spawnProcess() does not fail, the log says it, and the next end brings another try.
    """
    other = world.spawn(10)
    watched = world.spawn(14)
    world.has_threads = False
    world.open_error = OSError(errno.EMFILE, "")
    process = world.spawn(11, status=2)
    assert [failure.type for failure in logged] == [RuntimeError]
    other.reapProcess()
    assert len(logged) == 2
    world.spawn(12).reapProcess()
    assert len(logged) == 4
    world.open_error = None
    world.spawn(13).reapProcess()
    assert len(logged) == 4
    assert len(world.opened) == 4
    world.ended = _children._Status.UNREAPED
    watched.reapProcess()
    world.only_reader().doRead()
    assert process.reasons == [2]


def test_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A child from before start() that cannot be watched: start() raises and changes nothing.
    """
    world = World(monkeypatch)
    world.spawn(11)
    world.spawn(12)
    errors = iter([None, OSError(errno.EMFILE, "")])

    def open_end(pid: int) -> int:
        world.open_error = next(errors)
        return world.open_end(pid)

    monkeypatch.setattr(_children, "_open_end", open_end)
    world.has_threads = False
    with pytest.raises(RuntimeError, match="can't start new thread"):
        world.watcher.start()
    assert len(world.opened) == 1
    assert world.is_clean()
    assert world.twisted.is_untouched()
    assert len(world.twisted.reapProcessHandlers) == 2


def test_start_and_stop_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A second start() does nothing; after stop() it watches the children that still live.
    """
    world = World(monkeypatch)
    process = world.spawn()
    world.watcher.start()
    world.watcher.start()
    first = world.only_reader()
    world.watcher.stop()
    world.watcher.stop()
    assert world.is_clean()
    assert world.twisted.is_untouched()
    world.watcher.start()
    assert world.only_reader() is not first
    world.ended = _children._Status.UNREAPED
    world.only_reader().doRead()
    assert process.reasons == [0]
    world.watcher.stop()


def test_thread_outlives_the_watch(world: World) -> None:
    """
    stop() while a thread waits: what it has to say is heard by nobody, event loop or none.
    """
    world.open_error = OSError(errno.ENOSYS, "")
    process = world.spawn()
    [thread] = world.threads
    world.watcher.stop()
    world.run_threads()
    assert process.reasons == []

    def closed(call: object, *args: object) -> None:
        raise RuntimeError("Event loop is closed")

    world.reactor.callFromThread = closed  # type: ignore[method-assign]
    thread()


@pytest.mark.parametrize("error", [KeyError, ValueError, OSError, RuntimeError])
def test_reactor_was_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """
    A reactor that knows the reader no more, or has no loop, does not keep stop() from closing.
    """

    def refuse(reader: object) -> None:
        raise error

    world.spawn()
    monkeypatch.setattr(world.reactor, "_removeInternalReader", refuse)
    world.watcher.stop()
    assert not any_open(world.opened)
    world.reactor.__init__()  # type: ignore[misc]


def test_wrapper_around_ours_stays(world: World) -> None:
    """
    Somebody wraps our wrapper: stop() leaves his in place, and ours passes on without watching.
    """
    ours = world.twisted.registerReapProcessHandler
    assert ours.__name__ == "registerReapProcessHandler"
    seen: list[int] = []

    def his(pid: int, process: Any) -> None:
        seen.append(pid)
        ours(pid, process)

    world.twisted.registerReapProcessHandler = his
    world.watcher.stop()
    assert world.twisted.registerReapProcessHandler is his
    process = world.spawn()
    assert seen == [11]
    assert world.twisted.reapProcessHandlers == {11: process}
    assert world.is_clean()
    world.twisted.functions = (his, world.twisted.functions[1])


def test_forget_after_fork(world: World) -> None:
    """
    The descriptors are closed, the reactor is not touched, its children are the parent's alone.
    """
    world.spawn(11)
    world.open_error = OSError(errno.EMFILE, "")
    world.spawn(12)
    readers = world.reactor.getReaders()
    world.watcher.after_fork_in_child()
    assert not any_open(world.opened)
    assert world.reactor.readers == readers
    assert world.twisted.reapProcessHandlers == {}
    assert world.twisted.is_untouched()
    world.reactor.__init__()  # type: ignore[misc]
    world.watcher.start()
    assert world.is_clean()


def test_forget_after_fork_before_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A watcher that was never started has nothing to forget.
    """
    world = World(monkeypatch)
    process = world.spawn()
    world.watcher.after_fork_in_child()
    assert world.twisted.reapProcessHandlers == {11: process}


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On Windows nothing is done, and nothing of POSIX imported.
    """
    monkeypatch.setattr(_children, "platform", SimpleNamespace(isWindows=lambda: True))
    monkeypatch.setattr(_children, "importlib", None)
    watcher = ChildWatcher(FakeReactor(), start_thread)
    watcher.start()
    watcher.stop()
    watcher.after_fork_in_child()


def test_import_imports_no_processes() -> None:
    """
    The module loads where Twisted's POSIX processes do not, and starts nothing.
    """
    program = (
        "import importlib, sys, threading\n"
        "import crochet._reactor.children as children\n"
        "sys.modules['twisted.internet.process'] = None\n"
        "importlib.reload(children)\n"
        "assert 'twisted.internet.reactor' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=BOUND, env=environment())


def test_exit_status_unknown_says_what_to_do() -> None:
    """
    It is a ProcessTerminated without code or signal, survives pickling, and names the causes.
    """
    error = pickle.loads(pickle.dumps(ExitStatusUnknown(42)))
    assert isinstance(error, ProcessTerminated)
    assert (error.pid, error.exitCode, error.signal, error.status) == (42, None, None, None)
    assert "Child process 42 has ended" in str(error)
    assert "signal.SIG_DFL" in str(error)
    assert "os.waitpid(-1" in str(error)


# ------------------------------------------------------- the functions that ask a real kernel


def spawn_raw(script: str) -> int:
    """
    Start a child that is nobody's but the test's; it runs until its standard input closes.
    """
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], os.environ)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")
def test_descriptor_of_an_ended_child() -> None:
    """
    A zombie's descriptor says that it can be reaped, as often as asked, and reaps nothing.
    """
    pid = spawn_raw("exit 6")
    fd = _children._open_end(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert _children._look(fd) is _children._Status.UNREAPED
    assert _children._look(fd) is _children._Status.UNREAPED
    assert os.waitpid(pid, 0) == (pid, 6 << 8)
    assert _children._look(fd) is _children._Status.LOST
    os.close(fd)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")
def test_descriptor_of_a_living_child() -> None:
    """
    It says nothing as long as the child lives.
    """
    pid = spawn_raw("exec sleep 120")
    fd = _children._open_end(pid)
    assert _children._look(fd) is None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")
def test_descriptor_of_others_is_refused() -> None:
    """
    A process that is no child of ours, or a pid that is nobody's, is a child that is gone; no
    descriptor is left open.
    """
    before = open_fds()
    with pytest.raises(ProcessLookupError, match="not a child of this process any more"):
        _children._open_end(os.getppid())
    pid = spawn_raw("exit 0")
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        _children._open_end(pid)
    assert open_fds() == before


def test_no_pidfd_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A system without it is told by an OSError, as one whose kernel lacks it is.
    """
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with pytest.raises(OSError, match="no pidfd_open on this system"):
        _children._open_end(os.getpid())


def test_waiting_leaves_the_status() -> None:
    """
    Waiting tells the end and leaves the exit status for Twisted; then there is none to wait for.
    """
    pid = spawn_raw("exit 6")
    assert _children._wait_for_end(pid) is _children._Status.UNREAPED
    assert os.waitpid(pid, 0) == (pid, 6 << 8)
    assert _children._wait_for_end(pid) is _children._Status.LOST


def test_waiting_without_waitid(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where waiting means reaping it hands the exit status over.
    """
    monkeypatch.delattr(os, "waitid")
    pid = spawn_raw("exit 6")
    assert _children._wait_for_end(pid) == 6 << 8
    assert _children._wait_for_end(pid) is _children._Status.LOST


# ------------------------------------------------------------------------- the fakes are true


@pytest.fixture(params=["fake", "twisted"])
def any_reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """
    The fake reactor, and a real one that does not run.
    """
    if request.param == "fake":
        yield FakeReactor()
        return
    from twisted.internet.selectreactor import SelectReactor

    reactor = SelectReactor()
    yield reactor
    reactor.waker.connectionLost(None)


def test_reactor_contract(any_reactor: Any) -> None:
    """
    removeAll() spares internal readers; removing one twice is a KeyError, an ordinary one is not.
    """
    internal, ordinary = object(), object()
    any_reactor._addInternalReader(internal)
    any_reactor.addReader(ordinary)
    assert {internal, ordinary} <= set(any_reactor.getReaders())
    assert any_reactor.removeAll() == [ordinary]
    any_reactor.removeReader(ordinary)
    any_reactor._removeInternalReader(internal)
    assert not {internal, ordinary} & set(any_reactor.getReaders())
    with pytest.raises(KeyError):
        any_reactor._removeInternalReader(internal)


@pytest.mark.parametrize("kind", ["fake", "twisted"])
def test_twisted_contract(kind: str) -> None:
    """
    A living child is listed when registered, not when unregistered, which is refused twice.
    """
    module = FakeTwisted() if kind == "fake" else _children._twisted_process()
    process = object()
    pid = spawn_raw("exec sleep 120")
    module.registerReapProcessHandler(pid, process)
    assert module.reapProcessHandlers[pid] is process
    module.unregisterReapProcessHandler(pid, process)
    assert pid not in module.reapProcessHandlers
    with pytest.raises(RuntimeError, match="not registered"):
        module.unregisterReapProcessHandler(pid, process)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# --------------------------------------------------------- real children, under each reactor


class Child(ProcessProtocol):
    """
    A child's protocol that hands what happens to the test's thread.
    """

    def __init__(self, meet: Callable[[Any], None] = lambda transport: None) -> None:
        self.meet = meet
        self.happened: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def connectionMade(self) -> None:
        self.meet(self.transport)

    def outReceived(self, data: bytes) -> None:
        self.happened.put(("out", data))

    def childConnectionLost(self, childFD: int) -> None:
        self.happened.put(("closed", childFD))

    def processExited(self, reason: Failure) -> None:
        self.happened.put(("exited", reason.value))

    def processEnded(self, reason: Failure) -> None:
        self.happened.put(("ended", reason.value))

    def wait_for(self, kind: str) -> Any:
        """
        Return the next thing of that kind. Blocks.
        """
        while True:
            found, value = self.happened.get(timeout=BOUND)
            if found == kind:
                return value


class Program:
    """
    What this file does when it is run: a reactor in a thread, a watcher, and scenes with children.

    Each scene returns facts for a test to judge.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.watcher = ChildWatcher(reactor, start_thread)
        self.process = importlib.import_module("twisted.internet.process")
        self.failures: list[str] = []
        globalLogPublisher.addObserver(self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        self.failures.extend(failure.getTraceback() for failure in failures_in(event))

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return blockingCallFromThread(self.reactor, function, *args)

    def spawn_here(self, args: list[str], *, child: Child | None = None, **options: Any) -> Child:
        child = Child() if child is None else child
        self.reactor.spawnProcess(child, args[0], args, env=os.environ, **options)
        return child

    def spawn(self, args: list[str], *, child: Child | None = None, **options: Any) -> Child:
        return self.call(functools.partial(self.spawn_here, args, child=child, **options))

    def kill(self, child: Child) -> None:
        self.call(child.transport.signalProcess, "KILL")

    def ours(self) -> list[str]:
        return [repr(r) for r in self.call(self.reactor.getReaders) if "crochet" in repr(r)]

    def run(self) -> dict[str, Any]:
        early = self.spawn_here(IDLE, childFDs={})
        functions = self.hooked()
        self.watcher.start()
        thread = threading.Thread(target=self.reactor.run, args=(False,))
        thread.start()
        self.kill(early)
        facts: dict[str, Any] = {"before_start": early.wait_for("ended").signal}
        for scene in (
            self.without_pipes,
            self.closes_its_pipes,
            self.grandchild_holds_the_pipes,
            self.terminal,
            self.beside_popen_and_a_handler,
            self.many,
            self.clean_reactor,
            self.by_thread,
            self.fork,
            self.status_is_lost,
        ):
            facts[scene.__name__] = scene()
        facts["failures"] = self.failures
        facts["at_rest"] = self.at_rest()
        facts["stopped"] = self.stopped(thread, functions)
        return facts

    def hooked(self) -> list[Any]:
        module = self.process
        return [module.registerReapProcessHandler, module.unregisterReapProcessHandler]

    def without_pipes(self) -> list[Any]:
        killed = self.spawn(IDLE, childFDs={})
        self.kill(killed)
        read, write = os.pipe()
        told = self.spawn(["/bin/sh", "-c", "read x; exit 7"], childFDs={0: read})
        os.close(read)
        os.close(write)
        return [killed.wait_for("ended").signal, told.wait_for("ended").exitCode]

    def closes_its_pipes(self) -> Any:
        child = self.spawn(["/bin/sh", "-c", "exec <&- >&- 2>&-; exec sleep 120"])
        for _ in range(3):
            child.wait_for("closed")
        self.kill(child)
        return child.wait_for("ended").signal

    def grandchild_holds_the_pipes(self) -> list[Any]:
        child = self.spawn(["/bin/sh", "-c", "sleep 120 & echo $!; read x; exit 3"])
        grandchild = int(child.wait_for("out"))
        self.call(child.transport.write, b"\n")
        exited = child.wait_for("exited")
        os.kill(grandchild, signal.SIGKILL)
        return [exited.exitCode, child.wait_for("ended").exitCode]

    def terminal(self) -> Any:
        child = self.spawn(["/bin/sh", "-c", "echo ready; exec sleep 120"], usePTY=True)
        child.wait_for("out")
        self.kill(child)
        return child.wait_for("ended").signal

    def beside_popen_and_a_handler(self) -> list[Any]:
        signals = threading.Semaphore(0)

        def handler(number: int, frame: object) -> None:
            signals.release()

        signal.signal(signal.SIGCHLD, handler)
        popen = subprocess.Popen(["/bin/sh", "-c", "read x; exit 5"], stdin=subprocess.PIPE)
        child = self.spawn(IDLE, childFDs={})
        popen.communicate(b"\n", timeout=BOUND)
        self.kill(child)
        facts = [popen.returncode, child.wait_for("ended").signal, signals.acquire(timeout=BOUND)]
        kept = signal.signal(signal.SIGCHLD, signal.SIG_DFL) is handler
        return [*facts, kept]

    def many(self) -> int:
        children = [self.spawn(IDLE, childFDs={}) for _ in range(30)]
        for child in children:
            os.kill(child.transport.pid, signal.SIGKILL)
        return sum(child.wait_for("ended").signal == signal.SIGKILL for child in children)

    def clean_reactor(self) -> list[Any]:
        before = self.ours()
        child = self.spawn(IDLE, childFDs={})
        pid = child.transport.pid
        during = [text.replace(str(pid), "PID") for text in self.ours()]
        removed = [repr(r) for r in self.call(self.reactor.removeAll)]
        self.kill(child)
        return [before, during, removed, child.wait_for("ended").signal]

    def by_thread(self) -> list[Any]:
        def no_descriptor(pid: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        original, _children._open_end = _children._open_end, no_descriptor
        child = self.spawn(IDLE, childFDs={})
        _children._open_end = original
        [thread] = [t for t in threading.enumerate() if t.name.startswith("crochet child")]
        readers = self.ours()
        self.kill(child)
        ended = child.wait_for("ended").signal
        thread.join(BOUND)
        return [readers, ended, thread.daemon, thread.is_alive()]

    def fork(self) -> list[Any]:
        child = self.spawn(IDLE, childFDs={})
        [watch] = self.watcher._watches.values()
        fd = watch.fd
        pid = os.fork()
        if pid == 0:
            self.watcher.after_fork_in_child()
            is_forgotten = not any_open([fd]) and not self.process.reapProcessHandlers
            os._exit(0 if is_forgotten and "crochet" not in repr(self.hooked()) else 1)
        status = os.waitpid(pid, 0)[1]
        self.kill(child)
        return [status, child.wait_for("ended").signal]

    def status_is_lost(self) -> dict[str, list[Any]]:
        def outwait(transport: Any) -> None:
            # Where SIGCHLD is ignored, waiting for a child ends with it and finds nothing.
            with contextlib.suppress(ChildProcessError):
                os.waitpid(transport.pid, 0)

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        living = self.spawn(IDLE, childFDs={})
        terminal = self.spawn(["/bin/sh", "-c", "echo ready; exec sleep 120"], usePTY=True)
        terminal.wait_for("out")
        piped = self.spawn(["/bin/sh", "-c", "sleep 120 & echo $!; exec sleep 120"])
        grandchild = int(piped.wait_for("out"))
        for child in (living, terminal, piped):
            self.kill(child)
        facts = {
            "living": [living.wait_for("exited"), living.wait_for("ended")],
            "terminal": [terminal.wait_for("exited"), terminal.wait_for("ended")],
            "piped": [piped.wait_for("exited")],
        }
        os.kill(grandchild, signal.SIGKILL)
        facts["piped"].append(piped.wait_for("ended"))
        gone = self.spawn(["/bin/sh", "-c", "exit 7"], child=Child(outwait), childFDs={})
        facts["gone"] = [gone.wait_for("exited"), gone.wait_for("ended")]
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stolen = self.spawn(["/bin/sh", "-c", "exit 7"], child=Child(outwait), childFDs={})
        facts["stolen"] = [stolen.wait_for("exited"), stolen.wait_for("ended")]
        # Twisted has logged, of the last two, that it could not reap what it came to register.
        logged = [text for text in self.failures if "ChildProcessError" in text]
        if len(logged) == 2:
            self.failures = [text for text in self.failures if text not in logged]
        return {name: [type(end).__name__ for end in ends] for name, ends in facts.items()}

    def at_rest(self) -> list[Any]:
        def look() -> list[Any]:
            calls = [repr(call) for call in self.reactor.getDelayedCalls()]
            return [calls, [repr(reader) for reader in self.reactor.removeAll()]]

        threads = [t.name for t in threading.enumerate() if "crochet" in t.name]
        return [*self.call(look), self.ours(), threads, len(self.watcher._watches)]

    def stopped(self, thread: threading.Thread, functions: list[Any]) -> list[Any]:
        before = open_fds()
        child = self.spawn(IDLE, childFDs={})
        pid = child.transport.pid
        self.reactor.callFromThread(self.reactor.stop)
        thread.join(BOUND)
        self.watcher.stop()
        after = open_fds()
        os.kill(pid, signal.SIGKILL)
        return [
            thread.is_alive(),
            after == before,
            self.hooked() == functions,
            os.waitpid(pid, 0) == (pid, signal.SIGKILL),
            child.happened.empty(),
        ]


def open_fds() -> int:
    return len(os.listdir("/dev/fd"))


def environment() -> dict[str, str]:
    """
    An environment in which a new Python finds the package that is tested here.
    """
    source = os.path.dirname(os.path.dirname(_children.__file__))
    return {**os.environ, "PYTHONPATH": source, "PYTHONFAULTHANDLER": "1"}


@functools.cache
def facts_of(reactor: str) -> dict[str, Any]:
    """
    Run this file as a program; its facts serve all the tests of that reactor.
    """
    done = subprocess.run(
        [sys.executable, __file__, reactor],
        capture_output=True,
        text=True,
        timeout=3 * BOUND,
        env=environment(),
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"status {done.returncode}\n{done.stdout}\n{done.stderr}")
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture(params=REACTORS)
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    """
    What happened to real children under that reactor.
    """
    return facts_of(request.param)


def test_child_from_before_start(facts: dict[str, Any]) -> None:
    """
    A child spawned before the watcher was started is watched.
    """
    assert facts["before_start"] == signal.SIGKILL


def test_child_without_pipes(facts: dict[str, Any]) -> None:
    """
    Signal and exit code of children that have no pipe to close.
    """
    assert facts["without_pipes"] == [signal.SIGKILL, 7]


def test_child_closes_its_pipes(facts: dict[str, Any]) -> None:
    """
    A child that closed its pipes long before it ended.
    """
    assert facts["closes_its_pipes"] == signal.SIGKILL


def test_grandchild_holds_the_pipes(facts: dict[str, Any]) -> None:
    """
    One callback, processExited, comes with the end; processEnded once the pipes have closed.
    """
    assert facts["grandchild_holds_the_pipes"] == [3, 3]


def test_child_on_a_terminal(facts: dict[str, Any]) -> None:
    """
    A child spawned with usePTY.
    """
    assert facts["terminal"] == signal.SIGKILL


def test_beside_popen_and_a_handler(facts: dict[str, Any]) -> None:
    """
    A Popen gets its own child's status; the application's SIGCHLD handler is called and kept.
    """
    assert facts["beside_popen_and_a_handler"] == [5, signal.SIGKILL, True, True]


def test_many_children(facts: dict[str, Any]) -> None:
    """
    Thirty that end at the same time.
    """
    assert facts["many"] == 30


def test_clean_reactor(facts: dict[str, Any]) -> None:
    """
    One reader while a child lives, none before; removeAll() does not find it nor end the watch.
    """
    before, during, removed, ended = facts["clean_reactor"]
    assert before == []
    assert during in ([], ["<crochet's watch over child process PID>"])
    assert (during == []) is not hasattr(os, "pidfd_open")
    assert removed == []
    assert ended == signal.SIGKILL


def test_thread_for_want_of_a_descriptor(facts: dict[str, Any]) -> None:
    """
    A daemon thread sees the end, puts nothing into the reactor, and ends with the child.
    """
    assert facts["by_thread"] == [[], signal.SIGKILL, True, False]


def test_fork_while_a_child_lives(facts: dict[str, Any]) -> None:
    """
    The forked process drops everything, and the parent still sees its child end.
    """
    assert facts["fork"] == [0, signal.SIGKILL]


@pytest.mark.parametrize("which", ["living", "terminal", "piped", "gone", "stolen"])
def test_lost_status_is_reported(facts: dict[str, Any], which: str) -> None:
    """
    SIGCHLD ignored, or the status taken by others: both callbacks come, and say "unknown".
    """
    assert facts["status_is_lost"][which] == ["ExitStatusUnknown", "ExitStatusUnknown"]


def test_nothing_at_rest(facts: dict[str, Any]) -> None:
    """
    No delayed call, no reader, no thread, once all children have ended; no error was logged.
    """
    assert facts["at_rest"] == [[], [], [], [], 0]
    assert facts["failures"] == []


def test_stop_while_a_child_lives(facts: dict[str, Any]) -> None:
    """
    The reactor ends, no descriptor is left, Twisted is as before, the child is left to reap.
    """
    assert facts["stopped"] == [False, True, True, True, True]


def main(name: str) -> None:
    """
    Install the reactor, play the scenes, print the facts. It ends within BOUND, or with stacks.
    """
    faulthandler.dump_traceback_later(2 * BOUND, exit=True)
    module = "asyncioreactor" if name == "asyncio" else f"{name}reactor"
    importlib.import_module(f"twisted.internet.{module}").install()
    from twisted.internet import reactor

    print(json.dumps(Program(reactor).run()))


if __name__ == "__main__":
    main(sys.argv[1])
