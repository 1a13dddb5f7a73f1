"""
What the reactor thread is at, and has been at: looked up once for all who ask in one moment.

When the reactor thread blocks, all who wait for it run out of time together. To look what it does
takes a time that grows with the number of threads, so that each of them looking would make the
outage worse by the square of that. The first to come looks, the others take what it has found.

Nobody depends on the first: one that a signal's exception takes away on its way, or that a fork
leaves behind, has the others wait for 0.25 s; the next one makes a latch of its own.
(test_moments.py steps it.)

Threads: any may ask; spells are the watchdog's to note. Nothing here keeps a result or a frame.
"""

from __future__ import annotations

from collections import defaultdict, deque
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

from .._core.bridge import Bridge
from .._core.call import Call
from .._core.decorators import name_of_function
from .._errors import Place
from .._threads import clock
from .._threads.primitives import Latch, entries_of
from .._threads.threads import frames_of_threads
from .deadlock import Blocked, blocked_in
from .frames import above_the_reactor, is_polling, told, worth_telling

# Seconds that others wait for the first to have looked: it may lose the interpreter's lock
# meanwhile, to thousands that want it as well. While they wait here they do not.
_PATIENCE = 0.25

# How many spells are remembered.
_SPELLS = 100

# Seconds between two looks of the watchdog's, and some more.
_BETWEEN_LOOKS = 0.25

# So many calls in the queue are looked at: each costs every call that times out with it.
_QUEUED_SEEN = 1000


class Sight(NamedTuple):
    """
    Where the reactor thread is.
    """

    stack: tuple[Place, ...]  # what the reactor has called, innermost first
    is_idle: bool
    where: str = ""  # the same in a phrase, if it is not idle
    body: Call | None = None  # the call in whose body it is

    @property
    def function(self) -> object:
        """
        Tell one function in which it is from another, but not one line of it from the next.
        """
        lines = worth_telling(self.stack)
        return (lines[0].function, lines[0].file) if lines else self.where


def look_at(frame: FrameType | None, bridge: Bridge) -> Sight:
    """
    Tell where the reactor thread is.

    Args:
        frame: its innermost, that has just been looked up.
        bridge: knows what it has called itself.
    """
    called = ""
    posted: Any = bridge.posted  # first, for the thread goes on
    while isinstance(posted, partial):
        posted = posted.func
    if posted is not None and not hasattr(posted, "__code__"):
        called = f"{name_of_function(posted)}()"
    return sight_of(above_the_reactor(frame), bridge.body, called)


def sight_of(stack: tuple[Place, ...], body: Call | None, called: str = "") -> Sight:
    """
    Tell in a phrase where the reactor thread is, unless it has nothing to do.

    Args:
        stack: what the reactor has called, see ``above_the_reactor()``.
        body: the call in whose body it is, if it is in one.
        called: a phrase for what is not Python code, if it is in such.
    """
    if body is None and is_polling(stack):
        return Sight(stack, not called, called)
    where = told(stack)
    if not where and body is not None:
        where = f"{body.name}()"  # it is not written in Python, or has just begun
    elif not where:
        # No generator: to drop one half-way runs code, and Python lets no signal out of that.
        for place in stack:
            if not place.file.startswith("<"):
                where = str(place)
                break
    return Sight(stack, False, where, body)


class Spell(NamedTuple):
    """
    A time for which the reactor thread did not get out of one function.
    """

    since: float
    until: float
    function: object
    where: str
    stack: tuple[Place, ...]


class Busy(NamedTuple):
    """
    How long the reactor thread has been busy.
    """

    seconds: float
    length: str
    text: str
    body: int | None  # the id of the call in whose body it is, which may have ended since


class Moment:
    """
    What is seen of the reactor thread and its queue by all who look at the same moment.
    """

    def __init__(
        self, at: float, sight: Sight, blocked: Blocked | None, busy: Busy | None, bridge: Bridge
    ) -> None:
        self.at = at
        self.sight = sight._replace(body=None)  # no result is kept
        self.blocked = "" if blocked is None else blocked.text
        self.is_circle = blocked is not None and bool(blocked.waits)
        self.busy = busy
        self._bridge = bridge
        self._ahead: tuple[float, dict[int, int], int, bool] | None = None

    def ahead(self, call: Call) -> tuple[int, bool]:
        """
        Return how many calls are ahead of one in the queue, and whether there may be more.

        Those that were withdrawn do not count. Of a call far behind no more is known than that.
        """
        if self._ahead is None:
            ahead: dict[int, int] = {}
            counted = 0
            calls, is_longer = self._bridge.first_queued(_QUEUED_SEEN)
            for one in calls:
                ahead[id(one)] = counted
                counted += one.is_queued
            self._ahead = clock.monotonic(), ahead, counted, is_longer
        at, ahead, counted, is_longer = self._ahead
        # An id is that of another call, if this one has come since. It is behind all the others.
        number = ahead.get(id(call)) if call.made <= at else None
        if number is not None:
            return number, False
        # One that is not there, though all of them were looked at, has just been taken out.
        return (counted, is_longer) if is_longer or call.made > at else (0, False)


