"""
Holds the reactor thread still while a thread forks.

A child has what the other threads' memory was like at the moment of the fork, and not those
threads. If the reactor thread was in the middle of something, the child has it half done for
ever, a lock that it held, held. So a fork waits until the reactor thread is between two callbacks,
in a place of ours, and it stays there until the fork is over.

A reactor thread that does not get there in time is not waited for any longer: it may be blocked
by what the forking thread holds. And it does not stay for ever, should the fork's end never be
told. Each fork has its own pair of locks, so that several threads may fork at once, one after
another, and a fork in a signal handler that interrupts another is one more of them.

Threads: before() and after() are the forking thread's; the reactor thread runs ``_stay``.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock, get_ident

from ._bridge import CallFromThread

# Seconds that a fork waits for the reactor thread, and that this waits for the fork's end.
_PATIENCE = 0.5
_STAY = 5.0


class Parking:
    """
    Where the reactor thread stands while other threads fork.
    """

    def __init__(self) -> None:
        # What lets the reactor thread go on, by the ident of the thread that forks.
        self._exits: dict[int, list[LockType]] = {}

    def before(self, call_from_thread: CallFromThread) -> None:
        """
        Bring the reactor thread to a halt. Call it from any other; blocks for 0.5 s at most.
        """
        entrance, way_out = _locked(), _locked()
        self._exits.setdefault(get_ident(), []).append(way_out)
        call_from_thread(_stay, entrance, way_out)
        entrance.acquire(True, _PATIENCE)

    def after(self) -> None:
        """
        Let it go on, in the parent, from the thread that has forked. Blocks never.
        """
        exits = self._exits.get(get_ident())
        if exits:
            exits.pop().release()
            if not exits:
                self._exits.pop(get_ident(), None)

    def clear(self) -> None:
        """
        Forget all of it, in a child.
        """
        self._exits.clear()


def _stay(entrance: LockType, way_out: LockType) -> None:
    entrance.release()
    way_out.acquire(True, _STAY)


def _locked() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock
