"""
How threads whose answers came together are released: one after the other.

Only one thread at a time can have the GIL. If the reactor thread released all of them, each would
be given a processor, find the GIL taken and sleep again, which takes longer than its call. So it
releases the first, and each thread that comes through releases the next.

What must always hold:

1. ``line`` has the waiters whose turn has not come, ``turns`` those that were released and whose
   threads have not come through; mostly that is one. On its way from one to the other a waiter is
   in both, never in neither, so a look goes through ``line`` first.
2. While ``turns`` is not empty, a new call wakes no reactor; the last thread to come through does.
3. A thread that does not come, because it gave up, is in a signal handler or waits for the GIL,
   holds up the others for a moment. Then all are released, by the next thread that comes, by the
   reactor thread, or by the watchdog, if the reactor thread is blocked.

Threads: the reactor thread adds waiters, the threads that wait take them out, any may release them.
No locks, but deques: each of their operations is one step. (test_handoff.py steps each pair.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized

from . import clock
from .primitives import Waiter, discard, first_of

# How long it may take from when a waiter was released until its thread is here, in seconds.
MOMENT = 0.002


class Handoff:
    """
    Releases waiting threads, each of which releases the next.

    Args:
        calls: what is for the reactor thread, and may wait there for the last to come through.
        wake: wakes the reactor for them, unless that has been done. From any thread; blocks never.
    """

    __slots__ = (
        "_released",
        "_wake",
        "calls",
        "line",
        "schedule_check",
        "turns",
        "watchdog",
    )

    def __init__(self, calls: Sized, wake: Callable[[], object]) -> None:
        self.turns: deque[Waiter] = deque()
        self.line: deque[Waiter] = deque()
        self.calls: Sized = calls
        # No waiter is queued without the two that see to threads that do not come. Has check()
        # called in the reactor thread, a MOMENT later and until all is over. Written there.
        self.schedule_check: Callable[[], object] | None = None
        # Calls check() now and then, in a thread of its own. Written by itself.
        self.watchdog: object = None
        self._wake = wake
        # When a thread last came through, or else when none was in line.
        self._released = 0.0

    def begin(self) -> bool:
        """
        Tell whether waiters may be queued from now on. Reactor thread only.
        """
        schedule_check = self.schedule_check
        if schedule_check is None or self.watchdog is None:
            return False
        schedule_check()
        if not self.is_under_way():
            self._released = clock.monotonic()
        return True

    def is_under_way(self) -> bool:
        """
        Tell whether a thread whose answer is there has not come through.
        """
        return bool(self.line) or bool(self.turns)  # in the order in which a waiter moves

    def enqueue(self, waiter: Waiter) -> None:
        """
        Release a waiter when it is its turn. Reactor thread only; blocks never.
        """
        # 1. It is in line before this looks. A thread takes itself out of turns before it looks in
        # line. So one of the two finds it; if both do, both release one, which does no harm.
        self.line.append(waiter)
        if not self.turns:
            self._release_next()

    def wake_next(self, waiter: Waiter) -> None:
        """
        Release the next, in the thread that was to be released by *waiter*. Blocks never.
        """
        turns = self.turns
        # In the order in which a waiter moves, for it may do so meanwhile.
        if waiter not in turns and (discard(self.line, waiter) or waiter not in turns):
            return
        self._release_next()  # before this leaves turns, or a call would wake the reactor meanwhile
        discard(turns, waiter)
        if not turns:
            self._release_next()  # 2. one that enqueue() has left to this thread
        now = clock.monotonic()
        if now - self._released > MOMENT:
            self.release_all()
        self._released = now
        # After it has left turns. A call is entered before its thread looks at turns: one wakes.
        if not turns and self.calls:
            self._wake()

    def _release_next(self) -> None:
        # Several threads may be here at once. The one that takes a waiter out of line releases it.
        line, turns = self.line, self.turns
        while (waiter := first_of(line)) is not None:
            turns.append(waiter)  # before it leaves line: it is never in neither
            if discard(line, waiter):
                waiter.put(None)
                return
            discard(turns, waiter)  # another thread was faster

    def check(self, *, wakes: bool = True) -> None:
        """
        Release all if a thread has not come for a moment. From any thread; blocks never.

        Args:
            wakes: wake the reactor for calls, too, unless a thread that is to come does that.
        """
        # is_under_way(), without a call: the reactor thread looks as often as it comes to calls.
        if (self.line or self.turns) and clock.monotonic() - self._released > MOMENT:
            self.release_all()
        if wakes and not self.turns and self.calls:
            self._wake()

    def release_all(self) -> None:
        """
        Release all at once, and wake the reactor for calls. From any thread; blocks never.
        """
        # Until nothing is left: the reactor thread may add one, or a thread move one, meanwhile.
        while self.is_under_way():
            for waiters in (self.line, self.turns):
                while (waiter := first_of(waiters)) is not None:
                    # Before it is taken out: it may be released twice, but must not be forgotten.
                    waiter.put(None)
                    discard(waiters, waiter)
        if self.calls:
            self._wake()

    def after_fork_in_child(self, calls: Sized) -> None:
        """
        Begin anew in a forked child, with other calls: there are none of those threads.
        """
        for waiters in (self.line, self.turns):
            waiters.clear()
        self.calls = calls
        self.schedule_check = None
        self.watchdog = None
