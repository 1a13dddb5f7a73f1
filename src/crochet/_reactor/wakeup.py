"""
Waking the reactor thread: the fast way to have it look at the bridge.

``reactor.callFromThread()`` wakes the reactor by a pipe, and what can be read is read like a
connection, in a log context of its own, through a dozen of Twisted's functions: half of what a
short call costs. And it is not for bodies that run the reactor's loop themselves, by ``iterate()``:
Twisted then forgets what other threads have it call meanwhile. A wakeup is looked at between two
polls. There are three kinds:

- On the epoll reactor (Linux) an eventfd is registered with the epoll object, and not with the
  reactor, which ignores an event for a descriptor that it does not know, but whose poll returns. It
  is edge-triggered, for nobody reads it.
- On others that have Twisted's main loop, the poll returns for the reactor's own waker.
- On asyncio's (Linux), the event loop reads an eventfd, and calls us without Twisted.

Elsewhere it is ``callFromThread()``. A clean-reactor check comes across none of them.

Threads: ``wake`` is for any; all else for the reactor thread, or the one that starts or ends it.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, cast
from weakref import ref

from twisted.internet.base import ReactorBase

from .._core.bridge import WakeRequest
from .._threads.clock import monotonic
from .._threads.finalizer import Finalizer
from .._threads.handoff import MOMENT, Handoff
from .asyncio_loop import loop_of
from .reactor import Reactor

# Seconds. A few microseconds would do, but who knows when the system lets a thread run.
_WAKING_TAKES = 0.1

Answer = Callable[[WakeRequest], object]


class _Descriptor:
    """
    A file descriptor that is closed with the last reference to this.
    """

    __slots__ = ("_finalizer", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._finalizer = Finalizer(os.close, fd)

    def close(self) -> None:
        """
        Close it now, unless it has been. In a process that has one thread.
        """
        fd = getattr(self, "fd", None)
        if fd is not None:
            self._finalizer.detach()
            del self.fd  # what would use it is the parent's
            os.close(fd)


class Wakeup:
    """
    What any thread can use to have something called in the reactor thread.

    Args:
        wake: takes a request, which is a list that is not empty, and wakes the reactor for it.
        pending: the requests that have come, and are to be answered.
        uninstall: has the poll forget it.
        undo: has the reactor forget it.
        descriptor: what *wake*, and nobody else, goes on to use.
    """

    def __init__(
        self,
        wake: Callable[[WakeRequest], object],
        pending: deque[WakeRequest],
        uninstall: Callable[[], object],
        undo: Callable[[], object],
        descriptor: _Descriptor | None = None,
    ) -> None:
        self.wake = wake
        self._pending = pending
        self._descriptor = descriptor
        self._uninstall = uninstall
        self._undo = undo

    def close(self) -> None:
        """
        Uninstall it and close its descriptor, once no thread is in ``wake``. Blocks for 0.1 s at
        most.

        Call it in the reactor thread or while the reactor does not run. The bridge has let go of
        ``wake`` before.
        """
        if "wake" in vars(self):
            self._uninstall()
            self._undo()
            # A thread may be about to write to the descriptor, whose number must not meanwhile be
            # that of some file of the program's. So it belongs to the function, and is closed with
            # the last reference to that: a thread that has taken the function from the bridge holds
            # it until it has returned, and one that comes later finds none there.
            wake = ref(self.wake)
            del self.wake, self._descriptor, self._uninstall, self._undo
            end = monotonic() + _WAKING_TAKES
            while wake() is not None and monotonic() < end:
                time.sleep(0.0001)

    def after_fork_in_child(self) -> None:
        """
        Close the descriptor here and now.

        The threads that used it are the parent's, and so is the poll, which must not forget it.
        """
        if "wake" in vars(self):
            self._pending.clear()
            self._undo()
            if self._descriptor is not None:
                self._descriptor.close()


def install_wakeup(reactor: Reactor, answer: Answer, handoff: Handoff) -> Wakeup | None:
    """
    Install a wakeup, in the reactor thread or before it runs; return None where there is none.

    Args:
        reactor: the reactor.
        answer: called in its thread with each request, to empty it.
        handoff: is checked in its thread from now on.

    Raises:
        OSError: there is no descriptor left.
    """
    has_eventfd = hasattr(os, "eventfd")
    loop = loop_of(reactor)
    if loop is not None:
        return _install_in_loop(loop, answer, handoff) if has_eventfd else None
    if getattr(type(reactor), "mainLoop", None) is not ReactorBase.mainLoop:
        return None
    poller: Any = getattr(reactor, "_poller", None)
    if has_eventfd and isinstance(poller, select.epoll):
        return _install_in_epoll(reactor, poller, answer, handoff)
    return _install_in_main_loop(reactor, answer, handoff)


def _drain(pending: deque[WakeRequest], answer: Answer) -> None:
    """
    Answer what is pending by now; what comes meanwhile is for the next turn.
    """
    left = len(pending)
    while left and pending:
        left -= 1
        # A request stays here until it is empty: should an exception be thrown into this thread
        # from outside, the next poll does not wait.
        if pending[0]:
            answer(pending[0])
        # A body that runs the loop itself, in answer(), may have taken it out. Then the first is
        # another, which is not empty.
        if pending and not pending[0]:
            pending.popleft()


def _drain_after_polls(
    reactor: Any, pending: deque[WakeRequest], answer: Answer, handoff: Handoff
) -> Callable[[], None]:
    """
    Have the reactor drain *pending* each time that it has polled, and not poll for long beside a
    handoff.

    Returns:
        What undoes this.
    """
    names = cast("dict[str, object]", vars(reactor))
    before = names.get("doIteration")  # if none, there is that of the class
    iterate = reactor.doIteration
    calls, line, turns = handoff.calls, handoff.line, handoff.turns

    def do_iteration(delay: float | None) -> None:
        if calls or line or turns:  # is_under_way(), without a call each time
            iterate(0 if pending else MOMENT if delay is None else min(delay, MOMENT))
            handoff.check(wakes=not pending)
        else:
            iterate(0 if pending else delay)
        if pending:
            _drain(pending, answer)

    def undo() -> None:
        handoff.schedule_check = None
        if names.get("doIteration") is do_iteration:
            del reactor.doIteration
            if before is not None:
                reactor.doIteration = before

    reactor.doIteration = do_iteration
    handoff.schedule_check = lambda: None  # do_iteration() looks
    return undo


def _eventfd() -> _Descriptor:
    return _Descriptor(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))


def _install_in_epoll(
    reactor: Any, poller: select.epoll, answer: Answer, handoff: Handoff
) -> Wakeup:
    descriptor = _eventfd()
    fd = descriptor.fd
    poller.register(fd, select.EPOLLIN | select.EPOLLET)
    pending: deque[WakeRequest] = deque()
    write = os.eventfd_write

    def wake(request: WakeRequest) -> None:
        pending.append(request)  # before the poll returns for it
        write(descriptor.fd, 1)

    def uninstall() -> None:
        with suppress(OSError, ValueError):  # closed already
            poller.unregister(fd)

    undo = _drain_after_polls(reactor, pending, answer, handoff)
    return Wakeup(wake, pending, uninstall, undo, descriptor)


def _install_in_main_loop(reactor: Any, answer: Answer, handoff: Handoff) -> Wakeup:
    pending: deque[WakeRequest] = deque()

    def wake(request: WakeRequest) -> None:
        pending.append(request)
        reactor.wakeUp()

    undo = _drain_after_polls(reactor, pending, answer, handoff)
    return Wakeup(wake, pending, lambda: None, undo)


def _install_in_loop(loop: Any, answer: Answer, handoff: Handoff) -> Wakeup:
    descriptor = _eventfd()
    fd = descriptor.fd
    read, write = os.eventfd_read, os.eventfd_write
    calls = handoff.calls
    checks: list[Any] = []  # one, or none
    pending: deque[WakeRequest] = deque()

    def drain() -> None:
        try:
            try:  # no suppress(), which takes as long as to read
                read(fd)
            except BlockingIOError:
                pass  # nobody has written
            _drain(pending, answer)
        finally:
            if pending:
                write(fd, 1)

    def check() -> None:
        checks.clear()
        try:
            handoff.check(wakes=not pending)
        finally:
            if calls or handoff.is_under_way():
                check_later()

    def check_later() -> None:
        if not checks:
            checks.append(loop.call_later(MOMENT, check))

    def wake(request: WakeRequest) -> None:
        pending.append(request)
        write(descriptor.fd, 1)

    def uninstall() -> None:
        if not loop.is_closed():
            loop.remove_reader(fd)

    def undo() -> None:
        handoff.schedule_check = None
        while checks:
            checks.pop().cancel()

    # One that was closed behind the loop's back may have had the same number, and the loop would
    # take this for that.
    loop.remove_reader(fd)
    # In a context of its own, or it would hold whatever the caller's holds.
    Context().run(loop.add_reader, fd, drain)
    handoff.schedule_check = check_later
    return Wakeup(wake, pending, uninstall, undo, descriptor)
