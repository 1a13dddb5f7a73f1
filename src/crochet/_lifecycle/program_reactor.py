"""
A reactor that the program runs itself, after no_setup(), and that carries our calls.

The counterpart of reactor_thread.py: there the reactor's thread, its start and its end are ours,
here they are the program's. What must always hold:

1. The program alone runs the reactor, in the thread of its choice, and ends it.
2. However its run ends, the bridge is closed and every call in flight answered.

Until it runs, calls queue up. What belongs to its thread, the wakeup and the watchdog, comes and
goes with each run.

Threads: hook() and open() are called by one thread, under the setup lock, after_fork_in_child() by
a forked child's only one; all else is the reactor thread's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred

from .. import _errors
from .._core.bridge import Bridge
from .._diagnostics.watchdog import Watchdog
from .._reactor.forked import release_signals_in_child
from .._reactor.reactor import Reactor, call_from_thread_of, route_of
from .._reactor.restart import watch_runs
from .._reactor.wakeup import Wakeup, install_wakeup
from .._threads.finalizer import FinalizerThread
from .reactor_thread import GRACE, end_operations


class ProgramReactor:
    """
    A reactor that the program runs, and what belongs to it while it runs.

    Args:
        reactor: runs, or will, or never does.
        bridge: is opened at once, and closed at the end of each run.
        make_watchdog: makes what watches the reactor's thread, for each run.
        get_stall_warning: returns after how many seconds a stall is logged, as setup() said last.
        finalizers: begins with the first run.
    """

    def __init__(
        self,
        reactor: Reactor,
        bridge: Bridge,
        make_watchdog: Callable[[Reactor], Watchdog],
        get_stall_warning: Callable[[], float],
        finalizers: FinalizerThread,
    ) -> None:
        self.reactor = reactor
        self._bridge = bridge
        self._make_watchdog = make_watchdog
        self._get_stall_warning = get_stall_warning
        self._finalizers = finalizers
        # While it runs. Written in the reactor thread.
        self.watchdog: Watchdog | None = None
        self._wakeup: Wakeup | None = None  # reactor thread only
        self._has_crashed = False  # reactor thread only
        # Whether run() and crash() are wrapped. In a forked child they are already.
        self._is_hooked = False

    def hook(self) -> None:
        """
        Have the bridge closed when the reactor ends, and opened when the program runs it anew.
        """
        # These two see a stop(). No trigger is fired by crash(), nor when run() raises; so the two
        # methods are wrapped.
        self.reactor.addSystemEventTrigger("before", "shutdown", self._end_in_reactor)
        self.reactor.addSystemEventTrigger("after", "shutdown", self._forget_in_reactor)
        if not self._is_hooked:
            watch_runs(self.reactor, self._reopen_in_reactor, self._lose_in_reactor)
            self._is_hooked = True

    def open(self) -> None:
        """
        Accept calls, which the reactor thread will come to as soon as it runs.
        """
        reactor = self.reactor
        self._bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
        if reactor.running:
            # callWhenRunning() would call at once, here, whichever thread this is.
            self._bridge.call(self._join_in_reactor)
        else:
            reactor.callWhenRunning(self._join_in_reactor)

    def _join_in_reactor(self) -> None:
        """
        Record the reactor thread's ident and install the wakeup.
        """
        # First: in a forked child that drops whatever has been installed.
        self._bridge.notice_fork()
        self._bridge.reactor_thread = threading.get_ident()
        with suppress(OSError):  # no descriptor is left; calls go without
            self._wakeup = install_wakeup(
                self.reactor, self._bridge.drain_in_reactor, self._bridge.handoff
            )
        if self._wakeup is not None:
            self._bridge.use_wakeup(self._wakeup.wake)
        watchdog = self._make_watchdog(self.reactor)
        with suppress(RuntimeError):  # no thread can be started; calls go without
            self._finalizers.begin()
            watchdog.start()
            self.watchdog = watchdog
        watchdog.stall_warning = self._get_stall_warning()  # another setup() may have changed it

    def _end_in_reactor(self) -> Deferred[None] | None:
        """
        Answer what is in flight, cancel what is running, and wait a moment for its cleanup.
        """
        return end_operations(self.reactor, self._bridge, _errors.stopped, GRACE)

    def _forget_in_reactor(self) -> None:
        # Waits in this thread are from now on refused because the reactor has ended, not because
        # of a deadlock. And idents are used again for new threads.
        self._bridge.reactor_thread = None
        self._bridge.stash.leave()
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        if self.watchdog is not None:
            self.watchdog.stop()
            self.watchdog.join()  # a subinterpreter cannot end before all threads have
            self.watchdog = None

    def _lose_in_reactor(self) -> None:
        """
        Answer what is in flight, should the reactor have ended in another way than by ``stop()``.
        """
        is_crash = self._bridge.refusal in (None, _errors.crashed)  # a stop() has closed it before
        self._bridge.close(_errors.crashed if is_crash else _errors.stopped)
        self._forget_in_reactor()
        self._has_crashed = True

    def _reopen_in_reactor(self) -> None:
        """
        Accept calls again: unlike a stopped reactor, a crashed one may be run once more.
        """
        reactor = self.reactor
        if self._has_crashed and not getattr(reactor, "_startedBefore", 0):
            self._has_crashed = False
            self._bridge.open(call_from_thread_of(reactor), route=route_of(reactor))
            reactor.callWhenRunning(self._join_in_reactor)

    def after_fork_in_child(self) -> None:
        """
        Drop what is the parent's, if the reactor ran there.
        """
        if self._wakeup is not None:
            self._wakeup.after_fork_in_child()
        if self.watchdog is not None:
            self.watchdog.after_fork_in_child()
            self.watchdog = None
        release_signals_in_child(self.reactor)
