"""
Rings in the reactor thread: the fast way to have it look at the bridge.

``reactor.callFromThread()`` goes through a list, a pipe and half a dozen of Twisted's functions,
some behind a deprecation proxy; that is most of what a short call costs. Where the system has
eventfd (Linux), a bell is one of those, read by the reactor like any other descriptor, and a
call takes four fifths of the time. Elsewhere, and should the reactor ever drop the bell, it is
``callFromThread()``.

The reactor is told that the reader is one of its own internals, as its waker is. So a clean-reactor
check (``reactor.removeAll()``) does not come across it, and no such check takes it away.

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
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from weakref import ref

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import classImplements  # type: ignore[import-untyped]

from ._reactors import Reactor

# Seconds. A few microseconds would do, but who knows when the system lets a thread run.
_RINGING_TAKES = 1.0


class _Descriptor:
    """
    A file descriptor that is closed with the last reference to this.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self, close: Callable[[int], object] = os.close) -> None:
        """
        Close it now, unless it has been.
        """
        try:
            fd = self._fd
            del self._fd
        except AttributeError:
            return
        close(fd)

    __del__ = close


class Bell:
    """
    A descriptor that any thread can ring, and what the reactor thread does then.

    Args:
        answer: called in the reactor thread, once for any number of rings since it was last.
        on_lost: called in the reactor thread, should the reactor have dropped the bell.

    Raises:
        OSError: there is no descriptor left.
    """

    def __init__(self, answer: Callable[[], object], on_lost: Callable[[], object]) -> None:
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        read = os.eventfd_read
        self._on_lost = on_lost

        # No methods: these are called for every single call, and look nothing up on the way.
        def doRead() -> None:
            try:
                read(fd)
            except BlockingIOError:
                pass  # nobody rang
            answer()

        self.ring = partial(os.eventfd_write, fd, 1)
        self._descriptor = vars(self.ring)["descriptor"] = _Descriptor(fd)
        self.doRead = doRead
        self.fileno = lambda: fd

    def logPrefix(self) -> str:
        """
        Return what Twisted's log is to say instead of a protocol's name: nothing.
        """
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """
        Take notice that the reactor reads this descriptor no more.
        """
        self._on_lost()

    def close(self) -> None:
        """
        Close the descriptor, once no thread is ringing. Blocks for 1 s at most.

        The bridge has let go of ``ring`` before.
        """
        if "ring" in vars(self):
            ring = ref(self.ring)
            del self.ring, self._descriptor
            end = time.monotonic() + _RINGING_TAKES
            while ring() is not None and time.monotonic() < end:
                time.sleep(0.0001)

    def forget_after_fork(self) -> None:
        """
        Close the descriptor here and now, in a forked child: the threads that rang were the
        parent's.
        """
        if "ring" in vars(self):
            self._descriptor.close()

    def take_down(self, reactor: Reactor) -> None:
        """
        Undo ``hang_up()``, before the reactor runs or anybody has rung.
        """
        cast("Any", reactor)._removeInternalReader(self)
        self.close()


classImplements(Bell, IReadDescriptor)


def hang_up(
    reactor: Reactor, answer: Callable[[], object], on_lost: Callable[[], object]
) -> Bell | None:
    """
    Give the reactor a bell, in its thread or before it runs; None where there are none.

    Raises:
        OSError: there is no descriptor left.
    """
    add_internal_reader = getattr(reactor, "_addInternalReader", None)
    if add_internal_reader is None or not hasattr(os, "eventfd"):
        return None
    bell = Bell(answer, on_lost)
    add_internal_reader(bell)
    return bell
