"""
What is to be done once an object is dropped: by a thread of ours, and not by its destructor.

An object is dropped anywhere, by a garbage collection, say, in the middle of code that holds a lock
which the work would wait for. And what a signal handler raises in a destructor, Python prints and
drops, be it Ctrl-C. What must always hold:

1. No Python code runs as an object is dropped. So no signal handler runs there, nor does another
   thread; see primitives.py.
2. What is to be done is done once, in the order in which the objects were dropped; at exit at the
   latest. In a forked child what was the parent's is left to the parent.

Threads: any may drop an object, and detach what it had. The work is the finalizer thread's, or the
exiting one's. It must do no harm if it is late: the rest of the program has gone on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TypeVar

from .threads import StartThread
from .worker import Worker

T = TypeVar("T")

Work = Callable[[], object]

# Takes what is to be done for an object that is dropped. A function of C, but in tests.
WhenDropped = Callable[[Work], object]


class Finalizer:
    """
    Calls a function of C when it is dropped, unless it was detached. What that is to be done for
    holds it, alone.

    Args:
        function: is called in any thread. Of the finalizer thread's, what takes work to be done.
        argument: of that. It must not hold what holds this.
    """

    __slots__ = ("__weakref__", "_call")

    def __init__(self, function: Callable[[T], object], argument: T) -> None:
        self._call: Callable[[], object] = partial(function, argument)

    # Python looks a destructor up, and calls it. To look up a property calls its getter, which is a
    # function of C here, and what that has found is called.
    __del__: property = property(attrgetter("_call"))

    def detach(self) -> None:
        """
        Have nothing called any more. From any thread.
        """
        self._call = int  # which is called with nothing, and does nothing


class FinalizerThread(Worker[Work]):
    """
    Does what is to be done, from start() to stop(). What comes later waits for the next start() or
    stop().
    """

    def __init__(self, start_thread: StartThread) -> None:
        super().__init__(start_thread, "crochet-finalizer", at_once, lingers=None)

    def begin(self) -> None:
        """
        Start the thread, unless there is one. Blocks until it runs.

        Raises:
            RuntimeError: no thread can be started. Nothing has changed.
        """
        if not self.has_thread:
            self.start()


def at_once(work: Work) -> None:
    """
    Do it.
    """
    work()
