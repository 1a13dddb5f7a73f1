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
from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

from .clock import monotonic

# How long it may take from when a gate was opened until its waiter is here, in seconds.
MOMENT = 0.002

T = TypeVar("T")

# Opens a gate. One that is open already makes it a RuntimeError.
Opener = Callable[[], object]
Gates = deque[Opener]


class Relay:
    """
    Lets waiting threads through, each of which lets the next through.

    Args:
        calls: what is for the reactor thread, and may wait there for the last to come through.
        wake: wakes the reactor for them, unless that has been done. From any thread; blocks never.
    """

    __slots__ = (
        "_opened",
        "_wake",
        "calls",
        "line",
        "minder",
        "turns",
        "watcher",
    )

    def __init__(self, calls: Sized, wake: Callable[[], object]) -> None:
        self.turns: Gates = deque()
        self.line: Gates = deque()
        self.calls: Sized = calls
        # Nobody lines up without the two that see to those who do not come. Has mind() called in
        # the reactor thread, a MOMENT later and until all is over. Written there.
        self.minder: Callable[[], object] | None = None
        # Calls mind() now and then, in a thread of its own. Written by itself.
        self.watcher: object = None
        self._wake = wake
        # When somebody last came through, or else when there was nobody in line.
        self._opened = 0.0

    def begin(self) -> bool:
        """
        Tell whether gates may be lined up from now on. Reactor thread only.
        """
        minder = self.minder
        if minder is None or self.watcher is None:
            return False
        minder()
        if not self.is_under_way():
            self._opened = monotonic()
        return True

    def is_under_way(self) -> bool:
        """
        Tell whether somebody whose answer is there has not come through.
        """
        return bool(self.line) or bool(self.turns)  # in the order in which a gate moves

    def line_up(self, opener: Opener) -> None:
        """
        Let a waiter through when it is its turn. Reactor thread only; blocks never.

        Args:
            opener: opens its gate.
        """
        self.line.append(opener)
        if not self.turns:
            self._let_next()

    def pass_on(self, opener: Opener) -> None:
        """
        Let the next through, in the thread that *opener* was for. Blocks never.
        """
        turns = self.turns
        # In the order in which a gate moves, for it may do so meanwhile.
        if opener not in turns and (remove(self.line, opener) or opener not in turns):
            return
        self._let_next()
        remove(turns, opener)
        if not turns:
            self._let_next()
        now = monotonic()
        if now - self._opened > MOMENT:
            self.open_all()
        self._opened = now
        if not turns and self.calls:
            self._wake()

    def _let_next(self) -> None:
        line, turns = self.line, self.turns
        while (opener := _first(line)) is not None:
            turns.append(opener)
            if remove(line, opener):
                open_gate(opener)
                return
            remove(turns, opener)  # another thread was faster

    def hurry(self) -> None:
        """
        Go on where somebody does not come. From any thread; blocks never.
        """
        if self.is_under_way() and monotonic() - self._opened > MOMENT:
            self.open_all()

    def mind(self, *, is_woken: bool = False) -> None:
        """
        The same; and have the reactor go on with the calls, unless it *is_woken* for them.
        """
        self.hurry()
        if not is_woken and not self.turns and self.calls:
            self._wake()

    def open_all(self) -> None:
        """
        Let all through at once, and wake the reactor for calls. From any thread; blocks never.
        """
        while self.is_under_way():
            for gates in (self.line, self.turns):
                while (opener := _first(gates)) is not None:
                    # Before it is taken out: it may be opened twice, but must not be forgotten.
                    open_gate(opener)
                    remove(gates, opener)
        if self.calls:
            self._wake()

    def disown(self, calls: Sized) -> None:
        """
        Begin anew in a forked child, with other calls: there are none of those threads.
        """
        for gates in (self.line, self.turns):
            gates.clear()
        self.calls = calls
        self.minder = None
        self.watcher = None


def _first(gates: Gates) -> Opener | None:
    try:
        return gates[0]
    except IndexError as error:
        if is_a_handlers(error):
            raise
        return None


def open_gate(opener: Opener) -> None:
    """
    Open a gate, unless it is open: for an errand (see primitives.py), or by another thread.
    """
    try:
        opener()
    except RuntimeError as error:
        if is_a_handlers(error):
            raise


def remove(items: list[T] | deque[T], item: T) -> bool:
    """
    Take something out, if it is still there.
    """
    try:
        items.remove(item)
    except ValueError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def took(entries: dict[T, None], entry: T) -> bool:
    """
    Take something out, and tell whether it was still there.
    """
    try:
        del entries[entry]
    except KeyError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def entries(of: Iterable[T]) -> list[T]:
    """
    Return what is there now, in its order, while others change it.
    """
    while True:
        try:
            return list(of)
        except RuntimeError as error:
            # A garbage collection came in between, and with it somebody who has changed it.
            if is_a_handlers(error):
                raise


def is_a_handlers(error: BaseException) -> bool:
    """
    Tell whether an exception comes out of a function that interrupted us, as a signal handler does,
    rather than out of a function of C that we called.
    """
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is not None
