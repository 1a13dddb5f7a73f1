"""
Around a fork: hooks that swallow no exception, and our threads held still meanwhile.

A child has what the other threads' memory was like at the moment of the fork, and not those
threads. If the reactor thread was in the middle of something, the child has that half done for
ever, and a lock that it held, held. So a fork waits until each of our threads is between two things
that it does, and each stays there until the fork is over: the reactor thread between two callbacks,
the log writer between two records. In the middle of one, that holds the lock of the stream that it
writes to, which ``logging`` does not know, and the child would hang as soon as it writes there.

Each fork has its own latches, so that several threads may fork at once, one after another, and a
fork in a signal handler that interrupts another is one more of them.

Threads: before(), after() and the hooks are the forking thread's; the others run ``_stay``.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Protocol

from .._threads.primitives import Latch

if TYPE_CHECKING:
    from .._core.bridge import CallFromThread

# Seconds that a fork waits for each thread, and that such a thread waits for the fork's end.
_PATIENCE = 0.5
_STAY = 5.0

Hook = Callable[[], object]


class AtFork(Protocol):
    """
    How hooks are had called around every fork, like ``os.register_at_fork``.
    """

    def __call__(self, *, before: Hook, after_in_parent: Hook, after_in_child: Hook) -> object: ...


# What a signal handler raised in a hook of ours, by the thread that forks.
_raised: dict[int, BaseException] = {}


def at_fork(*, before: Hook, after_in_parent: Hook, after_in_child: Hook) -> None:
    """
    Have hooks called around every fork, where there are such things.

    A hook may wait, and signal handlers run meanwhile. What these raise, Ctrl-C's KeyboardInterrupt
    above all, Python would print and drop, as it does with all that leaves such a hook. It is
    raised, in the parent, in the code that forks, as soon as that goes on.
    """

    def in_parent() -> None:
        _keep(after_in_parent)
        error = _raised.pop(get_ident(), None)
        if error is not None:
            forking = sys._getframe().f_back
            if forking is None:  # not by Python code
                raise error
            raise_in(forking, error)

    def in_child() -> None:
        _raised.clear()  # the signal was the parent's
        after_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: _keep(before), after_in_parent=in_parent, after_in_child=in_child
        )


def _keep(hook: Hook) -> None:
    try:
        hook()
    except BaseException as error:
        _raised.setdefault(get_ident(), error)


def raise_in(frame: FrameType, error: BaseException) -> None:
    """
    Have an exception raised in a function of this thread as soon as that goes on.

    By tracing it. To have it raised anywhere in this thread (PyThreadState_SetAsyncExc) would do
    that in a hook of somebody else's, and break that. A debugger, or what measures coverage, has
    lost this thread thereafter: Python ends all tracing with an exception.
    """
    errors, wants_opcodes = [error], frame.f_trace_opcodes

    def trace(frame: FrameType, event: str, argument: object) -> NoReturn:
        frame.f_trace_opcodes = wants_opcodes
        raise errors.pop()

    frame.f_trace = trace
    frame.f_trace_opcodes = True  # Python 3.12 looks for one before it traces them
    sys.settrace(lambda frame, event, argument: None)


class ForkPause:
    """
    Holds threads still while others fork.
    """

    def __init__(self) -> None:
        # What lets them go on, for each fork, by the ident of the thread that forks.
        self._exits: dict[int, list[list[Latch]]] = {}

    def before(self, *threads: CallFromThread) -> None:
        """
        Bring threads to a halt, in that order. Call it from any other; blocks for 0.5 s each.

        Args:
            threads: what has each of them call something.
        """
        exits: list[Latch] = []
        self._exits.setdefault(get_ident(), []).append(exits)
        for call_from_thread in threads:
            has_come, may_go = Latch(), Latch()
            exits.append(may_go)
            call_from_thread(_stay, has_come, may_go)
            # One that does not come in time may be blocked by what this thread holds. What a signal
            # handler raises here is kept by at_fork().
            has_come.wait(_PATIENCE)

    def after(self) -> None:
        """
        Let them go on, in the parent, from the thread that has forked. Blocks never.
        """
        exits = self._exits.get(get_ident())
        if exits:
            for may_go in exits.pop():
                may_go.open()
            if not exits:
                self._exits.pop(get_ident(), None)

    def after_fork_in_child(self) -> None:
        """
        Forget all of it.
        """
        self._exits.clear()


def _stay(has_come: Latch, may_go: Latch) -> None:
    has_come.open()
    may_go.wait(_STAY)  # not for ever, should nobody say that the fork is over
