"""
Rings in the reactor thread: the fast way to have it look at the bridge.

``reactor.callFromThread()`` wakes the reactor by a pipe, and what can be read is read like a
connection, in a log context of its own, through a dozen of Twisted's functions: half of what a
short call costs. And it is not for bodies that run the reactor's loop themselves, by ``iterate()``:
Twisted then forgets what other threads have it call meanwhile. A bell is heeded between two polls.
There are three:

- On the epoll reactor (Linux) an eventfd is registered with the epoll object, and not with the
  reactor, which takes no notice of an event for a descriptor that it does not know, but that its
  poll returns. It is edge-triggered, for nobody reads it.
- On others that have Twisted's main loop, the poll returns for the reactor's own waker.
- On asyncio's (Linux), the event loop reads an eventfd, and calls us without Twisted.

Elsewhere it is ``callFromThread()``. A clean-reactor check comes across none of them.

A ring is put on a deque, and stays there until it has been heeded, which empties it:

1. A thread that rings appends its wake-up, then has the poll return.
2. The reactor thread answers the first in the deque, and takes it out if it is empty then.

Verdict: an exception that is thrown into the reactor thread anywhere in 2 leaves it there, and the
next poll does not wait. A body that runs the loop itself, within 2, may have taken it out; then
the first is another, and not empty.

A thread may be about to ring when the bell is closed, and must not find that the descriptor's
number has meanwhile been given to some file of the program's. So nobody closes the descriptor under
a thread that rings:

1. A thread that rings takes the function ``ring`` from the bridge, and calls it. The interpreter
   holds the function until it has returned.
2. Whoever is to close the bell has it taken out of the bridge first, and drops it.

Verdict: the descriptor belongs to the function, and is closed with the last reference to it. A
thread that came before step 2 rings what is still open; one that comes later has nothing to ring.
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

from .._threads.clock import monotonic
from .._threads.handoff import MOMENT, Handoff
from .asyncio_loop import loop_of
from .reactor import Reactor

# On its way to the reactor thread, and cleared there. See _core/bridge.py.
Wakeup = list[None]

# Seconds. A few microseconds would do, but who knows when the system lets a thread run.
_RINGING_TAKES = 0.1

Answer = Callable[[Wakeup], object]


class _Descriptor:
    """
    A file descriptor that is closed with the last reference to this.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self, close: Callable[[int], object] = os.close) -> None:
        """
        Close it now, unless it has been.
        """
        try:
            fd = self.fd
            del self.fd
        except AttributeError:
            return
        close(fd)

    __del__ = close


class Bell:
    """
    What any thread can ring, to have something called in the reactor thread.

    Args:
        ring: rings.
        rung: what it was rung with, and is to be heeded.
        take_down: has the poll forget it.
        undo: has the reactor forget it.
        descriptor: what *ring*, and nobody else, goes on to use.
    """

    def __init__(
        self,
        ring: Callable[[Wakeup], object],
        rung: deque[Wakeup],
        take_down: Callable[[], object],
        undo: Callable[[], object],
        descriptor: _Descriptor | None = None,
    ) -> None:
        self.ring = ring
        self._rung = rung
        self._descriptor = descriptor
        self._take_down = take_down
        self._undo = undo

    def close(self) -> None:
        """
        Take it down and close its descriptor, once no thread is ringing. Blocks for 0.1 s at most.

        Call it in the reactor thread or while the reactor does not run. The bridge has let go of
        ``ring`` before.
        """
        if "ring" in vars(self):
            self._take_down()
            self._undo()
            ring = ref(self.ring)
            del self.ring, self._descriptor, self._take_down, self._undo
            end = monotonic() + _RINGING_TAKES
            while ring() is not None and monotonic() < end:
                time.sleep(0.0001)

    def forget_after_fork(self) -> None:
        """
        Close the descriptor here and now, in a forked child.

        The threads that rang are the parent's, and so is the poll, which must not forget it.
        """
        if "ring" in vars(self):
            self._rung.clear()
            self._undo()
            if self._descriptor is not None:
                self._descriptor.close()


