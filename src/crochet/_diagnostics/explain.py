"""
Why a call has not been answered: the cause, in a word and in a sentence.

``explain()`` is called by a thread that has waited in vain, before it cancels anything: afterwards
the operation waits on something else, or on nothing. It costs only those whose time is up. What it
tells of the reactor thread is shared by all whose time is up in the same moment (moments.py), and
so may be a twentieth of a second old, or a tenth of the wait; the rest is of this call.

The reactor thread goes on meanwhile, and nothing that is read here is guarded: an explanation may
be of a moment ago. It never raises.

How long the reactor thread has been busy, nobody has measured, for at rest nothing runs that could.
But it leaves traces:

1. A call that has started and whose body has returned nothing: it is in that body.
2. Otherwise, calls in the queue that are younger than ``last_drain``, which is when it last came to
   a call: it was woken for the oldest of them, and has been busy since then at least.
3. Calls in the queue that are older than that: it has been busy since then with something that
   came after that call.
4. What the watchdog has seen, ten times a second, of a callback that did not return.

Whether it is busy at all its stack tells. A thread that polls has nothing to do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import getDebugging

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Call
from .._core.progress import last_report
from .._errors import Place, Reason
from .._threads import clock
from .._threads.threads import frames_of_threads
from .deadlock import Blocked, blocked_in
from .frames import worth_telling
from .in_loop import warn_if_in_loop
from .moments import Moments, Sight, Spell, see
from .waits_on import awaits, is_unknown, told

T = TypeVar("T")

# The causes. Each has a page of its name in docs/explanation/timeouts/.
BUSY = "busy"
QUEUED = "queued"
WAITING = "waiting"
BLOCKED = "blocked"
NOT_RUNNING = "not-running"
STOPPED = "stopped"
CRASHED = "crashed"

# Seconds. A reactor thread that has been busy for longer is worth a word, whatever the cause.
_LONG = 1.0

# For how long those whose time is up share what was seen of the reactor thread: a part of the time
# that they have waited, in seconds at least and at most.
_SHARED, _SHARED_LEAST, _SHARED_MOST = 0.1, 0.001, 0.05
# The same while one of them looks.
_TOLERABLE = 0.2

# So many calls in the queue are looked at: each costs every call that times out with it.
_QUEUED_SEEN = 1000

# Seconds between two looks of the watchdog's, and some more.
_BETWEEN_LOOKS = 0.25


class Diagnosis:
    """
    Explains the calls of one bridge.

    Args:
        bridge: carries them.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.begin()

    def begin(self) -> None:
        """
        Forget what was seen of an earlier reactor.
        """
        # What the reactor thread is at, and has been at.
        self.moments: Moments[Any] = Moments()

    def note(self, since: float, until: float, sight: Sight) -> None:
        """
        Note that the reactor thread did not get out of one function for that long.
        """
        self.moments.note(since, until, sight)

    def warn_if_in_loop(self, name: str) -> None:
        """
        Warn of a wait in this thread that has lasted for 0.1 s, if its asyncio loop is running.
        """
        warn_if_in_loop(name)

    def explain(self, call: Call, since: float | None = None) -> Reason:
        """
        Tell why a call has not been answered. Never raises.

        Call it from any thread but the reactor's, before the call is cancelled. Blocks never.

        Args:
            call: has not been answered.
            since: when the wait began, if that was not when the call was made.
        """
        try:
            began = call.made if since is None else since
            bridge = self._bridge
            reason = _explained(bridge, call, self.moments, began)
            more = filter(None, (last_report(call.reported), bridge.stash.explain(call)))
            return reason._replace(text=" ".join((reason.text, *more)))
        except Exception:
            # The caller is about to raise an error of its own, which must not be replaced by one of
            # this module's. All that is lost is the cause.
            if call.started is not None:
                return Reason(WAITING, "It has started.")
            return Reason(QUEUED, "It has not started.")


def _explained(bridge: Bridge, call: Call, moments: Moments[Any], since: float) -> Reason:
    refusal = bridge.refusal
    if refusal is not None:
        if is_crash(refusal):
            return Reason(CRASHED, "The reactor has crashed.")
        return Reason(STOPPED, "The reactor has stopped, or is about to, and takes no more calls.")
    ident = bridge.reactor_thread
    if ident is None:
        return Reason(
            NOT_RUNNING,
            "The reactor is not running yet: after crochet.no_setup() the program itself has to "
            "call reactor.run().",
        )
    now = clock.monotonic()
    waited = now - since
    shared = min(max(waited * _SHARED, _SHARED_LEAST), _SHARED_MOST)
    moment: _Moment = moments.get(
        now - shared, now - waited * _TOLERABLE, lambda: _look(bridge, ident, moments)
    )
    sight, blocked, busy = moment.sight, moment.blocked, moment.busy
    is_long = busy is not None and busy.seconds >= waited / 2
    if blocked and (is_long or busy is None or moment.is_circle):
        so_long = "" if busy is None else f" It has been busy for {busy.length}."
        return Reason(BLOCKED, f"{blocked}{so_long}", sight.stack, awaits(call.running))
    if busy is not None and is_long:
        end = ": that is the function's own body, which blocks" if busy.body == id(call) else ""
        return Reason(BUSY, f"{busy.text}{end}.", sight.stack, awaits(call.running))
    before = _before(moments.spells.copy(), since, now)
    if before is not None:
        text = f"{before.text} {blocked}".rstrip()
        return Reason(BUSY, text, before.stack, awaits(call.running))
    started = call.started
    if started is None:
        return Reason(QUEUED, _queued(moment, call), sight.stack)
    chain = awaits(call.running)
    text = _started(call.made, max(started, call.made), now, chain)
    if busy is not None and busy.seconds >= _LONG:
        text = f"{text} {busy.text}."
    if is_unknown(chain) and not getDebugging():
        text = f"{text} CROCHET_DEBUG=1 tells where that Deferred was made."
    return Reason(WAITING, text, awaits=chain)


