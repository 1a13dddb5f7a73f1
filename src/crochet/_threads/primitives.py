"""
How a thread blocks for an answer, and what it can be asked to do meanwhile.

A waiter is a locked raw lock of its own, its *gate*, which the answer opens. A gate that opens
although there is no answer means an errand: a function that somebody wants run in the waiting
thread, to end its wait by an exception, say. (A thread cannot be interrupted from outside while
it is blocked, and the answer must not be written by two.)

1. The sender appends the errand to the gate's list, then opens the gate.
2. The waiter, let through, looks for the answer, and finding none runs what is in the list.

Verdict: an errand whose gate was opened is seen, or the answer was there first and it is dropped
with the gate. Both may open the gate, and the second to do so finds it open: releasing a lock that
is not held is a RuntimeError, which says that the waiter is up already.

Whoever stops waiting without an answer drops the list, and the gate in a moment, and with that an
errand that comes later, or was just being appended. Its sender finds out by ``__del__``.

Threads: any may send. The lists are kept by gate, weakly: an errand for a wait that has ended, or
for another wait of the same thread, can reach nobody.
"""

from __future__ import annotations

import sys
from _thread import LockType
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from weakref import WeakKeyDictionary

Errand = Callable[[], object]

_ROOT = __name__.partition(".")[0] + "."

# What each waiter is to do. Single dict operations only.
_errands: WeakKeyDictionary[LockType, list[Errand]] = WeakKeyDictionary()


def send_errand(gate: LockType, errand: Errand) -> None:
    """
    Have *errand* called by the thread that waits at *gate*. From any thread; blocks never.

    What it raises ends the wait. A wait that has its answer runs no errands any more.
    """
    _errands.setdefault(gate, []).append(errand)
    with suppress(RuntimeError):  # open: the waiter is on its way
        gate.release()


def has_errands(gate: LockType) -> bool:
    """
    Tell whether the thread that waits at *gate* has something to do that it has not begun.
    """
    return bool(_errands.get(gate))


def drop_errands(gate: LockType) -> None:
    """
    Drop what the thread that waited at *gate*, and has given up, was still to do.
    """
    _errands.pop(gate, None)


def run_errands(gate: LockType) -> None:
    """
    Do what the thread that waits at *gate*, this one, has been asked to do.
    """
    errands = _errands.get(gate)
    while errands:
        errands.pop(0)()


def open_own_gates() -> None:
    """
    Let this thread through the gates at which it waits, should this be a signal handler meanwhile.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_ROOT):
            gate = frame.f_locals.get("gate")
            if isinstance(gate, LockType):
                with suppress(RuntimeError):  # open: it is on its way
                    gate.release()
        frame = frame.f_back
