"""
Rings in the reactor thread: the fast way to have it look at the bridge.

``reactor.callFromThread()`` goes through a list, a pipe and half a dozen of Twisted's functions,
some behind a deprecation proxy; that is most of what a short call costs. Where the system has
eventfd (Linux), a bell is one of those, read by the reactor like any other descriptor, and a
call takes four fifths of the time. Elsewhere, and should the reactor ever drop the bell, it is
``callFromThread()``.

The reactor is told that the reader is one of its own internals, as its waker is. So a clean-reactor
check (``reactor.removeAll()``) does not come across it, and no such check takes it away.

On asyncio's reactor the event loop has what a ring calls replaced: it calls the bell, and not the
reactor that calls the bell, with a log context about it and a watch for errors that is not needed.
That is over a quarter of what a short call costs there. The reactor still has the bell for its own.

A thread may be about to ring when the bell is closed, and must not find that the descriptor's
number has meanwhile been given to some file of the program's. So it rings through a file object,
which knows that it has been closed: the thread gets a ValueError. But the file object lets go of
the interpreter's lock between looking and writing, so whoever closes a bell first waits until
nobody is ringing it (``Bridge.wait_for_ringers()``).
"""

from __future__ import annotations

import os
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from io import FileIO
from typing import Any, cast

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import classImplements  # type: ignore[import-untyped]

from ._reactors import Reactor

# What an eventfd is written to add one to its count.
_ONE = (1).to_bytes(8, sys.byteorder)


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
        read = file.read
        self._on_lost = on_lost

        # No methods: these are called for every single call, and look nothing up on the way.
        def doRead() -> None:
            read(8)  # None if nobody rang
            answer()

        self.ring = partial(file.write, _ONE)
        self.doRead = doRead
        self.fileno: Callable[[], int] = lambda: fd
        self.close = file.close

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
    loop = cast("AbstractEventLoop | None", getattr(reactor, "_asyncioEventloop", None))
    if loop is not None:
        loop.add_reader(bell.fileno(), bell.doRead)
    return bell
