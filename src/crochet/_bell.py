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
number has meanwhile been given to some file of the program's:

1. A thread that rings enters itself in a list, then writes through a file object.
2. That looks whether it has been closed, lets go of the interpreter's lock, and calls the kernel.
3. The one that closes the bell looks whether anybody is in the list; while so, it waits.

Verdict: a thread that 3 did not see had not come to 2, where it now gets a ValueError. One that it
saw is through in no time, or a signal's exception has left it in the list: after CLOSE_PATIENCE
the bell is closed all the same.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from io import FileIO
from typing import Any, cast

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import classImplements  # type: ignore[import-untyped]

from ._reactors import Reactor

# What an eventfd is written to add one to its count.
_ONE = (1).to_bytes(8, sys.byteorder)

# Seconds that closing waits for threads that are in the middle of ringing.
CLOSE_PATIENCE = 1.0


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
        file = FileIO(fd, "r+")
        read, write = file.read, file.write
        ringing: list[None] = []
        self._ringing = ringing
        self._file = file
        self._on_lost = on_lost

        # No methods: these are called for every single call, and look nothing up on the way.
        def doRead() -> None:
            read(8)  # None if nobody rang
            answer()

        def ring() -> None:
            ringing.append(None)
            try:
                write(_ONE)
            finally:
                ringing.pop()

        self.ring = ring
        self.doRead = doRead
        self.fileno = lambda: fd

    def close(self) -> None:
        """
        Give back the descriptor, once nobody is in the middle of ringing. Later rings raise
        ValueError.
        """
        deadline = time.monotonic() + CLOSE_PATIENCE
        while self._ringing and time.monotonic() < deadline:
            time.sleep(0.0001)
        self._file.close()

    def close_in_child(self) -> None:
        """
        Give it back in a forked child, which has none of the threads that may have been ringing.
        """
        self._ringing.clear()
        self._file.close()

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