class Moments:
    """
    Keeps the last look at the reactor thread, and where it has been for long lately.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._last: Moment | None = None
        # Opens when whoever is looking has looked.
        self._latch: Latch | None = None
        self.spells: deque[Spell] = deque(maxlen=_SPELLS)  # the watchdog writes, others read

    def get(self, oldest: float, tolerable: float) -> Moment:
        """
        Return what was seen at *oldest* or later, or look. Blocks for another's look, up to 0.25 s.

        Args:
            oldest: a moment of the monotonic clock.
            tolerable: an earlier one, to which what was seen may go back while another looks.
        """
        latch = self._latch  # before what its owner writes
        last = self._last
        if last is not None and last.at >= (oldest if latch is None else tolerable):
            return last
        if latch is not None:
            # 1. Another has made it, and looks. 2. It opens when what was seen can be read.
            latch.wait(_PATIENCE)
            last = self._last
            if last is not None and last.at >= tolerable:
                return last
        # By several threads at once, but rarely.
        self._latch = latch = Latch()
        try:
            self._last = last = self.look()
        finally:
            if self._latch is latch:
                self._latch = None
            latch.open()
        return last

    def look(self) -> Moment:
        """
        Look at the reactor thread, and at all others if it is busy.
        """
        bridge = self._bridge
        ident = bridge.reactor_thread or 0
        frames = frames_of_threads()
        try:
            sight = look_at(frames.get(ident), bridge)
            now = clock.monotonic()
            blocked = None if sight.is_idle else blocked_in(ident, bridge, frames)
        finally:
            frames.clear()  # this frame's own locals hold it
        busy = None if sight.is_idle else self._busy(sight, now)
        return Moment(now, sight, blocked, busy, bridge)

    def _busy(self, sight: Sight, now: float) -> Busy | None:
        """
        Tell for how long the reactor thread has been busy, and with what, if that can be known.

        Nobody has measured it, for at rest nothing runs that could. But there are traces.
        """
        bridge = self._bridge
        # When it last came to a call, and when what is first in the queue was put there.
        last_drain, oldest = bridge.last_drain, bridge.oldest
        # What the watchdog has seen, ten times a second, of a callback that did not return.
        spell = self.spells[-1] if self.spells else None
        if spell is not None and (
            now - spell.until > _BETWEEN_LOOKS or spell.function != sight.function
        ):
            spell = None
        at_least = ""
        if sight.body is not None and sight.body.started is not None:
            since = sight.body.started
        elif oldest is None:
            if spell is None:
                return None
            since = spell.since
        elif oldest > last_drain:
            since = oldest  # it was woken for that, and has been busy since then at least
            at_least = "at least "
        else:
            since = last_drain  # with something that came after that call
        if spell is not None and spell.since < since and sight.body is None:
            since, at_least = spell.since, ""
        length = f"{at_least}{seconds_told(now - since)}"
        where = f" in {sight.where}" if sight.where else ""
        text = f"The reactor thread has been busy for {length}{where}"
        return Busy(now - since, length, text, None if sight.body is None else id(sight.body))

    def busiest(self, since: float) -> tuple[Spell | None, float]:
        """
        Return the function that has kept the reactor thread for longest since a moment, as it was
        first seen, and for how many seconds.
        """
        seconds: defaultdict[object, float] = defaultdict(float)
        spells = [spell for spell in entries_of(self.spells) if spell.until > since]
        for spell in spells:
            seconds[spell.function] += spell.until - max(spell.since, since)
        first = max(spells, key=lambda spell: seconds[spell.function], default=None)
        return first, 0.0 if first is None else seconds[first.function]

    def note(self, since: float, at: float, sight: Sight) -> None:
        """
        Note that the reactor thread does not get out of a callback. The watchdog's only.

        Args:
            since: when it was last seen between two callbacks.
            at: now.
            sight: where it is.
        """
        if sight.body is not None and sight.body.started is not None:
            # The calls before it, in the same turn, may have been of the same function.
            since = max(since, sight.body.started)
        function = sight.function
        last = self.spells[-1] if self.spells else None
        if last is not None and last.until > since:
            # In the same turn as when it was last looked at.
            if last.function == function:
                self.spells[-1] = last._replace(until=at)
                return
            since = last.until
        self.spells.append(Spell(since, at, function, sight.where, sight.stack))


def seconds_told(seconds: float) -> str:
    """
    Return a length of time as texts say it.
    """
    seconds = max(seconds, 0.0)
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"