def is_crash(refusal: Callable[[str], object]) -> bool:
    """
    Tell whether calls are refused because the reactor has ended in another way than by a stop.
    """
    return refusal is _errors.crashed or getattr(refusal, "func", None) is _errors.ended_with


class _Busy(NamedTuple):
    seconds: float
    length: str
    text: str
    body: int | None  # the id of the call in whose body it is, which may have ended since


class _Moment:
    """
    What is seen of the reactor thread and its queue by all who look at the same moment.
    """

    def __init__(
        self, at: float, sight: Sight, blocked: Blocked | None, busy: _Busy | None, bridge: Bridge
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


def _look(bridge: Bridge, ident: int, moments: Moments[Any]) -> _Moment:
    frames = frames_of_threads()
    try:
        sight = see(frames.get(ident), bridge.body)
        now = clock.monotonic()
        blocked = None
        if not sight.is_idle:
            blocked = blocked_in(ident, bridge, frames)
    finally:
        frames.clear()  # this frame's own locals hold it
    busy = None if sight.is_idle else _busy(bridge, sight, now, moments)
    return _Moment(now, sight, blocked, busy, bridge)


def _busy(bridge: Bridge, sight: Sight, now: float, moments: Moments[Any]) -> _Busy | None:
    """
    Tell for how long the reactor thread has been busy, and with what, if that can be known.
    """
    last_drain, oldest = bridge.last_drain, bridge.oldest
    spell = moments.spells[-1] if moments.spells else None
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
        since = oldest
        at_least = "at least "
    else:
        since = last_drain
    if spell is not None and spell.since < since and sight.body is None:
        since, at_least = spell.since, ""
    length = f"{at_least}{seconds_told(now - since)}"
    where = f" in {sight.where}" if sight.where else ""
    text = f"The reactor thread has been busy for {length}{where}"
    return _Busy(now - since, length, text, None if sight.body is None else id(sight.body))


class _Before(NamedTuple):
    text: str
    stack: tuple[Place, ...]


def _before(spells: Iterable[Spell], made: float, now: float) -> _Before | None:
    """
    Tell what has kept the reactor thread for half of a wait or longer, though it is over.
    """
    seconds: defaultdict[object, float] = defaultdict(float)
    spells = [spell for spell in spells if spell.until > made]
    for spell in spells:
        seconds[spell.function] += spell.until - max(spell.since, made)
    for spell in spells:
        in_all = seconds[spell.function]
        if in_all >= (now - made) / 2:
            text = f"For {seconds_told(in_all)} of that the reactor thread was busy"
            return _Before(f"{text} in {spell.where}.", spell.stack)
    return None


def _queued(moment: _Moment, call: Call) -> str:
    ahead, may_be_more = moment.ahead(call)
    if not ahead:
        return "It has not started: the reactor thread has not come to it yet."
    calls = "1 call is" if ahead == 1 else f"{ahead} calls are"
    if may_be_more:
        calls = f"at least {calls}"
    text = f"It has not started: {calls} ahead of it in the queue"
    lines = worth_telling(moment.sight.stack)
    if lines:
        text = f"{text}, and the reactor thread is in {lines[0]}"
    return f"{text}."


def _started(made: float, started: float, now: float, chain: tuple[Place, ...]) -> str:
    text = f"It started {seconds_told(now - started)} ago"
    if started - made > now - started:
        text = f"{text}, having waited {seconds_told(started - made)} for the reactor thread"
    return f"{text}, and waits in {told(chain)}." if chain else f"{text}."


def copied(copy: Callable[[], Iterable[T]]) -> list[T]:
    """
    Return what is in a set or a queue now, while other threads change it.

    Args:
        copy: returns the whole or a part of it.
    """
    for _ in range(5):
        try:
            return list(copy())
        except RuntimeError:
            # A deque that another thread has changed: before CPython 3.12 a garbage collection may
            # come in the middle of a copy, and let other threads run.
            continue
    return []


def seconds_told(seconds: float) -> str:
    """
    Return a length of time as texts say it.
    """
    seconds = max(seconds, 0.0)
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"
