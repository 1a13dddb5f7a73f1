"""
The reactor of a process: set up, shut down, forked, and at the interpreter's exit.

What must always hold:

1. Of any number of ``setup()`` calls one acts; one that fails leaves everything as it was.
2. Exit is held up for *exit_patience* seconds at most, by all that is waited for together.
3. A fork leaves the parent undisturbed, and the child as if ``setup()`` had just been called.

Threads: any may call setup(), no_setup() and shutdown(). The lock is reentrant, for a garbage
collection or a signal handler in the middle of setup() may call setup(); it finds the work under
way and returns. setup() in the middle of shutdown() is refused, as is the other way round.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, cast

from .. import _errors
from .._core.bridge import Bridge, CallFromThread
from .._core.decorators import Decorators
from .._core.failure import report_all
from .._core.stash import Process, Stash
from .._coroutines.futures import Deliveries
from .._diagnostics.explain import Diagnosis
from .._diagnostics.status import Status, snapshot
from .._diagnostics.thread_checks import ThreadCheck
from .._diagnostics.watchdog import Watchdog
from .._logs.observer import LogBridge
from .._reactor.asyncio_loop import LoopFactory
from .._reactor.children import ChildWatcher
from .._reactor.choice import Choice, ReactorChoice
from .._reactor.forked import InheritedReactor
from .._reactor.pool import is_pool_worker, work_in_pool
from .._reactor.reactor import Reactor
from .._threads.clock import monotonic
from .._threads.finalizer import FinalizerThread
from .._threads.fork_mark import ForkWatch, new_mark
from .._threads.primitives import discard, is_a_handlers
from .._threads.threads import StartThread, in_subinterpreter, note_parents_threads
from .._threads.timeouts import (
    DRAIN,
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
from .fork import AtFork, ForkPause
from .program_reactor import ProgramReactor
from .reactor_thread import GRACE, ReactorThread

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Seconds that a fork waits for a setup() or no_setup() in another thread.
_STARTING_TAKES = 1.0

# Seconds that setup() waits for the thread of a reactor that has ended.
_ENDING_TAKES = 5.0

# Seconds of exit's that are kept for log handlers, should all else be stuck.
_FOR_LOGS = 0.1


class SetupOptions(TypedDict, total=False):
    """
    What ``setup()`` and ``running()`` may be told; see :func:`crochet.setup`.
    """

    logging: bool
    stall_warning: Seconds
    exit_patience: Seconds
    max_queued: float | None
    reactor: ReactorChoice | None
    loop_factory: LoopFactory | None
    stash: Stash | str | None
    drain: Seconds


class EventLoop:
    """
    Composes the reactor, its thread and the bridge to it. All process-wide effects come in.

    Args:
        import_reactor: returns the process's reactor, see _reactor/reactor.py.
        start_thread: starts a daemon thread of that target and name.
        at_exit: registers a hook for the interpreter's exit, like ``atexit.register``.
        at_fork: registers hooks around forks, like ``os.register_at_fork``.
        logs: started by ``setup()`` unless that is told to leave logs alone.
        bridge: carries the calls.
        birthplace: the process in which the package was imported.
        watch_children: makes what sees the reactor's child processes end.
        check_threads: makes what refuses uses of Twisted in other threads, if that is switched on.
        watchdog: makes what sees deadlocks and stalls.
        finalizers: makes what does what is to be done for objects that are dropped.
    """

    def __init__(
        self,
        *,
        import_reactor: Callable[[], Reactor],
        start_thread: StartThread,
        at_exit: Callable[[Callable[[], object]], object],
        at_fork: AtFork,
        logs: LogBridge,
        bridge: Bridge,
        birthplace: int,
        watch_children: Callable[[Reactor, StartThread], ChildWatcher] = ChildWatcher,
        check_threads: Callable[[Bridge], ThreadCheck] = ThreadCheck,
        watchdog: Callable[[Reactor, Bridge, StartThread, float], Watchdog] = Watchdog,
        finalizers: Callable[[StartThread], FinalizerThread] = FinalizerThread,
    ) -> None:
        self._import_reactor = import_reactor
        self._start_thread = start_thread
        self._at_exit = at_exit
        self._at_fork = at_fork
        self._logs = logs
        self._watch_children = watch_children
        self._new_watchdog = watchdog
        self._fork_pause = ForkPause()
        self.bridge = bridge
        self.calls = Decorators(bridge)
        self._thread_check = check_threads(bridge)
        self._deliveries = bridge.teller = Deliveries(start_thread)
        self._finalizers = finalizers(start_thread)
        bridge.when_dropped = self._finalizers.put
        bridge.diagnosis = Diagnosis(bridge)
        self._setup_lock = threading.RLock()
        self._hooks_ticket = [None]  # the thread that takes it registers the hooks
        # All below are written under _setup_lock, in a forked child's only thread, or where said.
        self._is_set_up = False  # False again at the reactor's end, in its thread
        self._is_starting = False
        self._is_importing = False  # for no_setup()
        self._is_stopping = False
        self._has_logs = False
        self._wants_logs = False  # a forked child does, too
        self._is_exiting = False
        self._is_in_subinterpreter = False
        # Of a reactor of ours, the present thread or the last. Or else a reactor that the program
        # runs.
        self._reactor_thread: ReactorThread | None = None
        self._program_reactor: ProgramReactor | None = None
        self._stall_warning = float(STALL_WARNING)  # a forked child's, too
        self._exit_patience = float(EXIT_PATIENCE)  # a forked child's, too
        self._loop_factory: LoopFactory | None = None  # makes the event loops of ours, if told
        self._inherited = InheritedReactor()
        self._birthplace = birthplace
        self._drain = float(DRAIN)
        self._has_own_stash = False  # that setup() was given
        bridge.stash.bind(self._process())

    def _process(self) -> Process:
        return Process(self.bridge, self._start_thread, lambda: self._reactor)

    def setup(self, **options: Unpack[SetupOptions]) -> None:
        """
        Start the reactor in a thread of its own, unless it runs. See :func:`crochet.setup`.
        """
        stall_warning = options.get("stall_warning", STALL_WARNING)
        exit_patience = options.get("exit_patience", EXIT_PATIENCE)
        max_queued = options.get("max_queued", MAX_QUEUED)
        patience = self._exit_patience
        if exit_patience is not EXIT_PATIENCE:
            patience = exit_seconds(exit_patience)
        most = self.bridge.max_queued if max_queued is MAX_QUEUED else most_queued(max_queued)
        if stall_warning is not STALL_WARNING:
            self._warn_of_stalls(stall_seconds(stall_warning))
        self._exit_patience = patience
        self.bridge.max_queued = most
        drain = options.get("drain", DRAIN)
        if drain is not DRAIN:
            self._drain = exit_seconds(drain, "drain")
        self.bridge.notice_fork()
        stash = options.get("stash")
        if stash is not None:
            self._use_stash(cast("Stash", stash))  # a name has been looked up by crochet.setup()
        reactor, loop_factory = options.get("reactor"), options.get("loop_factory")
        if self._is_running() and reactor is None and loop_factory is None:
            return
        ending = self._reactor_thread
        if ending is not None and ending.is_ending and ending.waits_for_caller():
            return  # or the two would wait for each other
        choice = Choice(reactor, loop_factory)
        self._prepare()  # before there is a lock that a forked child would find held
        with self._setup_lock:
            if self._is_running():
                running = self._reactor
                if running is not None:  # else it has ended just now
                    choice.check(running, self._loop_factory)
                return
            if self._is_starting:
                return
            if self._is_stopping:
                raise _errors.interrupted("setup", "shutdown")
            self._is_starting = True
            try:
                self._start(options.get("logging", True), choice)
            finally:
                self._is_starting = False

    def _is_running(self) -> bool:
        """
        Tell whether setup() or no_setup() has acted, and the reactor is not about to end.
        """
        reactor_thread = self._reactor_thread
        return self._is_set_up and (reactor_thread is None or not reactor_thread.is_ending)

    def _use_stash(self, stash: Stash) -> None:
        with self._setup_lock:
            before = self.bridge.stash
            if self._has_own_stash:
                if stash is not before and stash != before:
                    raise _errors.another_stash(before, stash)
                return
            stash.bind(self._process())
            self.bridge.stash = stash
            self._has_own_stash = True

    def _warn_of_stalls(self, limit: float) -> None:
        # Before looking for the watchdog: one that is made meanwhile is made with it.
        self._stall_warning = limit
        run = self._run
        watchdog = run.watchdog if run else None  # once: the program's reactor may end meanwhile
        if watchdog is not None:
            watchdog.stall_warning = limit

    def _make_watchdog(self, reactor: Reactor) -> Watchdog:
        return self._new_watchdog(reactor, self.bridge, self._start_thread, self._stall_warning)

    def _start(self, with_logs: bool, choice: Choice) -> None:
        if self._is_exiting:
            raise RuntimeError("setup() was called while the interpreter exits: it is too late")
        ending = self._reactor_thread
        if ending is not None:
            if not ending.has_ended:
                # The program has stopped it; or else a signal may have interrupted shutdown()
                # before it had told it to end.
                refusal = _errors.stopped if ending.is_ending else _errors.shut_down
                ending.end(refusal, GRACE, 0.0)
            self._close(ending, _ENDING_TAKES)
        reactor = choice.obtain(self._import_reactor, self._loop_factory)
        self._loop_factory = choice.loop_factory or self._loop_factory
        self._inherited.make_runnable(reactor, self._loop_factory)
        children = self._watch_children(reactor, self._start_thread)
        watchdog = self._make_watchdog(reactor)
        reactor_thread = ReactorThread(reactor, self.bridge, children, watchdog, self._on_end)
        self._wants_logs = with_logs or self._has_logs
        starts_logs = with_logs and not self._has_logs
        if starts_logs:
            self._logs.start()
        try:
            self._finalizers.begin()
            self._thread_check.install(reactor, reactor_thread.get_ident)
            # Before it starts: a fork in the middle of that has to find it.
            self._reactor_thread = reactor_thread
            watchdog.stall_warning = self._stall_warning  # another setup() may have changed it
            reactor_thread.start(self._start_thread, lambda: self._begin(reactor_thread, with_logs))
        except BaseException:
            if not reactor_thread.has_begun:
                self._reactor_thread = None
                self._thread_check.uninstall()
                self._finalizers.stop(1.0)
                if starts_logs:
                    self._logs.stop(1.0)
            raise

    def _begin(self, reactor_thread: ReactorThread, with_logs: bool) -> None:
        self._has_logs = self._has_logs or with_logs
        self._is_set_up = True
        # Looked at after that. The reactor's thread writes them the other way round.
        if reactor_thread.has_ended:
            self._is_set_up = False

    def _on_end(self) -> None:
        self._is_set_up = False
        self.bridge.stash.leave()

    def _close(self, reactor_thread: ReactorThread, patience: float) -> None:
        """
        Wait for the thread of a reactor that has ended, and give back what it had.
        """
        if not reactor_thread.join(patience):
            raise _errors.not_down(patience, reactor_thread.whereabouts())
        reactor_thread.close()
        self._thread_check.uninstall()
        self._reactor_thread = None

    def no_setup(self) -> None:
        """
        Leave the reactor to the program, which runs it itself. See :func:`crochet.no_setup`.
        """
        self.bridge.notice_fork()
        self._prepare()
        with self._setup_lock:
            if self._reactor_thread is not None:
                raise RuntimeError(
                    "no_setup() came too late: crochet.setup() has started the reactor already. "
                    "Call no_setup() at the top of the program, before the imports whose modules "
                    "call setup()"
                )
            program_reactor = self._program_reactor
            is_inherited = self._inherited.reactor is not None
            if self._is_set_up and not (is_inherited and program_reactor is not None):
                return
            self._is_importing = True
            try:
                reactor = self._import_reactor()
            finally:
                self._is_importing = False
            if self._is_set_up:
                reactor.running = False  # it ran in the parent
                self._inherited.make_runnable(reactor, self._loop_factory)
            if program_reactor is None or program_reactor.reactor is not reactor:
                program_reactor = ProgramReactor(
                    reactor,
                    self.bridge,
                    self._make_watchdog,
                    lambda: self._stall_warning,
                    self._finalizers,
                )
            program_reactor.hook()
            self._program_reactor = program_reactor
            self._thread_check.install(reactor)
            program_reactor.open()
            self._is_set_up = True

    def shutdown(self, timeout: Seconds = 10.0) -> None:
        """
        Stop the reactor, give back what ``setup()`` took. See :func:`crochet.shutdown`.
        """
        limit = min(max(seconds(timeout), 0.0), threading.TIMEOUT_MAX)
        if self.bridge.is_reactor_thread():
            raise _errors.shutdown_in_reactor_thread()
        reactor_thread = self._reactor_thread
        if reactor_thread is not None and is_pool_worker(reactor_thread.reactor):
            raise _errors.shutdown_in_pool()
        deadline = monotonic() + limit
        lock: Any = self._setup_lock  # a fork in the middle replaces it
        is_inner = lock._is_owned()  # this has interrupted setup(), say, which will release it
        try:
            if not is_inner and not lock.acquire(timeout=limit):
                where = reactor_thread.whereabouts() if reactor_thread else "(nowhere)\n"
                raise _errors.not_down(limit, where)
            if self._program_reactor is not None:
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
        reactor_thread = self._reactor_thread
        if reactor_thread is not None:
            self._is_set_up = False  # even if the thread goes on: a setup() is to wait for its end
            # Of the time, what comes after the cleanup gets a second, or half of a short one.
            grace = max(limit - 1.0, limit / 2)
            if not reactor_thread.end(_errors.shut_down, grace, limit):
                raise _errors.not_down(limit, reactor_thread.whereabouts())
            self._close(reactor_thread, 0.0)
        self._deliveries.stop(max(deadline - monotonic(), 0.1))
        self._finalizers.stop(max(deadline - monotonic(), 0.1))
        self.bridge.stash.stop(max(deadline - monotonic(), 0.1))
        if self._has_logs:
            if not self._logs.stop(max(deadline - monotonic(), 0.1)):
                raise _errors.TimeoutError(
                    f"not all that was logged has been written in {limit:g} s: the handlers of "
                    "the logger 'twisted' block. The reactor has stopped"
                )
            self._has_logs = False

    @contextmanager
    def running(self, setup: Callable[[], object], timeout: Seconds) -> Generator[None, None, None]:
        """
        Have the reactor run for the length of a ``with`` block. See :func:`crochet.running`.

        Args:
            setup: calls :meth:`setup`.
            timeout: as for :meth:`shutdown`.
        """
        before, has_entered = self._reactor_thread, False
        try:
            setup()
            has_entered = True
            yield
        finally:
            # A signal's exception may leave setup() when it is done.
            if has_entered or self._reactor_thread is not before:
                self.shutdown(timeout)

    def status(self) -> Status:
        """
        Tell what the bridge to the reactor thread does now. See :func:`crochet.status`.
        """
        self.bridge.notice_fork()
        return snapshot(self.bridge, self._reactor)

    @property
    def _run(self) -> ReactorThread | ProgramReactor | None:
        """
        Return the reactor's thread, the present one or the last, or what the program runs instead.
        """
        return self._reactor_thread or self._program_reactor

    @property
    def _reactor(self) -> Reactor | None:
        """
        Return the reactor that runs, or ran last; None before there was one.
        """
        run = self._run
        return run.reactor if run else None

    def running_reactor(self) -> Reactor | None:
        """
        Return the reactor, if it runs. From any thread; blocks never.
        """
        run = self._run
        if isinstance(run, ReactorThread):
            return None if run.has_ended else run.reactor
        return run.reactor if run and run.reactor.running else None

    def _prepare(self) -> None:
        if discard(self._hooks_ticket, None):
            self._is_in_subinterpreter = in_subinterpreter()
            mark = new_mark()
            give_up = partial(self._after_fork_in_child, is_told=False)
            forks = ForkWatch(mark, give_up, _errors.interrupted_after_fork)
            self.bridge.mark, self.bridge.on_fork = mark, forks.notice
            self._logs.notice_fork = self.bridge.notice_fork
            self._at_exit(self._exit)
            self._at_fork(
                before=self._before_fork,
                after_in_parent=self._fork_pause.after,
                after_in_child=self._after_fork_in_child,
            )
            if os.getpid() != self._birthplace:
                # Forked before there were hooks, for importing us adds none.
                self._inherited.find()

    def _exit(self) -> None:
        """
        Stop the reactor and write what is left to be logged. Blocks up to *exit_patience* seconds.

        In a subinterpreter end every thread and give back the descriptors, too: CPython aborts the
        process when one ends that has threads, and the process goes on without it.
        """
        self.bridge.notice_fork()
        self.bridge.keep_inherited()
        # The reactor's thread and its pool's are daemons, so Python has first waited for the
        # program's own threads, which were served as ever.
        self._is_exiting = True
        if self._reactor_thread is not None and self._drain:
            self.bridge.stash.drain(self._drain)
        patience = self._exit_patience
        for_logs = min(_FOR_LOGS, patience / 10)
        end = monotonic() + patience
        reactor_thread = self._reactor_thread
        if reactor_thread is not None:
            grace = min(GRACE, patience / 2)
            if not reactor_thread.end(_errors.exiting, grace, left_until(end - for_logs)):
                _tell_what_is_cut_off(reactor_thread, patience)
            elif self._is_in_subinterpreter:
                reactor_thread.close()
        self._deliveries.stop(left_until(end - for_logs))
        self.bridge.stash.stop(left_until(end - for_logs))
        self._finalizers.stop(left_until(end - for_logs))
        report_all(self.bridge.uncollected)
        if self._has_logs:
            logs = self._logs
            (logs.stop if self._is_in_subinterpreter else logs.finish)(left_until(end))

    def _before_fork(self) -> None:
        self.bridge.notice_fork()
        # Another thread that sets up may be importing Twisted's reactor, and the child would wait
        # for that import's lock for ever. Polled, for a lock taken here might be left locked.
        lock: Any = self._setup_lock
        end = monotonic() + _STARTING_TAKES
        while self._is_starting or self._is_importing:
            if lock._is_owned() or monotonic() >= end:
                break
            time.sleep(0.001)
        run = self._run
        watchdog = run.watchdog if run else None
        # The reactor thread last: a log handler may wait for it, and not the other way round.
        callers: list[CallFromThread | None] = [
            self._finalizers.caller(),
            self._logs.get_caller() if self._has_logs else None,
            watchdog.get_caller() if watchdog else None,
            self.bridge.stash.get_caller(),
        ]
        ident = self.bridge.reactor_thread
        if run is not None and ident is not None and ident != threading.get_ident():
            callers.append(self.bridge.call)  # not the reactor's, which may have ended meanwhile
        self._fork_pause.before(*[caller for caller in callers if caller is not None])

    def _after_fork_in_child(self, is_told: bool = True) -> None:
        # Most children run another program at once. So this only notes what has happened and
        # answers what is pending; the first call, or setup(), starts this process's own reactor
        # thread. A child that no hook has told comes here when it first enters the package; see
        # _threads/fork_mark.py.
        note_parents_threads(not is_told)  # or else Python has forgotten the parent's threads
        self._fork_pause.after_fork_in_child()
        self._deliveries.after_fork_in_child()
        self._finalizers.after_fork_in_child()
        self.bridge.when_dropped = self._finalizers.put
        self.bridge.stash.after_fork_in_child()
        self._setup_lock = threading.RLock()  # a thread of the parent's may have had the old one
        if self._has_logs or self._is_starting:
            self._logs.after_fork_in_child()
            self._has_logs = False
        was_starting = self._is_starting
        self._is_starting = self._is_importing = self._is_stopping = False
        reactor_thread, program_reactor = self._reactor_thread, self._program_reactor
        if reactor_thread is not None:
            self._is_set_up = False
            self.bridge.after_fork_in_child(_errors.forked, self._set_up_in_child)
            reactor_thread.after_fork_in_child()
        elif self.bridge.reactor_thread is not None:
            # The program's reactor ran. Whether it will here is the program's business.
            self.bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)
            # There is none while a test's clock takes the reactor's place.
            if program_reactor is not None:
                program_reactor.after_fork_in_child()
                self._inherited.reactor = program_reactor.reactor
        elif program_reactor is None:
            self._inherited.find()
            if was_starting:
                self._inherited.release()
        self.bridge.mark[0] = 1

    def _set_up_in_child(self, name: str) -> Exception | None:
        """
        Start this process's own reactor thread, for the first call made in it.
        """
        try:
            self.setup(logging=self._wants_logs)
        except Exception as error:
            return error
        return None


def _tell_what_is_cut_off(reactor_thread: ReactorThread, patience: float) -> None:
    """
    Say on stderr what exit does not wait for any longer.
    """
    if sys.stderr is None:  # pythonw has none
        return
    work = work_in_pool(reactor_thread.reactor)
    if work:
        sys.stderr.write(
            f"crochet: cut off at exit, in the reactor's thread pool, for it was not done within "
            f"{patience:g} s: {', '.join(work)}. crochet.setup(exit_patience=None) waits for it.\n"
        )
    if reactor_thread.is_in_program() or not (work or patience == 0):
        sys.stderr.write(
            f"crochet: the reactor thread has not stopped within {patience:g} s; exiting without "
            f"it. It is here:\n{reactor_thread.whereabouts()}"
        )
