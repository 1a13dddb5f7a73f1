"""
Rings in the reactor thread: the fast way to have it look at the bridge.

``reactor.callFromThread()`` wakes the reactor by a pipe, and what can be read is read like a
connection, in a log context of its own, through a dozen of Twisted's functions: half of what a
short call costs. A bell is an eventfd that is given to the poll itself. There are two, on Linux:

- On the epoll reactor, it is registered with the epoll object and not with the reactor, which goes
  on with its loop when it gets an event for a descriptor that it does not know. The loop begins
  with what ``callFromThread()`` has entered. So a ring enters its call there and has the poll
  return. It is edge-triggered, for nobody reads it.
- On asyncio's, the event loop reads it, and calls us without Twisted.

Elsewhere it is ``callFromThread()``. A clean-reactor check comes across neither.

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
from typing import Any
from weakref import ref

from ._event_loops import loop_of
from ._reactors import Reactor

# On its way to the reactor thread, and cleared there. See _bridge.py.
Wakeup = list[None]

# Seconds. A few microseconds would do, but who knows when the system lets a thread run.
_RINGING_TAKES = 1.0

_NO_KEYWORDS: dict[str, object] = {}


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
        descriptor: what *ring*, and nobody else, goes on to use.
        take_down: has the poll forget it.
    """

    def __init__(
        self,
        ring: Callable[[Wakeup], object],
        descriptor: _Descriptor,
        take_down: Callable[[], object],
    ) -> None:
        self.ring = ring
        self._descriptor = descriptor
        self._take_down = take_down

    def close(self) -> None:
        """
        Take it down and close its descriptor, once no thread is ringing. Blocks for 1 s at most.

        Call it in the reactor thread or while the reactor does not run. The bridge has let go of
        ``ring`` before.
        """
        if "ring" in vars(self):
            self._take_down()
            ring = ref(self.ring)
            del self.ring, self._descriptor, self._take_down
            end = time.monotonic() + _RINGING_TAKES
            while ring() is not None and time.monotonic() < end:
                time.sleep(0.0001)

    def forget_after_fork(self) -> None:
        """
        Close the descriptor here and now, in a forked child.

        The threads that rang are the parent's, and so is the poll, which must not forget it.
        """
        if "ring" in vars(self):
            self._descriptor.close()


def hang_up(reactor: Reactor, answer: Callable[[Wakeup], object]) -> Bell | None:
    """
    Give the reactor a bell, in its thread or before it runs; None where there are none.

    Args:
        reactor: the reactor.
        answer: called in its thread for each ring, with what was rung with.

    Raises:
        OSError: there is no descriptor left.
    """
    if not hasattr(os, "eventfd"):
        return None
    poller: Any = getattr(reactor, "_poller", None)
    if isinstance(poller, select.epoll):
        return _hang_in_epoll(reactor, poller, answer)
    loop = loop_of(reactor)
    return _hang_in_loop(loop, answer) if loop is not None else None


def _eventfd() -> _Descriptor:
    return _Descriptor(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))


def _hang_in_epoll(reactor: Any, poller: select.epoll, answer: Callable[[Wakeup], object]) -> Bell:
    descriptor = _eventfd()
    fd = descriptor.fd
    poller.register(fd, select.EPOLLIN | select.EPOLLET)
    calls: list[object] = reactor.threadCallQueue
    write = os.eventfd_write

    def ring(wakeup: Wakeup) -> None:
        calls.append((answer, (wakeup,), _NO_KEYWORDS))
        write(descriptor.fd, 1)

    def take_down() -> None:
        with suppress(OSError, ValueError):  # closed already
            poller.unregister(fd)

    return Bell(ring, descriptor, take_down)


def _hang_in_loop(loop: Any, answer: Callable[[Wakeup], object]) -> Bell:
    descriptor = _eventfd()
    fd = descriptor.fd
    read, write = os.eventfd_read, os.eventfd_write
    rung: deque[Wakeup] = deque()

    def heed() -> None:
        with suppress(BlockingIOError):  # nobody rang
            read(fd)
        while rung:
            answer(rung.popleft())

    def ring(wakeup: Wakeup) -> None:
        rung.append(wakeup)
        write(descriptor.fd, 1)

    def take_down() -> None:
        if not loop.is_closed():
            loop.remove_reader(fd)

    # In a context of its own, or it would hold whatever the caller's holds.
    Context().run(loop.add_reader, fd, heed)
    return Bell(ring, descriptor, take_down)
