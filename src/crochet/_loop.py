"""
One event loop in a thread of its own, from ``setup()`` to the interpreter's exit.

What must always hold:

1. Of any number of ``setup()`` calls one acts; one that fails leaves everything as it was.
2. However the reactor ends, the bridge is closed and every call in flight answered.
3. Exit is never held up for longer than EXIT_PATIENCE by the reactor, nor by anything for ever.

The ways the reactor ends, and who closes the bridge:

- ``reactor.stop()``, by the program or by our exit hook: the trigger before shutdown. It comes
  before the reactor joins its thread pool, or a worker that waits for us would never be joined
  (twisted#10124). Operations are cancelled then and get a moment to clean up.
- ``reactor.crash()``, a reactor that cannot start, anything raised through ``run()``: the
  ``finally`` around it, in its thread.
- a fork, seen from the child: the hook after it.

Exit: the reactor's thread and its pool's workers are daemons, so Python first waits for the
program's own threads, which are served as ever, and then calls our hook.

Threads: any may call setup() and no_setup(). The lock is reentrant, for a garbage collection or a
signal handler in the middle of setup() may call setup(); it finds the work under way and returns.
A forked child gets a new lock: the old one may have been held by a thread that it does not have.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from _thread import get_ident
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from . import _errors
from ._bell import Bell, hang_up
from ._bridge import Bridge, Refusal
from ._calls import Decorators
from ._faults import report_all
from ._reactors import Reactor, Timer, refuse_to_run, use_daemon_threads
from ._stash import Stash

_log = Logger(namespace="crochet")

# Seconds that operations cancelled by the reactor's end have for their cleanup.
GRACE = 1.0
# Seconds that the interpreter's exit waits for the reactor thread, and for log handlers.
EXIT_PATIENCE = 5.0


class Logs(Protocol):
    """
    What takes Twisted's log events to the program's logging.
    """

    def start(self) -> None: ...
    def stop(self, timeout: float) -> bool: ...
    def finish(self, timeout: float) -> bool: ...
    def reset_after_fork(self) -> None: ...


class Children(Protocol):
    """
    What sees child processes end.
    """

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def forget_after_fork(self) -> None: ...


class Setup(Protocol):
    """
    The type of :func:`setup`.
    """

    def __call__(self, *, logging: bool = True) -> None:
        """
        Start the reactor.
        """


StartThread = Callable[[Callable[[], object], str], threading.Thread]


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """
    Start a daemon thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def at_fork(hook: Callable[[], object]) -> None:
    """
    Have *hook* called in every forked child, where there are such things.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=hook)


class EventLoop:
    """
    Composes the reactor, its thread and the bridge to it. All process-wide effects come in.

    Args:
        import_reactor: returns the process's reactor, see ``_reactors``.
        start_thread: starts a daemon thread of that target and name.
        at_exit: registers a hook for the interpreter's exit, like ``atexit.register``.
        at_fork: registers a hook for forked children, like ``os.register_at_fork``.
        logs: started by ``setup()`` unless that is told to leave logs alone.
        watch_children: makes what sees the reactor's child processes end.
    """

    def __init__(
        self,
        *,
        import_reactor: Callable[[], Reactor],
        start_thread: StartThread,
        at_exit: Callable[[Callable[[], object]], object],
        at_fork: Callable[[Callable[[], object]], object],
        logs: Logs,
        watch_children: Callable[[Reactor], Children],
    ) -> None:
        self._import_reactor = import_reactor
        self._start_thread = start_thread
        self._at_exit = at_exit
        self._at_fork = at_fork
        self._logs = logs
        self._watch_children = watch_children
        self._stash = Stash()
        self.bridge = Bridge(_errors.not_set_up, self._stash)
        self.calls = Decorators(self.bridge)
        self.retrieve_result = self._stash.take
        self._setup_lock = threading.RLock()
        self._hooks_ticket = [None]  # whoever takes it registers the hooks
        # All below are written under _setup_lock, or in a forked child's only thread.
        self._is_set_up = False
        self._is_starting = False
        self._is_ours = False
        self._has_logs = False
        self._reactor: Reactor | None = None
        self._children: Children | None = None
        self._thread: threading.Thread | None = None
        self._is_forked = False
        self._is_exiting = False
        # Whether the reactor's run is over. Written in its thread, and before that has started.
        self._has_ended = False

    def setup(self, *, logging: bool = True) -> None:
        """
        Start the reactor in a thread of its own, once.

        Call it from any thread, as often as you like: once the reactor has been started, or after
        :func:`no_setup`, it does nothing, at the cost of a look. Blocks while another thread is
        at it.

        Args:
            logging: hand Twisted's log events to the logger named ``twisted``, and have a
                thread of ours write them. False leaves logs alone.

        Raises:
            RuntimeError: the reactor runs already, has run before, or cannot be run here; or no
                thread can be started. Nothing was changed, and setup() may be called again.
            OSError: no file descriptor is left for the reactor. Likewise.
        """
        if self._is_set_up:
            return
        self._add_hooks()  # before there is a lock that a forked child would find held
        with self._setup_lock:
            if self._is_set_up or self._is_starting:
                return
            if self._is_forked:
                raise RuntimeError(
                    "setup() cannot start the reactor: this process was forked from one in which "
                    "it runs. Call setup() for the first time in the child, or start the child "
                    "with the spawn method"
                )
            self._is_starting = True
            try:
                self._start(logging)
            finally:
                self._is_starting = False

    def _start(self, with_logs: bool) -> None:
        reactor = self._import_reactor()
        refuse_to_run(reactor)
        use_daemon_threads(reactor)
        # Whoever takes the ticket decides: the new thread, that the reactor runs, or an
        # interrupted start, that it never will. A signal may come when neither side knows
        # whether the thread has been started.
        ticket = [None]
        self._has_ended = False
        undo = ExitStack()
        bell = None
        try:
            if with_logs:
                self._logs.start()
                undo.callback(self._logs.stop, 1.0)
            bell = hang_up(reactor, self.bridge.drain_in_reactor, self._on_bell_lost)
            if bell is not None:
                undo.callback(bell.take_down, reactor)
            children = self._watch_children(reactor)
            children.start()
            undo.callback(children.stop)
            trigger = reactor.addSystemEventTrigger("before", "shutdown", self._end_in_reactor)
            undo.callback(reactor.removeSystemEventTrigger, trigger)
            self._reactor = reactor
            self._children = children
            self._has_logs = with_logs
            self._thread = self._start_thread(
                lambda: Context().run(self._run_reactor, reactor, children, ticket),
                "crochet-reactor",
            )
            self._begin(reactor, bell)
        except BaseException:
            if _took(ticket):
                self._is_ours = False
                self.bridge.close(_errors.not_set_up)
                undo.close()
                raise
            # A signal's exception, and the thread is on its way: what is begun is finished.
            self._begin(reactor, bell)
            raise

    def _begin(self, reactor: Reactor, bell: Bell | None) -> None:
        self._is_ours = True
        self.bridge.open(reactor.callFromThread, bell.ring if bell else None)
        if self._has_ended:
            # It was over before we said that it had begun. Close what open() has opened.
            self.bridge.close(_errors.stopped)
        self._is_set_up = True

    def no_setup(self) -> None:
        """
        Leave the reactor to the program, which runs it itself; later :func:`setup` calls do
        nothing.

        Call it from any thread, before anything calls ``setup()``. Blocks never. Installs the
        default reactor unless another is installed.

        Raises:
            RuntimeError: ``setup()`` has started the reactor already.
        """
        self._add_hooks()
        with self._setup_lock:
            if self._is_ours:
                raise RuntimeError(
                    "no_setup() came too late: crochet.setup() has started the reactor already. "
                    "Call no_setup() at the top of the program, before the imports whose modules "
                    "call setup()"
                )
            if self._is_set_up:
                return
            reactor = self._import_reactor()
            reactor.addSystemEventTrigger("before", "shutdown", self._end_in_reactor)
            reactor.addSystemEventTrigger("after", "shutdown", self._forget_reactor_thread)
            self._reactor = reactor
            self.bridge.open(reactor.callFromThread)
            if reactor.running:
                # callWhenRunning() would call at once, here, whichever thread this is.
                reactor.callFromThread(self._join_reactor, reactor)
            else:
                reactor.callWhenRunning(self._join_reactor, reactor)
            self._is_set_up = True

    def _join_reactor(self, reactor: Reactor) -> None:
        """
        Make the acquaintance of a reactor that the program runs, in its thread.
        """
        self._note_reactor_thread()
        bell = hang_up(reactor, self.bridge.drain_in_reactor, self._on_bell_lost)
        if bell is not None:
            self.bridge.ring_with(bell.ring)

    def _note_reactor_thread(self) -> None:
        self.bridge.reactor_thread = get_ident()

    def _forget_reactor_thread(self) -> None:
        # What waits in it from now on is refused for the reactor's end, not for a deadlock. And
        # idents are used again for new threads.
        self.bridge.reactor_thread = None

    def _on_bell_lost(self) -> None:
        self.bridge.ring_with(None)

    def _add_hooks(self) -> None:
        if _took(self._hooks_ticket):
            self._at_exit(self._exit)
            self._at_fork(self._after_fork_in_child)

    def _run_reactor(self, reactor: Reactor, children: Children, ticket: list[None]) -> None:
        if not _took(ticket):
            return
        self._thread = threading.current_thread()  # should a signal keep setup() from learning it
        self._note_reactor_thread()
        try:
            reactor.run(installSignalHandlers=False)
        except BaseException:
            _log.failure("The reactor thread has ended with an error")
        finally:
            self._has_ended = True  # before closing; _begin() looks at it after opening
            self.bridge.close(self._refusal_at_end())
            self._forget_reactor_thread()
            children.stop()

    def _end_in_reactor(self) -> Deferred[None] | None:
        """
        Answer what is in flight, cancel what is running, and wait a moment for its cleanup.
        """
        unfinished = self.bridge.close(self._refusal_at_end())
        assert self._reactor is not None
        return all_ended(unfinished, self._reactor.callLater) if unfinished else None

    def _refusal_at_end(self) -> Refusal:
        return _errors.exiting if self._is_exiting else _errors.stopped

    def _exit(self) -> None:
        """
        Stop the reactor and write out what is left to be logged. Blocks for EXIT_PATIENCE, twice.
        """
        self._is_exiting = True
        thread = self._thread
        if thread is not None and not self._is_forked:
            assert self._reactor is not None
            self.bridge.refuse(_errors.exiting)
            if not self._has_ended:
                self._reactor.callFromThread(self._stop_in_reactor)
            thread.join(EXIT_PATIENCE)
            if thread.is_alive():
                _complain(thread)
        report_all(self.bridge.uncollected)
        if self._has_logs:
            self._logs.finish(EXIT_PATIENCE)

    def _stop_in_reactor(self) -> None:
        assert self._reactor is not None
        with suppress(ReactorNotRunning):  # the program stopped it a moment ago
            self._reactor.stop()

    def _after_fork_in_child(self) -> None:
        self._setup_lock = threading.RLock()
        if self.bridge.reactor_thread is None and not self._is_ours and not self._is_starting:
            return  # no_setup(), and a child that runs the reactor itself, like a daemon
        self._is_forked = True
        self._is_starting = False  # by a thread that is not here to go on with it
        self._is_set_up = False
        self.bridge.disown(_errors.forked)
        if self._children is not None:
            self._children.forget_after_fork()
        if self._has_logs:
            self._logs.reset_after_fork()


def _took(ticket: list[None]) -> bool:
    try:
        ticket.pop()
    except IndexError:
        return False
    return True


def all_ended(
    unfinished: list[Deferred[object]], call_later: Callable[..., Timer]
) -> Deferred[None]:
    """
    Cancel operations, in the reactor thread, and tell when all have ended or GRACE is over.
    """
    ended: Deferred[None] = Deferred()
    timer = call_later(GRACE, ended.callback, None)
    left = len(unfinished)

    def one_ended(value: object) -> object:
        nonlocal left
        left -= 1
        if left == 0 and timer.active():
            timer.cancel()
            ended.callback(None)
        return value

    for operation in unfinished:
        operation.addBoth(one_ended)
        try:
            operation.cancel()
        except Exception:
            _log.failure("Error while cancelling an operation, for the reactor stops")
    return ended


def _complain(thread: threading.Thread) -> None:
    """
    Tell, on standard error, what the exit has waited for in vain.
    """
    if sys.stderr is None:  # pythonw: there is nobody to tell
        return
    frame = sys._current_frames().get(thread.ident or 0)
    stack = "".join(traceback.format_stack(frame)) if frame else ""
    print(
        f"crochet: the reactor thread has not stopped within {EXIT_PATIENCE:g} s; exiting without "
        f"it. It is here:\n{stack}",
        file=sys.stderr,
        end="",
    )
