"""
How threads whose answers came together are let through: one after the other.

Only one of them can have the interpreter's lock. Had the reactor thread opened all their gates,
each would be given a processor, find the lock taken, and be put to sleep once more, which takes
longer than its call. So it opens the first, and whoever has been let through opens the next.

The gates whose answers are there stand in ``line``, but for those whose turn it is: these are in
``turns``, and open, until their waiters have come through. Mostly that is one.

1. The reactor thread puts a gate in line, and lets the next through if ``turns`` is empty.
2. A waiter whose turn it was lets the next through, takes its own gate out of ``turns``, and lets
   the next through if that is empty then.
3. Whoever lets the next through puts its gate into ``turns``, takes it out of its line, and opens
   it. If another thread has taken it out, it is taken back from ``turns``, and the next is tried.
4. Whoever opens all gates takes each out of where it stands, and looks at all places again.

Verdict: each writes before it looks. A gate that the reactor thread has left to somebody in
``turns`` is seen when that one's gate has been taken out of there. If both look, both find gates
to open, which does no harm. In 3 a gate is always in one place or the other, and whoever looks for
it in ``line`` first finds it. A waiter that has given up takes its own out of the line, or does
as in 2.

While it is somebody's turn, new calls wake no reactor; the last to come through does that, for all
of them. The same holds here: a call is entered, then ``turns`` is looked at; whoever takes out the
last looks for calls afterwards.

But who waits for other threads may wait for long, or for ever. One may be stopped by a signal
handler in the middle of 2, or give up just when its gate is put in line, and never come; beside a
thread that computes each takes 5 ms to get the interpreter's lock. So a relay is a matter of
moments, one for each turn, and who finds that one took longer opens all gates. Three find it:
whoever comes late; the reactor thread, between two calls, and after its polls, which are no longer
than a moment while a relay is under way, or there are calls; and, should both be blocked, the
watch, within 0.1 s (_diagnostics/watchdog.py). And who leaves by an exception opens all gates, too.
(test_relay.py does one of these things in the middle of another, at each step of it.)

Threads: the reactor thread adds gates, the waiters take them out, any may open them. No locks, for
the same reasons as in _core/bridge.py: deques whose every operation is one step of the interpreter.
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
    Lets waiting threads through, each of which lets the next through.

    Args:
        calls: what is for the reactor thread, and may wait there for the last to come through.
        wake: wakes the reactor for them, unless that has been done. From any thread; blocks never.
    """

    __slots__ = (
        "_released",
        "_wake",
        "calls",
        "line",
        "minder",
        "turns",
        "watchdog",
    )

    def __init__(self, calls: Sized, wake: Callable[[], object]) -> None:
        self.turns: deque[Waiter] = deque()
        self.line: deque[Waiter] = deque()
        self.calls: Sized = calls
        # Nobody lines up without the two that see to those who do not come. Has mind() called in
        # the reactor thread, a MOMENT later and until all is over. Written there.
        self.minder: Callable[[], object] | None = None
        # Calls mind() now and then, in a thread of its own. Written by itself.
        self.watchdog: object = None
        self._wake = wake
        # When somebody last came through, or else when there was nobody in line.
        self._released = 0.0

    def begin(self) -> bool:
        """
        Tell whether waiters may be queued from now on. Reactor thread only.
        """
        minder = self.minder
        if minder is None or self.watchdog is None:
            return False
        minder()
        if not self.is_under_way():
            self._released = clock.monotonic()
        return True

    def is_under_way(self) -> bool:
        """
        Tell whether somebody whose answer is there has not come through.
        """
        return bool(self.line) or bool(self.turns)  # in the order in which a gate moves

    def enqueue(self, waiter: Waiter) -> None:
        """
        Let a waiter through when it is its turn. Reactor thread only; blocks never.

        Args:
            waiter: opens its gate.
        """
        self.line.append(waiter)
        if not self.turns:
            self._release_next()

    def wake_next(self, waiter: Waiter) -> None:
        """
        Let the next through, in the thread that *waiter* was for. Blocks never.
        """
        turns = self.turns
        # In the order in which a gate moves, for it may do so meanwhile.
        if waiter not in turns and (discard(self.line, waiter) or waiter not in turns):
            return
        self._release_next()
        discard(turns, waiter)
        if not turns:
            self._release_next()
        now = clock.monotonic()
        if now - self._released > MOMENT:
            self.release_all()
        self._released = now
        if not turns and self.calls:
            self._wake()

    def _release_next(self) -> None:
        line, turns = self.line, self.turns
        while (waiter := first_of(line)) is not None:
            turns.append(waiter)
            if discard(line, waiter):
                waiter.put(None)
                return
            discard(turns, waiter)  # another thread was faster

    def check(self, *, wakes: bool = True) -> None:
        """
        Go on where a thread does not come. From any thread; blocks never.

        Args:
            wakes: wake the reactor for calls, too, unless a thread that is to come does that.
        """
        if self.is_under_way() and clock.monotonic() - self._released > MOMENT:
            self.release_all()
        if wakes and not self.turns and self.calls:
            self._wake()

    def release_all(self) -> None:
        """
        Let all through at once, and wake the reactor for calls. From any thread; blocks never.
        """
        while self.is_under_way():
            for waiters in (self.line, self.turns):
                while (waiter := first_of(waiters)) is not None:
                    # Before it is taken out: it may be opened twice, but must not be forgotten.
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
        self.minder = None
        self.watchdog = None
