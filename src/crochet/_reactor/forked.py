"""
Reactors in a forked child: what is the parent's is dropped, and what is to run there made its own.

The reactor object is the child's own, and its poller and waker are shared with the parent's: what
is registered or taken away there is so in the parent, too.

A child has such a reactor without hooks of ours having told it so: importing us adds none, so that
a process which was forked between the import and ``setup()`` finds out by its number.

Threads: a forked child's only thread, and then the one that holds the lifecycle's setup lock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn, cast

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from .asyncio_loop import LoopFactory
from .reactor import Reactor, imported_reactor
from .restart import close_waker, initialize, make_runnable, release

# Event loops inherited from a parent: to collect one would close it.
_not_to_be_closed: list[object] = []


def release_in_child(reactor: Any) -> None:
    """
    Close the reactor's poller and waker in a forked child, where they are the parent's, too.

    To close them there takes nothing from the parent. To unregister anything would, for the two
    processes share one epoll; so an asyncio loop is not closed but gutted.
    """
    reactor.running = False  # what runs it is in the parent
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        release(reactor)
        return
    reactor._startedBefore = True
    close_waker(reactor)
    reactor._asyncioEventloop = None
    if loop.is_closed():
        return
    selector = getattr(loop, "_selector", None)
    if selector is None:
        _not_to_be_closed.append(loop)  # uvloop's: nobody knows how to close half of one
        with suppress(RuntimeError):
            loop.stop()  # for a clone of the reactor thread, see stop_inherited_loop()
        return
    loop._ready.clear()  # for a clone of the reactor thread, see stop_inherited_loop()
    loop.stop()
    selector.close()
    for end in (loop._ssock, loop._csock):
        if end is not None:  # else another thread of the parent was closing the loop
            end.close()
    loop._closed = True


# What programs may have told a reactor before it runs.
_ORDERS = "_eventTriggers", "threadpool", "_pendingTimedCalls", "_newTimedCalls"


def make_own(reactor: Any, loop_factory: LoopFactory | None = None) -> None:
    """
    Give a reactor that does not run a poller and a waker of this process's own, in a forked child.

    It has those that it had when it was imported, perhaps in the parent: two processes that share
    them wake each other, and neither knows. What it has been told to do it keeps, unless it was to
    read or write something; then it is left as it is.
    """
    if reactor.running:
        return
    orders = {}
    if not getattr(reactor, "_startedBefore", True) and not getattr(reactor, "_started", True):
        internal = cast("set[object]", getattr(reactor, "_internalReaders", set[object]()))
        if {*reactor.getReaders(), *reactor.getWriters()} - internal:
            return
        orders = {name: getattr(reactor, name) for name in _ORDERS if hasattr(reactor, name)}
    release_in_child(reactor)
    initialize(reactor, loop_factory)
    vars(reactor).update(orders)
    if orders and hasattr(reactor, "_reschedule"):
        reactor._reschedule()  # the timers that it keeps are those of another event loop


def release_signals_in_child(reactor: Any) -> None:
    """
    Have this forked child's SIGCHLD no longer wake the parent's reactor, whose pipe it shares.
    """
    handling = cast("object", vars(reactor).pop("_signals", None))
    for part in cast("Iterable[Any]", getattr(handling, "_signalHandlings", ())):
        waker = getattr(part, "_childWaker", None)
        if waker is not None:
            waker.uninstall()
            waker.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]


# Where reactors keep what the loop is yet to do in its present turn.
_WORK = (
    "threadCallQueue",
    "_pendingTimedCalls",
    "_newTimedCalls",
    "_selectables",
    "_reads",
    "_writes",
)


def stop_inherited_loop(reactor: Any) -> None:
    """
    Keep a child that was forked in the reactor thread from going on as the parent's reactor.

    Its only thread is a clone of the reactor's, in the middle of a callback. Should it return from
    that, or raise SystemExit (which Twisted logs and drops), it would read from the parent's
    connections, and wait for their events. So it finds nothing left to do, and ends; see
    ``end_clone()``. This holds also if another thread of the child has revived the reactor.
    """
    for name in _WORK:
        work = cast("set[object]", getattr(reactor, name, set[object]()))
        work.clear()
    clone = threading.get_ident()
    iterate = cast("Callable[[object, float | None], object]", type(reactor).doIteration)

    def do_iteration(delay: float | None) -> None:
        if threading.get_ident() == clone:
            end_clone()
        iterate(reactor, delay)

    reactor.doIteration = do_iteration


def end_clone() -> NoReturn:
    """
    End a forked child whose only thread has come back from where it was forked.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # None, or closed by a program that became a daemon
            stream.flush()
    os._exit(0)


class InheritedReactor:
    """
    What there is of the kind in this process: at most one reactor.
    """

    def __init__(self) -> None:
        # In a forked child: a reactor that has never run here, and shares its poller and waker
        # with the parent's.
        self.reactor: Reactor | None = None

    def find(self) -> None:
        """
        Take the reactor that is imported for the parent's, unless it runs.
        """
        reactor = imported_reactor()
        if reactor is not None and not getattr(reactor, "running", True):  # half imported
            self.reactor = reactor

    def release(self) -> None:
        """
        Close what is shared, in a child whose parent was in the middle of ``setup()``.
        """
        if self.reactor is not None:
            # Another thread was about to revive it, and may have done half of that.
            release_in_child(self.reactor)

    def make_runnable(self, reactor: Reactor, loop_factory: LoopFactory | None) -> None:
        """
        Make a reactor ready to run in this process, whosever it was.
        """
        if reactor is self.reactor:
            make_own(reactor, loop_factory)
        make_runnable(reactor, loop_factory)
        self.reactor = None
