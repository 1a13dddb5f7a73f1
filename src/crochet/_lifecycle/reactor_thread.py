"""
One run of the reactor in a thread of its own, from its start to its end.

What must always hold:

1. A start that fails leaves everything as it was.
2. However the reactor ends, the bridge is closed and every call in flight answered.

It ends by ``reactor.stop()``, called by the program, by shutdown() or by the exit hook; or else by
``reactor.crash()``, because it cannot start, or by what is raised through ``run()``.

Threads: start() is called by one thread, under the setup lock; _run_in_thread() and what it calls
is the reactor thread's; the rest may be called by any.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorAlreadyRunning, ReactorNotRunning
from twisted.logger import Logger

from .. import _errors
from .._core.bridge import Bridge, Refusal
from .._diagnostics.frames import above_the_reactor, worth_telling
from .._diagnostics.watchdog import Watchdog
from .._reactor.asyncio_loop import end_tasks, run_in_thread
from .._reactor.children import ChildWatcher
from .._reactor.forked import end_clone, release_in_child, stop_inherited_loop
from .._reactor.pool import is_pool_worker, use_daemon_threads
from .._reactor.reactor import Reactor, call_from_thread_of, route_of
from .._reactor.restart import finish_crash, release
from .._reactor.wakeup import Wakeup, install_wakeup
from .._threads.clock import monotonic
from .._threads.primitives import Latch, discard
from .._threads.threads import StartThread, frames_of_threads
from .._threads.timeouts import left_until

_log = Logger(namespace="crochet")

# Seconds that operations cancelled by the reactor's end have for their cleanup.
GRACE = 1.0


class ReactorThread:
    """
    A reactor in a thread of its own, and what belongs to the two.

    Args:
        reactor: has not run, or was made to run again.
        bridge: is opened at the start, and closed at the end.
        children: what sees this reactor's child processes end.
        watchdog: what watches the reactor's thread.
        on_end: called in the reactor thread when all is over.
    """

    def __init__(
        self,
        reactor: Reactor,
        bridge: Bridge,
        children: ChildWatcher,
        watchdog: Watchdog,
        on_end: Callable[[], object],
    ) -> None:
        self.reactor = reactor
        self._bridge = bridge
        self._children = children
        self.watchdog = watchdog
        self._on_end = on_end
        self._wakeup: Wakeup | None = None
        # Written by the starting thread or, should a signal interrupt that, by the new one.
        self.thread: threading.Thread | None = None
        # Whether calls were accepted. Written by the starting thread.
        self.has_begun = False
        # Whether the reactor is about to end, and whether its run is over. Written once, in its
        # thread, before calls are refused.
        self.is_ending = False
        self.has_ended = False
        self._left = Latch()  # opened as the last thing there
        # Why calls are refused once the reactor stops. Written before it is told to.
        self._refusal: Refusal = _errors.stopped
        self._grace = GRACE
        self._ident: int | None = None  # the reactor thread's
        # Whether it was the parent's, in a forked child. Written at the fork.
        self._is_inherited = False

    def start(self, start_thread: StartThread, then: Callable[[], object]) -> None:
        """
        Start the reactor's thread and open the bridge.

        Args:
            start_thread: starts a daemon thread of that target and name.
            then: called as soon as calls are accepted, whatever interrupts the start.

        Raises:
            RuntimeError: no thread can be started. Nothing was changed.
            OSError: no descriptor is left. Nothing was changed.
        """
        # The thread that takes the ticket decides: the new one, that the reactor runs, or this one,
        # interrupted, that it never will. A signal handler's exception may come when neither knows
        # whether the new one has been started.
        ticket = [None]
        reactor = self.reactor
        refusal = self._bridge.refusal
        use_daemon_threads(reactor)
        undo = ExitStack()
        try:
            self._wakeup = install_wakeup(
                reactor, self._bridge.drain_in_reactor, self._bridge.handoff
            )
            if self._wakeup is not None:
                undo.callback(self._wakeup.close)
            self._children.start()
            undo.callback(self._children.stop)
            # Before its start: that may be interrupted when its thread has been started.
            undo.callback(self.watchdog.join)
            undo.callback(self.watchdog.stop)
            self.watchdog.start()
            # Before shutdown, and that is before the reactor joins its thread pool: else one of its
            # threads that waits for us would never be joined (twisted#10124).
            trigger = reactor.addSystemEventTrigger("before", "shutdown", self._end_in_reactor)
            undo.callback(reactor.removeSystemEventTrigger, trigger)
            # In a context of its own, or it would hold whatever the caller's holds.
            self.thread = start_thread(partial(self._run, ticket), "crochet-reactor")
            self._begin(then)
        except BaseException:
            if discard(ticket, None):
                self.has_begun = False
                self._bridge.close(_errors.not_set_up)
                self._bridge.refusal = refusal
                undo.close()
                raise
            # A signal handler's exception, and the thread is on its way: finish what has begun.
            self._begin(then)
            raise

    def _begin(self, then: Callable[[], object]) -> None:
        self.has_begun = True
        wake = self._wakeup.wake if self._wakeup else None
        self._bridge.open(call_from_thread_of(self.reactor), wake, route_of(self.reactor))
        # Looked at after that. The reactor's thread writes it, and then closes the bridge; so one
        # of the two closes what was opened.
        if self.has_ended:
            self._bridge.close(self._refusal)
        then()

    def _run(self, ticket: list[None]) -> None:
        try:
            Context().run(self._run_in_thread, ticket)
        finally:
            self._left.open()

    def _run_in_thread(self, ticket: list[None]) -> None:
        if not discard(ticket, None):
            return
        self.thread = threading.current_thread()
        self._ident = self._bridge.reactor_thread = threading.get_ident()
        try:
            run_in_thread(self.reactor)
            if self._bridge.refusal is None:
                # The trigger before shutdown has not closed it, so this was no stop().
                self._refusal = _errors.crashed
        except BaseException as error:
            if self._is_inherited:
                end_clone()  # an error of an event loop that was the parent's
            self._refusal = partial(_errors.ended_with, error)
            _log.failure("The reactor thread has ended with an error")
            # One whose run() was left by an exception says that it is running.
            if self.reactor.running and not isinstance(error, ReactorAlreadyRunning):
                self.reactor.crash()
        finally:
            if self._is_inherited:
                end_clone()  # this is the child's only thread, and all that follows the parent's
            # Before closing; _begin() looks at it after opening.
            self.is_ending = self.has_ended = True
            self._bridge.close(self._refusal)
            # Idents are used again for new threads, and those may wait.
            self._bridge.reactor_thread = None
            self._children.stop()
            self.watchdog.stop()
            try:
                finish_crash(self.reactor)
                end_tasks(self.reactor, min(self._grace, GRACE))
            finally:
                self._on_end()

    def _end_in_reactor(self) -> Deferred[None] | None:
        """
        Answer what is in flight, cancel what is running, and wait a moment for its cleanup.
        """
        self.is_ending = True
        return end_operations(self.reactor, self._bridge, self._refusal, self._grace)

    def end(self, refusal: Refusal, grace: float, patience: float) -> bool:
        """
        Stop the reactor and wait for its thread to end. Blocks up to *patience* seconds.

        Args:
            refusal: builds the error of the calls that are answered or refused by this.
            grace: seconds that operations have for their cleanup.
            patience: seconds to wait in all.

        Returns:
            Whether the thread has ended.
        """
        self._refusal = refusal
        self._grace = grace
        self._bridge.refuse(refusal)
        if not self.has_ended:
            self._bridge.call(self._stop_in_reactor)
        return self.join(patience)

    def waits_for_caller(self) -> bool:
        """
        Tell whether the reactor's end waits for the calling thread: its own, or one of its pool.
        """
        if threading.current_thread() is self.thread:
            return True
        return not self.has_ended and is_pool_worker(self.reactor)

    def join(self, patience: float) -> bool:
        """
        Wait for the thread to end, if it was started, and tell whether it has. Blocks up to
        *patience* seconds.
        """
        thread = self.thread
        if thread is None:
            return True
        end = monotonic() + patience
        thread.join(patience)
        # Up to CPython 3.12 a join() that a signal's exception interrupts takes the thread for one
        # that has ended, and later ones do not wait for it.
        return not thread.is_alive() and self._left.wait(left_until(end))

    def _stop_in_reactor(self) -> None:
        with suppress(ReactorNotRunning):  # the program stopped it a moment ago
            self.reactor.stop()

    def close(self) -> None:
        """
        Give back the reactor's descriptors, once its thread has ended. Blocks for 2 s at most.
        """
        self.watchdog.join()
        if self._wakeup is not None:
            self._wakeup.close()
        release(self.reactor)

    def after_fork_in_child(self) -> None:
        """
        Drop what is the parent's. Nothing of it lives in the child but the objects.

        The descriptors are closed here and now: a program that becomes a daemon closes them itself
        in a moment, and then their numbers are some other file's.
        """
        self.has_ended = True
        self.thread = None
        self._is_inherited = True
        if self._wakeup is not None:
            self._wakeup.after_fork_in_child()
        self._children.after_fork_in_child()
        self.watchdog.after_fork_in_child()
        release_in_child(self.reactor)
        if threading.get_ident() == self._ident:
            stop_inherited_loop(self.reactor)

    def get_ident(self) -> int | None:
        """
        Return the ident of the reactor thread, as soon as it has been started, until it ends.
        """
        thread = self.thread
        return thread.ident if thread and self.has_begun and not self.has_ended else None

    def is_in_program(self) -> bool:
        """
        Tell whether the reactor thread is in code of the program, and not in Twisted's only.
        """
        frame = frames_of_threads().get(self._ident or 0)
        return bool(worth_telling(above_the_reactor(frame)))

    def whereabouts(self) -> str:
        """
        Return the stack of the reactor thread.
        """
        thread = self.thread
        frame = frames_of_threads().get(thread.ident or 0) if thread else None
        return "".join(traceback.format_stack(frame)) if frame else "(nowhere)\n"


def end_operations(
    reactor: Reactor, bridge: Bridge, refusal: Refusal, grace: float
) -> Deferred[None] | None:
    """
    Close a bridge and cancel the operations, in the reactor thread, and return what fires when all
    have ended, and answers are stored, or *grace* is over. None if there is nothing to wait for.
    """
    unfinished = bridge.close(refusal)
    stored = bridge.stash.end_in_reactor()
    if not unfinished and stored is None:
        return None
    ended: Deferred[None] = Deferred()
    timer = reactor.callLater(grace, ended.callback, None)
    left = len(unfinished) + (stored is not None)

    def one_ended(value: object) -> object:
        nonlocal left
        left -= 1
        if left == 0 and timer.active():
            timer.cancel()
            ended.callback(None)
        return value

    if stored is not None:
        stored.addBoth(one_ended)
    for operation in unfinished:
        operation.addBoth(one_ended)
        try:
            operation.cancel()
        except Exception:
            _log.failure("Error while cancelling an operation, for the reactor stops")
    return ended
