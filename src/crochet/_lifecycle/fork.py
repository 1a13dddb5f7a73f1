"""
Holds our threads still while a thread forks: the log writer's, and the reactor's.

A child has what the other threads' memory was like at the moment of the fork, and not those
threads. If the reactor thread was in the middle of something, the child has it half done for
ever, a lock that it held, held. So a fork waits until the reactor thread is between two callbacks,
in a place of ours, and it stays there until the fork is over. Likewise the log writer, between two
records: in the middle of one it holds the lock of the stream that it writes to, which ``logging``
does not know, and the child would hang as soon as it writes there. The writer comes first, for a
handler may wait for the reactor, and not the other way round.

A thread that does not get there in time is not waited for any longer: it may be blocked by what
the forking thread holds. And it does not stay for ever, should the fork's end never be told. Each
fork has its own locks, so that several threads may fork at once, one after another, and a fork in
a signal handler that interrupts another is one more of them.

Threads: before() and after() are the forking thread's; the others run ``_stay``.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock, get_ident

from .._core.bridge import CallFromThread

# Seconds that a fork waits for each thread, and that such a thread waits for the fork's end.
_PATIENCE = 0.5
_STAY = 5.0


class Parking:
    """
    Where our threads stand while others fork.
    """

    def __init__(self) -> None:
        # What lets them go on, for each fork, by the ident of the thread that forks.
        self._exits: dict[int, list[list[LockType]]] = {}

    def before(self, *threads: CallFromThread) -> None:
        """
        Bring threads to a halt, in that order. Call it from any other; blocks for 0.5 s each.

        Args:
            threads: what has each of them call something.
        """
        ways_out: list[LockType] = []
        self._exits.setdefault(get_ident(), []).append(ways_out)
        for call_from_thread in threads:
            entrance, way_out = _locked(), _locked()
            ways_out.append(way_out)
            call_from_thread(_stay, entrance, way_out)
            entrance.acquire(
                True, _PATIENCE
            )  # what a signal handler raises here: see _threads/fork_mark.py

    def after(self) -> None:
        """
        Let them go on, in the parent, from the thread that has forked. Blocks never.
        """
        exits = self._exits.get(get_ident())
        if exits:
            for way_out in exits.pop():
                way_out.release()
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
