"""
A reactor that the program runs itself, after no_setup(), and that has our calls for guests.

The counterpart of reactor_thread.py: there the reactor's thread, its start and its end are ours, and here
the program's. What must always hold:

1. The program alone runs the reactor, in the thread of its choice, and ends it.
2. However its run ends, the bridge is closed and every call in flight answered.

The ways it ends, and who closes the bridge:

- ``reactor.stop()``: the trigger before shutdown. Operations are cancelled then and get time to
  clean up. The trigger after it forgets the thread.
- ``reactor.crash()``, and anything raised through ``run()``: no trigger is fired then, so the two
  methods are wrapped in the reactor object; see ``_reactors.watch_runs()``. Unlike a stopped
  reactor, a crashed one may be run once more, and then the bridge is opened again.

Its thread is learned in that thread, once it runs: until then calls queue up. What belongs to the
thread, the bell and the watch, comes with that and goes with the run.

Threads: hook() and open() are called by one thread, under the loop's setup lock, disown() by a
forked child's only one; all else is the reactor thread's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred

from .. import _errors
from .._core.bridge import Bridge
from .._reactor.reactor import (
    Reactor,
    call_from_thread_of,
    release_signals_in_child,
    route_of,
    watch_runs,
)
from .._reactor.wakeup import Bell, hang_up
from .companions import Watching
from .reactor_thread import GRACE, all_ended


class Host:
    """
    A reactor that the program runs, and what belongs to it while it runs.

    Args:
        reactor: runs, or will, or never does.
        bridge: is opened at once, and closed at the end of each run.
        make_watch: makes what watches the reactor's thread, for each run.
        get_stall_warning: returns the seconds that is to be told, as they are now.
    """

    def __init__(
        self,
        reactor: Reactor,
        bridge: Bridge,
        make_watch: Callable[[Reactor], Watching],
        get_stall_warning: Callable[[], float],
    ) -> None:
        self.reactor = reactor
        self._bridge = bridge
        self._make_watch = make_watch
        self._get_stall_warning = get_stall_warning
        # What watches it, while it runs. Written in the reactor thread.
        self.watch: Watching | None = None
        self._bell: Bell | None = None  # reactor thread only
        self._has_crashed = False  # reactor thread only
        # Whether its runs are watched. That is done once: a forked child has it wrapped already.
        self._is_hooked = False

    def hook(self) -> None:
        """
        Be told when the reactor ends, and when the program runs it anew.
        """
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
        Make the acquaintance of a reactor that the program runs, in its thread.
        """
        self._bridge.notice_fork()  # before there is one in this process that would be disowned
        self._bridge.reactor_thread = threading.get_ident()
        with suppress(OSError):  # no descriptor is left; calls go without
            self._bell = hang_up(self.reactor, self._bridge.drain_in_reactor, self._bridge.handoff)
        if self._bell is not None:
            self._bridge.ring_with(self._bell.ring)
        watch = self._make_watch(self.reactor)
        with suppress(RuntimeError):  # no thread can be started; calls go without
            watch.start()
            self.watch = watch
        watch.stall_warning = self._get_stall_warning()  # should setup() have been told meanwhile

    def _end_in_reactor(self) -> Deferred[None] | None:
        """
        Answer what is in flight, cancel what is running, and wait a moment for its cleanup.
        """
        unfinished = self._bridge.close(_errors.stopped)
        return all_ended(unfinished, GRACE, self.reactor.callLater) if unfinished else None

    def _forget_in_reactor(self) -> None:
        # What waits in its thread from now on is refused for the reactor's end, not for a
        # deadlock. And idents are used again for new threads.
        self._bridge.reactor_thread = None
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        if self.watch is not None:
            self.watch.stop()
            self.watch.join()  # a subinterpreter cannot end before all threads have
            self.watch = None

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

    def disown(self) -> None:
        """
        Drop what is the parent's, in a forked child, if the reactor ran there.
        """
        if self._bell is not None:
            self._bell.forget_after_fork()
        if self.watch is not None:
            self.watch.forget_after_fork()
            self.watch = None
        release_signals_in_child(self.reactor)
