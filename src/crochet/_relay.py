"""
How threads whose answers came together are let through: one after the other.

Only one of them can have the interpreter's lock. Had the reactor thread opened all their gates,
each would be given a processor, find the lock taken, and be put to sleep once more, which takes
longer than its call. So it opens the first, and whoever has been let through opens the next.

The gates whose answers are there stand in ``turns``, until their waiters have come through:

1. The reactor thread appends a gate, then opens it if it is the first.
2. A waiter that was let through takes out its own, then opens what is the first now.

Verdict: each writes before it looks. A gate that the reactor thread found behind another is seen by
whoever takes that out; and if it was taken out in between, both open the same one, which does no
harm. So the first gate is open, or somebody is just about to open it. A waiter that has given up
does as in 2, and if its gate was not the first, what it opens is open.

While somebody is on the way, new calls wake no reactor; the last to come through does that, for all
of them. The same holds here: a call is entered, then ``turns`` is looked at; whoever takes out the
last looks for calls afterwards.

But who waits for other threads may wait for long, or for ever. One may be stopped by a signal
handler in the middle of 2, or give up just when its gate is put in line, and never come; and beside
a thread that computes each takes 5 ms to get the interpreter's lock. So a relay is a matter of
moments, one for each turn, and who finds that one took longer opens all gates. Three find it:
whoever comes late; the reactor thread, between two calls, and after its polls, which are no longer
than a moment while there are gates in ``turns``, or calls; and, should both be blocked, the watch,
within 0.1 s (_watch.py). And who leaves by an exception opens all gates, too. (test_relay.py does
one of these things in the middle of another, at each step of it.)

Threads: the reactor thread adds gates, the waiters take them out, any may open them. No locks, for
the same reasons as in _bridge.py: a deque whose every operation is one step of the interpreter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from time import monotonic

# How long it may take from when a gate was opened until its waiter is here, in seconds.
MOMENT = 0.002

# Opens a gate. One that is open already makes it a RuntimeError.
Opener = Callable[[], object]
# The gates whose answers are there, and whose waiters are not.
Turns = deque[Opener]


class Relay:
    """
    Lets waiting threads through, each of which lets the next through.

    Args:
        calls: what is for the reactor thread, and may wait there for the last to come through.
        wake: wakes the reactor for them, unless that has been done. From any thread; blocks never.
    """

    __slots__ = ("_opened", "_wake", "calls", "minder", "turns", "watcher")

    def __init__(self, calls: Sized, wake: Callable[[], object]) -> None:
        self.turns: Turns = deque()
        self.calls: Sized = calls
        # Nobody lines up without the two that see to those who do not come. Has mind() called in
        # the reactor thread, a MOMENT later and until all is over. Written there.
        self.minder: Callable[[], object] | None = None
        # Calls hurry() now and then, in a thread of its own. Written by itself.
        self.watcher: object = None
        self._wake = wake
        # When somebody last came through, or else when there was nobody in line.
        self._opened = 0.0

    def begin(self) -> Turns | None:
        """
        Return where gates are to be lined up; or None, if that cannot be. Reactor thread only.
        """
        minder = self.minder
        if minder is None or self.watcher is None:
            return None
        minder()
        if not self.turns:
            self._opened = monotonic()
        return self.turns

    def pass_on(self, opener: Opener) -> None:
        """
        Let the next through, in the thread that *opener* was for. Blocks never.
        """
        turns = self.turns
        if not remove(turns, opener):
            return  # it did not come in turn
        try:
            turns[0]()
        except (IndexError, RuntimeError) as error:  # there is none; or it is open
            if _is_a_handlers(error):
                raise
        now = monotonic()
        if now - self._opened > MOMENT:
            self.open_all()
        self._opened = now
        if not turns and self.calls:
            self._wake()

    def hurry(self) -> None:
        """
        Go on where somebody does not come. From any thread; blocks never.
        """
        if self.turns and monotonic() - self._opened > MOMENT:
            self.open_all()

    def mind(self, *, is_woken: bool = False) -> None:
        """
        The same, in the reactor thread; and go on with the calls, unless it *is_woken* for them.
        """
        self.hurry()
        if not is_woken and not self.turns and self.calls:
            self._wake()

    def open_all(self) -> None:
        """
        Let all through at once. From any thread; blocks never.
        """
        turns = self.turns
        while turns:
            # Opened before it is taken out, for it may be opened twice, but must not be forgotten.
            try:
                opener = turns[0]
            except IndexError:
                return
            try:
                opener()
            except RuntimeError as error:  # it is open
                if _is_a_handlers(error):
                    raise
            remove(turns, opener)

    def disown(self, calls: Sized) -> None:
        """
        Begin anew in a forked child, with other calls: there are none of those threads.
        """
        self.turns.clear()
        self.calls = calls
        self.minder = None
        self.watcher = None


def remove(openers: list[Opener] | Turns, opener: Opener) -> bool:
    """
    Take what is to be called out of those, if it is still there.
    """
    try:
        openers.remove(opener)
    except ValueError as error:
        if _is_a_handlers(error):
            raise
        return False
    return True


def _is_a_handlers(error: BaseException) -> bool:
    """
    Tell whether an exception comes out of a function that interrupted us, as a signal handler does,
    rather than out of a function of C that we called.
    """
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is not None