def hang_up(reactor: Reactor, answer: Answer, handoff: Handoff) -> Bell | None:
    """
    Give the reactor a bell, in its thread or before it runs; None where there are none.

    Args:
        reactor: the reactor.
        answer: called in its thread for each ring, to empty what was rung with.
        handoff: is minded in its thread from now on.

    Raises:
        OSError: there is no descriptor left.
    """
    has_eventfd = hasattr(os, "eventfd")
    loop = loop_of(reactor)
    if loop is not None:
        return _hang_in_loop(loop, answer, handoff) if has_eventfd else None
    if getattr(type(reactor), "mainLoop", None) is not ReactorBase.mainLoop:
        return None
    poller: Any = getattr(reactor, "_poller", None)
    if has_eventfd and isinstance(poller, select.epoll):
        return _hang_in_epoll(reactor, poller, answer, handoff)
    return _hang_in_main_loop(reactor, answer, handoff)


def _heed(rung: deque[Wakeup], answer: Answer) -> None:
    """
    Answer what was rung by now; what is rung meanwhile is for the next turn.
    """
    left = len(rung)
    while left and rung:
        left -= 1
        if rung[0]:
            answer(rung[0])
        if rung and not rung[0]:
            rung.popleft()


def _heed_after_polls(
    reactor: Any, rung: deque[Wakeup], answer: Answer, handoff: Handoff
) -> Callable[[], None]:
    """
    Have the reactor heed rings each time that it has polled, and not poll for long beside a handoff.

    Returns:
        What undoes this.
    """
    names = cast("dict[str, object]", vars(reactor))
    before = names.get("doIteration")  # if none, there is that of the class
    iterate = reactor.doIteration
    calls = handoff.calls

    def do_iteration(delay: float | None) -> None:
        if calls or handoff.is_under_way():
            iterate(0 if rung else MOMENT if delay is None else min(delay, MOMENT))
            handoff.check(wakes=not rung)
        else:
            iterate(0 if rung else delay)
        if rung:
            _heed(rung, answer)

    def undo() -> None:
        handoff.minder = None
        if names.get("doIteration") is do_iteration:
            del reactor.doIteration
            if before is not None:
                reactor.doIteration = before

    reactor.doIteration = do_iteration
    handoff.minder = lambda: None  # do_iteration() looks
    return undo


def _eventfd() -> _Descriptor:
    return _Descriptor(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))


def _hang_in_epoll(reactor: Any, poller: select.epoll, answer: Answer, handoff: Handoff) -> Bell:
    descriptor = _eventfd()
    fd = descriptor.fd
    poller.register(fd, select.EPOLLIN | select.EPOLLET)
    rung: deque[Wakeup] = deque()
    write = os.eventfd_write

    def ring(wakeup: Wakeup) -> None:
        rung.append(wakeup)
        write(descriptor.fd, 1)

    def take_down() -> None:
        with suppress(OSError, ValueError):  # closed already
            poller.unregister(fd)

    undo = _heed_after_polls(reactor, rung, answer, handoff)
    return Bell(ring, rung, take_down, undo, descriptor)


def _hang_in_main_loop(reactor: Any, answer: Answer, handoff: Handoff) -> Bell:
    rung: deque[Wakeup] = deque()

    def ring(wakeup: Wakeup) -> None:
        rung.append(wakeup)
        reactor.wakeUp()

    undo = _heed_after_polls(reactor, rung, answer, handoff)
    return Bell(ring, rung, lambda: None, undo)


def _hang_in_loop(loop: Any, answer: Answer, handoff: Handoff) -> Bell:
    descriptor = _eventfd()
    fd = descriptor.fd
    read, write = os.eventfd_read, os.eventfd_write
    calls = handoff.calls
    minding: list[Any] = []  # one, or none
    rung: deque[Wakeup] = deque()

    def heed() -> None:
        try:
            try:  # no suppress(), which takes as long as to read
                read(fd)
            except BlockingIOError:
                pass  # nobody rang
            _heed(rung, answer)
        finally:
            if rung:
                write(fd, 1)

    def mind() -> None:
        minding.clear()
        try:
            handoff.check(wakes=not rung)
        finally:
            if calls or handoff.is_under_way():
                mind_later()

    def mind_later() -> None:
        if not minding:
            minding.append(loop.call_later(MOMENT, mind))

    def ring(wakeup: Wakeup) -> None:
        rung.append(wakeup)
        write(descriptor.fd, 1)

    def take_down() -> None:
        if not loop.is_closed():
            loop.remove_reader(fd)

    def undo() -> None:
        handoff.minder = None
        while minding:
            minding.pop().cancel()

    # One that was closed behind the loop's back may have had the same number, and the loop would
    # take this for that.
    loop.remove_reader(fd)
    # In a context of its own, or it would hold whatever the caller's holds.
    Context().run(loop.add_reader, fd, heed)
    handoff.minder = mind_later
    return Bell(ring, rung, take_down, undo, descriptor)
