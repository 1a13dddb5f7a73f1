"""
What the reactor thread is at, and has been at: looked up once for all who ask in one moment.

When the reactor thread blocks, all who wait for it run out of time together. To look what it does
takes a time that grows with the number of threads, so that each of them looking would make the
outage worse by the square of that. The first to come looks, the others take what it has found:

1. Whoever finds nothing that is new enough makes a latch, and looks.
2. Others find the latch, and wait for it to open.

So nobody depends on the first. One that a signal's exception takes away on its way, or that a
fork leaves behind, has the others wait for 0.25 s; the next one makes a latch of its own.
(test_moments.py steps it.)

Threads: any may ask; spells are the watchdog's to note. Nothing here keeps a result or a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Generic, NamedTuple, Protocol, TypeVar

from .._core.call import Call
from .._errors import Place
from .._threads.primitives import Latch
from .frames import above_the_reactor, is_polling, stack_from, told, worth_telling

# Seconds that others wait for the first to have looked: it may lose the interpreter's lock
# meanwhile, to thousands that want it as well. While they wait here they do not.
_PATIENCE = 0.25

# How many spells are remembered.
_SPELLS = 100


class Sight(NamedTuple):
    """
    Where the reactor thread is.
    """

    stack: tuple[Place, ...]  # what the reactor has called, innermost first
    is_idle: bool
    where: str  # the same in a phrase
    body: Call | None = None  # the call in whose body it is

    @property
    def function(self) -> object:
        """
        Tell one function in which it is from another, but not one line of it from the next.
        """
        lines = worth_telling(self.stack)
        return (lines[0].function, lines[0].file) if lines else self.where


def see(frame: FrameType | None, body: Call | None) -> Sight:
    """
    Look where a thread is that runs the reactor. From any thread; blocks never.

    Args:
        frame: the thread's innermost, or None if it has ended.
        body: the call in whose body it is, if it is in one.
    """
    return sight_of(above_the_reactor(stack_from(frame)), body)


def sight_of(stack: tuple[Place, ...], body: Call | None) -> Sight:
    """
    Tell in a phrase where a thread is, and whether it has nothing to do.
    """
    where = told(stack)
    if not where and body is not None:
        where = f"{body.name}()"  # it is not written in Python, or has just begun
    elif not where:
        # No generator: to drop one half-way runs code, and Python lets no signal out of that.
        for place in stack:
            if not place.file.startswith("<"):
                where = str(place)
                break
    return Sight(stack, body is None and is_polling(stack), where, body)


class Spell(NamedTuple):
    """
    A time for which the reactor thread did not get out of one function.
    """

    since: float
    until: float
    function: object
    where: str
    stack: tuple[Place, ...]


class Timed(Protocol):
    """
    What was seen, and when.
    """

    @property
    def at(self) -> float: ...


T = TypeVar("T", bound=Timed)


class Moments(Generic[T]):
    """
    Keeps the last look at the reactor thread, and where it has been for long lately.
    """

    def __init__(self) -> None:
        self._last: T | None = None
        # Opens when whoever is looking has looked.
        self._latch: Latch | None = None
        self.spells: deque[Spell] = deque(maxlen=_SPELLS)  # the watchdog writes, others read

    def get(self, oldest: float, tolerable: float, look: Callable[[], T]) -> T:
        """
        Return what was seen at *oldest* or later, or look. Blocks for another's look, up to 0.25 s.

        Args:
            oldest: a moment of the clock that *look* goes by.
            tolerable: an earlier one, to which what was seen may go back while another looks.
            look: is called by several threads at once, but rarely.
        """
        latch = self._latch  # before what its owner writes
        last = self._last
        if last is None or last.at < (oldest if latch is None else tolerable):
            if latch is None:
                return self._look(look)
            latch.wait(_PATIENCE)
            last = self._last
            if last is None or last.at < tolerable:
                return self._look(look)
        return last

    def _look(self, look: Callable[[], T]) -> T:
        self._latch = latch = Latch()
        try:
            self._last = last = look()
        finally:
            if self._latch is latch:
                self._latch = None
            latch.open()
        return last

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
