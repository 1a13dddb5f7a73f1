"""
Sees child processes end without SIGCHLD.

Twisted learns of a child's end from a SIGCHLD handler, which only the main thread may install. With
the reactor in another thread it looks at a child only when the child's pipes have closed: too early
if the child closes them itself, too late if a grandchild holds them, never if it has none.

What must always hold:

1. Twisted reaps its own children, nobody reaps another's: we only tell it when to look. Where
   `os.waitid` is missing (macOS before Python 3.13) waiting is reaping: we hand the status over.
2. Every registered child is watched, by a descriptor or by a thread. If neither can be had, the log
   says so, and it is tried again when another child ends.
3. Every end is reported; if the exit status is lost, the report says that.
4. No child alive, nothing of ours: no reader, no timer, no thread, no descriptor.

Threads: all of it runs in the reactor thread (or before the reactor starts, or after it has ended),
except `_wait_for_end`, which blocks in a thread of its own and shares nothing. No locks.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessTerminated
from twisted.logger import Logger
from twisted.python.runtime import platform

from .._threads.threads import StartThread
from .restart import is_beyond_select, waits_by_select

_log = Logger(namespace="crochet")

# What Twisted's `Process.status` is as long as it knows none.
_NO_STATUS = -1


class _Status(enum.Enum):
    """
    What is known of an ended child, short of its exit status.
    """

    UNREAPED = "Twisted can have it"
    LOST = "nobody can have it"


class ExitStatusUnknown(ProcessTerminated):
    """
    A child process has ended, and nobody can tell how.

    `exitCode`, `signal` and `status` are None; `pid` is the number it had.
    """

    exitCode = signal = status = None

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"Child process {self.pid} has ended; how is unknown, because its exit status was "
            "discarded before Twisted could read it. Either this process ignores SIGCHLD (set it "
            "to signal.SIG_DFL), or something in it waits for children that are not its own "
            "(os.wait(), os.waitpid(-1, ...))."
        )


def _twisted_process() -> Any:
    """
    Return Twisted's module of POSIX processes; None on Windows, where Twisted needs no help.
    """
    if platform.isWindows():
        return None
    return importlib.import_module("twisted.internet.process")


def _look(fd: int) -> _Status | None:
    """
    Tell how the child behind a descriptor ended; None as long as it cannot be reaped.

    Raises:
        OSError: the kernel takes no descriptor here (Linux before 5.4).
    """
    # The number is the kernel's; a Python built with an old C library has no name for it.
    pidfd = getattr(os, "P_PIDFD", 3)
    try:
        ended = os.waitid(pidfd, fd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _Status.LOST
    return None if ended is None else _Status.UNREAPED


def _open_end(pid: int) -> int:
    """
    Return a new descriptor that becomes readable when the child ends, or at once if it has ended:
    until it is reaped its pid is its own.

    Raises:
        ProcessLookupError: the child is gone, and its exit status with it.
        OSError: no such descriptor is to be had, on this system or now.
    """
    pidfd_open = getattr(os, "pidfd_open", None)
    if pidfd_open is None:
        raise OSError(errno.ENOSYS, "no pidfd_open on this system")
    fd: int = pidfd_open(pid)
    try:
        # Where SIGCHLD is ignored there are no zombies, and the pid may be another's by now. It is
        # taken for ours if the pids went all the way round to another child of ours: accepted.
        if _look(fd) is _Status.LOST:
            raise ProcessLookupError(errno.ESRCH, "not a child of this process any more")
    except OSError:
        os.close(fd)
        raise
    return fd


def _wait_for_end(pid: int) -> int | _Status:
    """
    Block until the child has ended; return its exit status if waiting has reaped it.
    """
    try:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return _Status.UNREAPED
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return _Status.LOST


def _is_registered(module: Any, pid: int, process: object) -> bool:
    return module.reapProcessHandlers.get(pid) is process


class _Watch:
    """
    One child that is watched, and the reactor's reader if a descriptor is what watches it.
    """

    def __init__(
        self,
        pid: int,
        process: Any,
        readable: Callable[[_Watch], None],
        lost: Callable[[_Watch], None],
    ) -> None:
        self.pid = pid
        self.process = process
        self.fd = -1  # reactor thread only; -1: a thread watches, or the report is on its way
        self._readable = readable
        self._lost = lost

    def fileno(self) -> int:
        return self.fd

    def doRead(self) -> None:
        self._readable(self)

    def connectionLost(self, reason: object) -> None:
        self._lost(self)

    def logPrefix(self) -> str:
        return f"child process {self.pid}"

    def __repr__(self) -> str:
        return f"<crochet's watch over child process {self.pid}>"

    def close(self) -> None:
        """
        Close the descriptor, if there is one.
        """
        fd, self.fd = self.fd, -1
        if fd != -1:
            # Code that turns a process into a daemon closes every descriptor, ours too.
            with contextlib.suppress(OSError):
                os.close(fd)


class ChildWatcher:
    """
    Tells Twisted when to look at its child processes, for a reactor without signal handlers.

    Args:
        reactor: the reactor that runs, or is to run, with `installSignalHandlers=False`.
        start_thread: starts a daemon thread, given its target and its name.
    """

    def __init__(self, reactor: Any, start_thread: StartThread) -> None:
        self._reactor = reactor
        self._start_thread = start_thread
        # All of these: reactor thread only.
        self._watches: dict[int, _Watch] = {}
        self._module: Any = None  # Twisted's, from the first start() on
        self._hooks: dict[str, tuple[object, object]] = {}  # name: Twisted's function, ours
        self._is_incomplete = False  # a child is registered that could not be watched

    def start(self) -> None:
        """
        Watch the children that Twisted has, and every one that it will have.

        Call it from the reactor's thread, or from any before the reactor runs; again after
        `stop()`. On Windows, or if started already, it does nothing. Blocks never.

        Raises:
            RuntimeError: a child lives that cannot be watched, because neither a descriptor nor
                a thread is to be had. Then nothing has changed.
        """
        module = _twisted_process()
        if module is None or self._hooks:
            return
        self._module = module
        try:
            self._watch_all()
            self._hook("registerReapProcessHandler", self._registered_in_reactor)
            self._hook("unregisterReapProcessHandler", self._unregistered_in_reactor)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """
        Watch no longer, close the descriptors; the children live on, and stay Twisted's.

        Call it from the reactor's thread, or from any once the reactor has ended, but before it
        is made anew. Blocks never, raises nothing. A thread that waits for a child ends with the
        child and tells nobody.
        """
        for watch in list(self._watches.values()):
            self._end_watch(watch)
        self._unhook()

    def after_fork_in_child(self) -> None:
        """
        Drop what belongs to the parent, in a forked child; the watcher is stopped afterwards.

        Call it from the forked child's only thread. Blocks never, raises nothing. The children
        are the parent's. Twisted's list of them is emptied too: `start()` would take them for
        lost, and Twisted would refuse a child of ours that gets the pid of one of them.
        """
        for watch in self._watches.values():
            # Not taken out of the reactor, whose epoll is the parent's too.
            watch.close()
        self._watches.clear()
        self._unhook()
        # Never started, it may not even have been imported.
        if self._module is not None:
            self._module.reapProcessHandlers.clear()

    def _hook(self, name: str, then: Callable[[int, object], None]) -> None:
        # Twisted calls its own functions by their names in the module, for pipes and for terminals.
        # (A dict of ours in place of `reapProcessHandlers` would go stale for those who hold the
        # old one, and a wrapped `spawnProcess` not tell of an end that Twisted saw by itself.)
        original = getattr(self._module, name)

        @functools.wraps(original)
        def hook(pid: int, process: object) -> None:
            original(pid, process)
            # After stop() a wrapper that somebody put around ours may still call it.
            if self._hooks.get(name) == (original, hook):
                then(pid, process)

        self._hooks[name] = (original, hook)
        setattr(self._module, name, hook)

    def _unhook(self) -> None:
        for name, (original, hook) in self._hooks.items():
            # A wrapper that somebody put around ours stays.
            if getattr(self._module, name) is hook:
                setattr(self._module, name, original)
        self._hooks.clear()
        self._is_incomplete = False

    def _registered_in_reactor(self, pid: int, process: object) -> None:
        # A child that had ended by then was reported, not registered.
        if _is_registered(self._module, pid, process):
            self._try_in_reactor(lambda: self._watch(pid, process))

    def _unregistered_in_reactor(self, pid: int, process: object) -> None:
        watch = self._watches.get(pid)
        if watch is not None:  # its pipes have closed, and Twisted has reaped it first
            self._end_watch(watch)
        if self._is_incomplete:
            # What that child took is free for another.
            self._try_in_reactor(self._watch_all)

    def _try_in_reactor(self, watch: Callable[[], None]) -> None:
        # The child runs already: spawnProcess() must not fail for our sake.
        try:
            watch()
        except RuntimeError:
            self._is_incomplete = True
            _log.failure(
                "Cannot watch a child process: neither a descriptor nor a thread is to be had. "
                "Its end stays unnoticed until its pipes close or another child process ends."
            )

    def _watch_all(self) -> None:
        self._is_incomplete = False
        for pid, process in list(self._module.reapProcessHandlers.items()):
            if pid not in self._watches:
                self._watch(pid, process)

    def _watch(self, pid: int, process: object) -> None:
        # Somebody took a child off Twisted's list by hand, and the pid is used again.
        if pid in self._watches:
            self._end_watch(self._watches[pid])
        watch = _Watch(pid, process, self._look_in_reactor, self._lost_in_reactor)
        self._watches[pid] = watch
        try:
            watch.fd = _open_end(pid)
            if waits_by_select(self._reactor) and is_beyond_select(watch.fd):
                raise OSError(errno.EMFILE, "too high a descriptor for select()")
            # An *internal* reader, as Twisted's SIGCHLD waker is: `reactor.removeAll()` in a
            # clean-reactor check neither finds it nor ends the watch. The reactor does not close
            # those when it stops, so `stop()` does. One of another make may know none.
            add = getattr(self._reactor, "_addInternalReader", self._reactor.addReader)
            add(watch)
        except ProcessLookupError:
            # Later, for the caller of spawnProcess() does not have his transport yet.
            self._reactor.callFromThread(self._ended_in_reactor, watch, _Status.LOST)
        except OSError:
            self._watch_by_thread(watch)

    def _watch_by_thread(self, watch: _Watch) -> None:
        self._end_watch(watch)

        def wait() -> None:
            status = _wait_for_end(watch.pid)
            # After stop() there may be no event loop any more, nor anybody to tell.
            with contextlib.suppress(RuntimeError):
                self._reactor.callFromThread(self._ended_in_reactor, watch, status)

        self._start_thread(wait, f"crochet child {watch.pid}")
        self._watches[watch.pid] = watch

    def _end_watch(self, watch: _Watch) -> None:
        self._watches.pop(watch.pid, None)
        if watch.fd != -1:
            remove = getattr(self._reactor, "_removeInternalReader", self._reactor.removeReader)
            # The reactor may be made anew and not know it, or its poller or loop may be closed.
            with contextlib.suppress(KeyError, ValueError, OSError, RuntimeError):
                remove(watch)
            watch.close()

    def _look_in_reactor(self, watch: _Watch) -> None:
        try:
            status = _look(watch.fd)
        except OSError:
            # Somebody closed our descriptor, and something else has its number now.
            status = None
        if status is None:
            # Or a debugger keeps it from being reaped, and its descriptor readable: a reader would
            # spin, a thread waits until the debugger lets go.
            self._lost_in_reactor(watch)
        else:
            self._ended_in_reactor(watch, status)

    def _lost_in_reactor(self, watch: _Watch) -> None:
        if self._watches.get(watch.pid) is not watch:
            return
        if self._reactor.running:
            self._try_in_reactor(lambda: self._watch_by_thread(watch))
        else:
            # A reactor that stops disconnects its readers.
            self._end_watch(watch)

    def _ended_in_reactor(self, watch: _Watch, status: int | _Status) -> None:
        # Twisted or stop() may have been quicker.
        if self._watches.get(watch.pid) is not watch:
            return
        # First of all, for the application, once told, must find nothing of ours.
        self._end_watch(watch)
        pid, process = watch.pid, watch.process
        if status is _Status.UNREAPED and _is_registered(self._module, pid, process):
            process.reapProcess()
        # If it is registered still, the application was quicker than Twisted, by waitpid(-1): which
        # then finds nothing, and leaves it registered for ever.
        if not _is_registered(self._module, pid, process):
            return
        self._module.unregisterReapProcessHandler(pid, process)
        if isinstance(status, _Status):

            def unknown(status: int) -> ExitStatusUnknown:
                return ExitStatusUnknown(pid)

            # Twisted asks for the reason twice: now, and when the pipes have closed.
            process._getReason = unknown
            status = _NO_STATUS
        process.processEnded(status)
