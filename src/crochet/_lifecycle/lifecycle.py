"""
The event loop of a process: set up, shut down, forked, and at the interpreter's exit.

What must always hold:

1. Of any number of ``setup()`` calls one acts; one that fails leaves everything as it was.
2. Exit is held up for *exit_patience* seconds at most, by all that is waited for together.
3. A fork leaves the parent undisturbed, and the child as if ``setup()`` had just been called.

Exit: the reactor's thread and its pool's workers are daemons, so Python first waits for the
program's own threads, which are served as ever, and then calls our hook.

Fork: the hook before it parks our threads (_lifecycle/fork.py). The hook after it, in the child,
only notes what happened and answers what is pending; most children run another program at once.
The first call, or setup(), then starts a life of the child's own. A child that no hook has told
(see _threads/fork_mark.py) does all of that when it first comes here.

Threads: any may call setup(), no_setup() and shutdown(). The lock is reentrant, for a garbage
collection or a signal handler in the middle of setup() may call setup(); it finds the work under
way and returns. setup() in the middle of shutdown() is refused, as is the other way round. A forked
child gets a new lock: the old one may have been held by a thread that it does not have.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .. import _errors
from .._core.bridge import Bridge, CallFromThread
from .._core.decorators import Decorators
from .._core.failure import report_all
from .._coroutines.futures import Deliveries
from .._diagnostics.explain import Diagnosis
from .._diagnostics.status import Status, snapshot
from .._diagnostics.thread_checks import ThreadCheck
from .._reactor.asyncio_loop import LoopFactory
from .._reactor.choice import Choice, ReactorChoice
from .._reactor.forked import Inheritance
from .._reactor.reactor import Reactor, is_pool_worker, work_in_pool
from .._threads.clock import monotonic
from .._threads.fork_mark import AtFork, ForkWatch, new_mark
from .._threads.primitives import is_a_handlers
from .._threads.threads import StartThread, expect_ghosts, in_subinterpreter
from .._threads.timeouts import (
    EXIT_PATIENCE,
    MAX_QUEUED,
    STALL_WARNING,
    Seconds,
    exit_seconds,
    left_until,
    most_queued,
    seconds,
    stall_seconds,
)
from .companions import Children, Logs, Watch, Watching
from .fork import Parking
from .program_reactor import Host
from .reactor_thread import GRACE, Life, took

# Seconds that a fork waits for a setup() in another thread.
_STARTING_TAKES = 1.0

# Seconds that setup() waits for the thread of a reactor that has ended.
_ENDING_TAKES = 5.0

# Seconds of exit's that are kept for log handlers, should all else be stuck.
_FOR_LOGS = 0.1


class EventLoop:
    """
    Composes the reactor, its lives and the bridge to it. All process-wide effects come in.

    Args:
        import_reactor: returns the process's reactor, see ``_reactors``.
        start_thread: starts a daemon thread of that target and name.
        at_exit: registers a hook for the interpreter's exit, like ``atexit.register``.
        at_fork: registers hooks around forks, like ``os.register_at_fork``.
        logs: started by ``setup()`` unless that is told to leave logs alone.
        watch_children: makes what sees the reactor's child processes end.
        check_threads: makes what refuses uses of Twisted in other threads, if that is switched on.
        watch: makes what sees deadlocks and stalls.
        bridge: carries the calls, and was made before it; see _api.py.
        birthplace: the process in which the package was imported.
    """

    def __init__(
        self,
        *,
        import_reactor: Callable[[], Reactor],
        start_thread: StartThread,
        at_exit: Callable[[Callable[[], object]], object],
        at_fork: AtFork,
        logs: Logs,
        watch_children: Callable[[Reactor], Children],
        check_threads: Callable[[Bridge], ThreadCheck],
        watch: Watch,
        bridge: Bridge,
        birthplace: int,
    ) -> None:
        self._import_reactor = import_reactor
        self._start_thread = start_thread
        self._at_exit = at_exit
        self._at_fork = at_fork
        self._logs = logs
        self._watch_children = watch_children
        self._watch_reactor = watch
        self._parking = Parking()
        self.bridge = bridge
        self.calls = Decorators(bridge)
        self._thread_check = check_threads(bridge)
        self._deliveries = Deliveries(start_thread)
        self._setup_lock = threading.RLock()
        self._hooks_ticket = [None]  # whoever takes it registers the hooks
        # All below are written under _setup_lock, in a forked child's only thread, or where said.
        self._is_set_up = False  # False again at the reactor's end, in its thread
        self._is_starting = False
        self._is_stopping = False
        self._has_logs = False
        self._wants_logs = False  # a forked child does, too
        self._is_exiting = False
        self._is_in_subinterpreter = False
        self._life: Life | None = None  # the present one of a reactor that is ours, or the last
        self._host: Host | None = None  # a reactor that the program runs; never beside a life
        self._stall_warning = float(STALL_WARNING)  # a forked child's, too
        self._exit_patience = float(EXIT_PATIENCE)  # likewise
        self._loop_factory: LoopFactory | None = None  # makes the event loops of ours, if told
        self._inheritance = Inheritance()
        self._birthplace = birthplace

    def setup(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> None:
        """
        Start the reactor in a thread of its own, unless it runs. See ``Entrance.setup``.
        """
        patience = self._exit_patience
        if exit_patience is not EXIT_PATIENCE:
            patience = exit_seconds(exit_patience)
        most = self.bridge.max_queued if max_queued is MAX_QUEUED else most_queued(max_queued)
        if stall_warning is not STALL_WARNING:
            self._warn_of_stalls(stall_seconds(stall_warning))
        self._exit_patience = patience
        self.bridge.max_queued = most
        self.bridge.notice_fork()
        if self._is_set_up and reactor is None and loop_factory is None:
            return
        choice = Choice(reactor, loop_factory)
        self._prepare()  # before there is a lock that a forked child would find held
        with self._setup_lock:
            if self._is_set_up:
                self._check(choice)
                return
            if self._is_starting:
                return
            if self._is_stopping:
                raise _errors.interrupted("setup", "shutdown")
            self._is_starting = True
            try:
                self._start(logging, choice)
            finally:
                self._is_starting = False

    def _warn_of_stalls(self, limit: float) -> None:
        # Before looking who watches: one that is made meanwhile is made with it.
        self._stall_warning = limit
        run = self._run
        watch = run.watch if run else None  # once: the program's reactor may end meanwhile
        if watch is not None:
            watch.stall_warning = limit

    def _make_watch(self, reactor: Reactor) -> Watching:
        return self._watch_reactor(reactor, self.bridge, self._start_thread, self._stall_warning)

    def _check(self, choice: Choice) -> None:
        reactor = self._reactor
        if reactor is not None:  # else it has ended just now
            choice.check(reactor, self._loop_factory)

    def _start(self, with_logs: bool, choice: Choice) -> None:
        if self._is_exiting:
            raise RuntimeError("setup() was called while the interpreter exits: it is too late")
        if self._life is not None:
            self._lay_to_rest(self._life, _ENDING_TAKES)
        reactor = choice.obtain(self._import_reactor, self._loop_factory)
        self._loop_factory = choice.loop_factory or self._loop_factory
        self._inheritance.make_runnable(reactor, self._loop_factory)
        children, watch = self._watch_children(reactor), self._make_watch(reactor)
        life = Life(reactor, self.bridge, children, watch, self._on_end)
        self._wants_logs = with_logs or self._has_logs
        starts_logs = with_logs and not self._has_logs
        if starts_logs:
            self._logs.start()
        try:
            self._thread_check.install(reactor, life.get_ident)
            self._life = life  # before it starts: a fork in the middle of that has to find it
            watch.stall_warning = self._stall_warning  # should setup() have been told meanwhile
            life.start(self._start_thread, lambda: self._begin(life, with_logs))
        except BaseException:
            if not life.has_begun:
                self._life = None
                self._thread_check.uninstall()
                if starts_logs:
                    self._logs.stop(1.0)
            raise

    def _begin(self, life: Life, with_logs: bool) -> None:
        self._has_logs = self._has_logs or with_logs
        self._is_set_up = True
        if life.has_ended:  # looked at after the former; its thread writes them the other way round
            self._is_set_up = False

    def _on_end(self) -> None:
        self._is_set_up = False

    def _lay_to_rest(self, life: Life, patience: float) -> None:
        """
        Wait for the thread of a reactor that has ended, and give back what it had.
        """
        if life.thread is not None:
            life.thread.join(patience)
            if life.thread.is_alive():
                raise _errors.not_down(patience, life.whereabouts())
        life.bury()
        self._thread_check.uninstall()
        self._life = None

    def no_setup(self) -> None:
        """
        Leave the reactor to the program, which runs it itself. See ``Entrance.no_setup``.
        """
        self.bridge.notice_fork()
        self._prepare()
        with self._setup_lock:
            if self._life is not None:
                raise RuntimeError(
                    "no_setup() came too late: crochet.setup() has started the reactor already. "
                    "Call no_setup() at the top of the program, before the imports whose modules "
                    "call setup()"
                )
            host = self._host
            is_inherited = self._inheritance.reactor is not None
            if self._is_set_up and not (is_inherited and host is not None):
                return
            reactor = self._import_reactor()
            if self._is_set_up:
                reactor.running = False  # it ran in the parent
                self._inheritance.make_runnable(reactor, self._loop_factory)
            if host is None or host.reactor is not reactor:
                host = Host(reactor, self.bridge, self._make_watch, lambda: self._stall_warning)
            host.hook()
            self._host = host
            self._thread_check.install(reactor)
            host.open()
            self._is_set_up = True

    def shutdown(self, timeout: Seconds = 10.0) -> None:
        """
        Stop the reactor, give back what ``setup()`` took. See ``Entrance.shutdown``.
        """
        limit = min(max(seconds(timeout), 0.0), threading.TIMEOUT_MAX)
        if self.bridge.is_reactor_thread():
            raise _errors.shutdown_in_reactor_thread()
        life = self._life
        if life is not None and is_pool_worker(life.reactor):
            raise _errors.shutdown_in_pool()
        deadline = monotonic() + limit
        lock: Any = self._setup_lock  # a fork in the middle replaces it
        is_inner = lock._is_owned()  # this has interrupted setup(), say, which will release it
        try:
            if not is_inner and not lock.acquire(timeout=limit):
                raise _errors.not_down(limit, life.whereabouts() if life else "(nowhere)\n")
            if self._host is not None:
                raise RuntimeError(
                    "shutdown() stops a reactor that setup() started, and after no_setup() the "
                    "program runs it: call reactor.stop() in the reactor thread"
                )
            if self._is_starting:
                raise _errors.interrupted("shutdown", "setup")
            self._is_stopping = True
            try:
                self._stop(limit, deadline)
            finally:
                self._is_stopping = False
        finally:
            # No call before release(): CPython looks for signals after calls, not between.
            if not is_inner:
                try:
                    lock.release()
                except RuntimeError as error:
                    if is_a_handlers(error):
                        raise
                    # Not acquired: it was not in time, or a signal's exception came first.

    def _stop(self, limit: float, deadline: float) -> None:
        life = self._life
        if life is not None:
            self._is_set_up = False  # even if the thread goes on: setup() is not to take it for one
            # Of the time, what comes after the cleanup gets a second, or half of a short one.
            grace = max(limit - 1.0, limit / 2)
            if not life.end(_errors.shut_down, grace, limit):
                raise _errors.not_down(limit, life.whereabouts())
            self._lay_to_rest(life, 0.0)
        self._deliveries.stop(max(deadline - monotonic(), 0.1))
        if self._has_logs:
            if not self._logs.stop(max(deadline - monotonic(), 0.1)):
                raise _errors.TimeoutError(
                    f"not all that was logged has been written in {limit:g} s: the handlers of "
                    "the logger 'twisted' block. The reactor has stopped"
                )
            self._has_logs = False

    @contextmanager
    def running(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        timeout: Seconds = 10.0,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> Generator[None, None, None]:
        """
        Have the reactor run for the length of a ``with`` block. See ``Entrance.running``.
        """
        before, has_entered = self._life, False
        try:
            self.setup(
                logging=logging,
                stall_warning=stall_warning,
                exit_patience=exit_patience,
                max_queued=max_queued,
                reactor=reactor,
                loop_factory=loop_factory,
            )
            has_entered = True
            yield
        finally:
            # A signal's exception may leave setup() when it is done.
            if has_entered or self._life is not before:
                self.shutdown(timeout)

    def status(self) -> Status:
        """
        Tell what the bridge to the reactor thread does now. See ``Entrance.status``.
        """
        self.bridge.notice_fork()
        return snapshot(self.bridge, self._reactor)

    @property
    def _run(self) -> Life | Host | None:
        """
        Return the life that is lived, or was last, or what the program runs instead.
        """
        return self._life or self._host

    @property
    def _reactor(self) -> Reactor | None:
        """
        Return the reactor that runs, or ran last; None before there was one.
        """
        run = self._run
        return run.reactor if run else None

    def _prepare(self) -> None:
        # Each time, and not in __init__(): of several that are made at once one is kept, see
        # _api.py. That one comes here before it opens the bridge.
        self.bridge.teller = self._deliveries
        self.bridge.diagnosis = Diagnosis(self.bridge)
        if took(self._hooks_ticket):
            self._is_in_subinterpreter = in_subinterpreter()
            mark = new_mark()
            give_up = partial(self._after_fork_in_child, is_told=False)
            forks = ForkWatch(mark, give_up, _errors.interrupted_after_fork)
            self.bridge.mark, self.bridge.on_fork = mark, forks.notice
            self._logs.notice_fork = self.bridge.notice_fork
            self._at_exit(self._exit)
            self._at_fork(
                before=self._before_fork,
                after_in_parent=self._parking.after,
                after_in_child=self._after_fork_in_child,
            )
            if os.getpid() != self._birthplace:
                # Forked before there were hooks, for importing us adds none.
                self._inheritance.find()

    def _exit(self) -> None:
        """
        Stop the reactor and write what is left to be logged. Blocks up to *exit_patience* seconds.

        In a subinterpreter end every thread and give back the descriptors, too: CPython aborts the
        process when one ends that has threads, and the process goes on without it.
        """
        self.bridge.notice_fork()
        self._is_exiting = True
        patience = self._exit_patience
        for_logs = min(_FOR_LOGS, patience / 10)
        end = monotonic() + patience
        life = self._life
        if life is not None:
            grace = min(GRACE, patience / 2)
            if not life.end(_errors.exiting, grace, left_until(end - for_logs)):
                _tell_what_is_cut_off(life, patience)
            elif self._is_in_subinterpreter:
                life.bury()
        self._deliveries.stop(left_until(end - for_logs))
        report_all(self.bridge.uncollected)
        if self._has_logs:
            logs = self._logs
            (logs.stop if self._is_in_subinterpreter else logs.finish)(left_until(end))

    def _before_fork(self) -> None:
        self.bridge.notice_fork()
        # Another thread that sets up may be importing Twisted's reactor, whose lock the child would
        # then wait for, for ever. Looked at over and over: a lock taken here might be left locked.
        lock: Any = self._setup_lock
        end = monotonic() + _STARTING_TAKES
        while self._is_starting and not lock._is_owned() and monotonic() < end:
            time.sleep(0.001)
        threads: list[CallFromThread] = []
        call_writer = self._logs.get_caller() if self._has_logs else None
        if call_writer is not None:
            threads.append(call_writer)
        # Before the reactor thread, for what it logs to may wait for that.
        run = self._run
        watch = run.watch if run else None
        call_watch = watch.get_caller() if watch else None
        if call_watch is not None:
            threads.append(call_watch)
        reactor = self._reactor
        ident = self.bridge.reactor_thread
        if reactor is not None and ident is not None and ident != threading.get_ident():
            threads.append(self.bridge.call)  # not the reactor's, which may have ended meanwhile
        self._parking.before(*threads)

    def _after_fork_in_child(self, is_told: bool = True) -> None:
        expect_ghosts(not is_told)  # or else Python has forgotten the parent's threads
        self._parking.clear()
        self._deliveries.reset_after_fork()
        self._setup_lock = threading.RLock()
        if self._has_logs or self._is_starting:
            self._logs.reset_after_fork()
            self._has_logs = False
        was_starting = self._is_starting
        self._is_starting = self._is_stopping = False
        life, host = self._life, self._host
        if life is not None:
            self._is_set_up = False
            self.bridge.after_fork_in_child(_errors.forked, self._set_up_in_child)
            life.disown()
        elif self.bridge.reactor_thread is not None:
            # The program's reactor ran. Whether it will here is the program's business.
            self.bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
            if host is not None:  # there is none while a test's clock takes the reactor's place
                host.disown()
                self._inheritance.reactor = host.reactor
        elif host is None:
            self._inheritance.find()
            if was_starting:
                self._inheritance.release()
        self.bridge.mark[0] = 1

    def _set_up_in_child(self, name: str) -> Exception | None:
        """
        Start a life of this process's own, for the first call made in it.
        """
        try:
            self.setup(logging=self._wants_logs)
        except Exception as error:
            return error
        return None


def _tell_what_is_cut_off(life: Life, patience: float) -> None:
    """
    Say on stderr what exit does not wait for any longer.
    """
    if sys.stderr is None:  # pythonw has none
        return
    work = work_in_pool(life.reactor)
    if work:
        sys.stderr.write(
            f"crochet: cut off at exit, in the reactor's thread pool, for it was not done within "
            f"{patience:g} s: {', '.join(work)}. crochet.setup(exit_patience=None) waits for it.\n"
        )
    if life.is_in_program() or not (work or patience == 0):
        sys.stderr.write(
            f"crochet: the reactor thread has not stopped within {patience:g} s; exiting without "
            f"it. It is here:\n{life.whereabouts()}"
        )
