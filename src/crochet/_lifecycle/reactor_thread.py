"""
One life of the reactor: from its start in a thread of its own to its end.

A reactor has several: it is revived, in place, for each. (``from twisted.internet import reactor``
stays valid everywhere.) What must always hold:

1. A start that fails leaves everything as it was.
2. However the reactor ends, the bridge is closed and every call in flight answered.

The ways it ends, and who closes the bridge:

- ``reactor.stop()``, by the program, by shutdown() or by the exit hook: the trigger before
  shutdown. It comes before the reactor joins its thread pool, or a worker that waits for us would
  never be joined (twisted#10124). Operations are cancelled then and get time to clean up.
- ``reactor.crash()``, a reactor that cannot start, anything raised through ``run()``: the
  ``finally`` around it, in its thread.

Threads: start() is called by one thread, under the loop's setup lock; run_in_thread() and what it
calls is the reactor thread's; the rest may be called by any.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from contextvars import Context

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorAlreadyRunning, ReactorNotRunning
from twisted.logger import Logger

from .. import _errors
from .._core.bridge import Bridge, Refusal
from .._diagnostics.frames import above_the_reactor, stack_of, worth_telling
from .._reactor.asyncio_loop import end_tasks, run_in_thread
from .._reactor.reactor import (
    Reactor,
    Timer,
    call_from_thread_of,
    disarm_clone,
    end_clone,
    release,
    release_in_child,
    route_of,
    use_daemon_threads,
    wind_up,
)
from .._reactor.wakeup import Bell, hang_up
from .._threads.threads import StartThread, frames_of_threads
from .companions import Children, Watching

_log = Logger(namespace="crochet")

# Seconds that operations cancelled by the reactor's end have for their cleanup.
GRACE = 1.0


class Life:
    """
    A reactor in a thread of its own, and what belongs to the two.

    Args:
        reactor: has not run, or was revived.
        bridge: is opened at the start, and closed at the end.
        children: what sees this reactor's child processes end.
        watch: what watches the reactor's thread.
        on_end: called in the reactor thread when all is over.
    """

    def __init__(
        self,
        reactor: Reactor,
        bridge: Bridge,
        children: Children,
        watch: Watching,
        on_end: Callable[[], object],
    ) -> None:
        self.reactor = reactor
        self._bridge = bridge
        self._children = children
        self.watch = watch
        self._on_end = on_end
        self._bell: Bell | None = None
        # Written by the starting thread or, should a signal interrupt that, by the new one.
        self.thread: threading.Thread | None = None
        # Whether calls were accepted. Written by the starting thread.
        self.has_begun = False
        # Whether the reactor's run is over. Written once, in its thread.
        self.has_ended = False
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
            then: called as soon as this life has begun, whatever interrupts its start.

        Raises:
            RuntimeError: no thread can be started. Nothing was changed.
            OSError: no descriptor is left. Likewise.
        """
        # Whoever takes the ticket decides: the new thread, that the reactor runs, or an
        # interrupted start, that it never will. A signal may come when neither side knows
        # whether the thread has been started.
        ticket = [None]
        reactor = self.reactor
        refusal = self._bridge.refusal
        use_daemon_threads(reactor)
        undo = ExitStack()
        try:
            self._bell = hang_up(reactor, self._bridge.drain_in_reactor, self._bridge.handoff)
            if self._bell is not None:
                undo.callback(self._bell.close)
            self._children.start()
            undo.callback(self._children.stop)
            # Before it starts: its thread may have been started when a signal interrupts that.
            undo.callback(self.watch.join)
            undo.callback(self.watch.stop)
            self.watch.start()
            trigger = reactor.addSystemEventTrigger("before", "shutdown", self._end_in_reactor)
            undo.callback(reactor.removeSystemEventTrigger, trigger)
            # In a context of its own, or it would hold whatever the caller's holds.
            self.thread = start_thread(
                lambda: Context().run(self._run_in_thread, ticket), "crochet-reactor"
            )
            self._begin(then)
        except BaseException:
            if took(ticket):
                self.has_begun = False
                self._bridge.close(_errors.not_set_up)
                self._bridge.refusal = refusal
                undo.close()
                raise
            # A signal's exception, and the thread is on its way: what is begun is finished.
            self._begin(then)
            raise

    def _begin(self, then: Callable[[], object]) -> None:
        self.has_begun = True
        ring = self._bell.ring if self._bell else None
        self._bridge.open(call_from_thread_of(self.reactor), ring, route_of(self.reactor))
        if self.has_ended:
            # It was over before we said that it had begun. Close what open() has opened.
            self._bridge.close(self._refusal)
        then()

    def _run_in_thread(self, ticket: list[None]) -> None:
        if not took(ticket):
            return
        self.thread = threading.current_thread()
        self._ident = self._bridge.reactor_thread = threading.get_ident()
        try:
            run_in_thread(self.reactor)
            if self._bridge.refusal is None:
                # Nothing has closed it, so this was no stop().
                self._refusal = _errors.crashed
        except BaseException as error:
            if self._is_inherited:
                end_clone()  # of an event loop that was the parent's
            self._refusal = _errors.died(error)
            _log.failure("The reactor thread has ended with an error")
            if not isinstance(error, ReactorAlreadyRunning):
                self._crash_in_reactor()
        finally:
            if self._is_inherited:
                end_clone()  # this is the child's only thread, and all that follows the parent's
            self.has_ended = True  # before closing; _begin() looks at it after opening
            self._bridge.close(self._refusal)
            # Idents are used again for new threads, and those may wait.
            self._bridge.reactor_thread = None
            self._children.stop()
            self.watch.stop()
            try:
                wind_up(self.reactor)
                end_tasks(self.reactor, min(self._grace, GRACE))
            finally:
                self._on_end()

    def _crash_in_reactor(self) -> None:
        # One whose run() was left by an exception takes itself to be running.
        if self.reactor.running:
            self.reactor.crash()

    def _end_in_reactor(self) -> Deferred[None] | None:
        """
        Answer what is in flight, cancel what is running, and wait a moment for its cleanup.
        """
        unfinished = self._bridge.close(self._refusal)
        return all_ended(unfinished, self._grace, self.reactor.callLater) if unfinished else None

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
        if self.thread is not None:
            self.thread.join(patience)
        return self.thread is None or not self.thread.is_alive()

    def _stop_in_reactor(self) -> None:
        with suppress(ReactorNotRunning):  # the program stopped it a moment ago
            self.reactor.stop()

    def bury(self) -> None:
        """
        Give back the reactor's descriptors, once its thread has ended. Blocks for 2 s at most.
        """
        self.watch.join()
        if self._bell is not None:
            self._bell.close()
        release(self.reactor)

    def disown(self) -> None:
        """
        Drop what is the parent's, in a forked child. Nothing there is alive but for the objects.

        The descriptors are closed here and now, cheap as it is: a program that becomes a daemon
        closes them itself in a moment, and their numbers are then some other file's.
        """
        self.has_ended = True
        self.thread = None
        self._is_inherited = True
        if self._bell is not None:
            self._bell.forget_after_fork()
        self._children.forget_after_fork()
        self.watch.forget_after_fork()
        release_in_child(self.reactor)
        if threading.get_ident() == self._ident:
            disarm_clone(self.reactor)

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
        called = above_the_reactor(stack_of(self._ident or 0))
        return bool(worth_telling(called))

    def whereabouts(self) -> str:
        """
        Return the stack of the reactor thread.
        """
        thread = self.thread
        frame = frames_of_threads().get(thread.ident or 0) if thread else None
        return "".join(traceback.format_stack(frame)) if frame else "(nowhere)\n"


def took(ticket: list[None]) -> bool:
    """
    Take the ticket, if it is still there.
    """
    try:
        ticket.pop()
    except IndexError:
        return False
    return True


def all_ended(
    unfinished: list[Deferred[object]], grace: float, call_later: Callable[..., Timer]
) -> Deferred[None]:
    """
    Cancel operations, in the reactor thread, and tell when all have ended or *grace* is over.
    """
    ended: Deferred[None] = Deferred()
    timer = call_later(grace, ended.callback, None)
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
