"""
Why a call has not been answered: the cause, in a word and in a sentence.

``explain()`` is called by a thread that has waited in vain, before it cancels anything: afterwards
the operation waits on something else, or on nothing. It costs only those whose time is up.

The reactor thread goes on meanwhile, and none of what is read here is guarded. So an explanation
may be of a moment ago, which is what it is about anyway; it never raises.

How long the reactor thread has been busy, nobody has measured, for at rest nothing runs that could.
But it leaves traces:

1. A call that has started and whose body has returned nothing: it is in that body.
2. Otherwise, calls in the queue that are younger than ``looked_at``, which is when it last came to
   a call: it was woken for the oldest of them, and has been busy since then at least.
3. Calls in the queue that are older than that: it has been busy since then with something that
   came after that call.

Whether it is busy at all its stack tells. A thread that polls has nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from . import _errors
from ._awaits import awaits, told
from ._clock import monotonic
from ._errors import Reason
from ._places import Place, above_the_reactor, is_of_the_program, is_polling, stack_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# The causes. Each has a page of its name in docs/explanation/timeouts/.
BUSY = "busy"
QUEUED = "queued"
WAITING = "waiting"
BLOCKED = "blocked"
NOT_RUNNING = "not-running"
STOPPED = "stopped"
CRASHED = "crashed"

# How many frames of the program's a text names.
_FRAMES_TOLD = 3

# Seconds. A reactor thread that has been busy for longer is worth a word, whatever the cause.
_LONG = 1.0


class Call(Protocol):
    """
    What is read of an EventualResult.
    """

    _name: str
    _made: float
    _started: float

    @property
    def _running(self) -> object: ...


class Copied(Protocol[T_co]):
    """
    A set or a deque.
    """

    def copy(self) -> Iterable[T_co]: ...


class Carrier(Protocol):
    """
    What is read of a bridge.
    """

    reactor_thread: int | None
    looked_at: float

    @property
    def refusal(self) -> Callable[[str], object] | None: ...
    @property
    def in_flight(self) -> Iterable[Call]: ...
    @property
    def queued(self) -> Iterable[Call]: ...


class Blocked(Protocol):
    """
    What the reactor thread is blocked in, if that waits, in turn, for those who wait for it.
    """

    @property
    def text(self) -> str: ...


Bridged = TypeVar("Bridged", bound=Carrier)


def explain(
    bridge: Bridged,
    call: Call,
    blocked_in: Callable[[int, Bridged], Blocked | None] | None = None,
) -> Reason:
    """
    Tell why a call has not been answered. Never raises.

    Call it from any thread but the reactor's, before the call is cancelled. Blocks never.

    Args:
        bridge: carries the call.
        call: has not been answered.
        blocked_in: looks whether the reactor thread, given its ident, waits for those who wait
            for it.
    """
    try:
        return _explained(bridge, call, blocked_in)
    except Exception:
        # The caller is about to raise an error of its own, which must not be replaced by one of
        # this module's. All that is lost is the cause.
        if hasattr(call, "_started"):
            return Reason(WAITING, "It has started.")
        return Reason(QUEUED, "It has not started.")


def _explained(
    bridge: Bridged, call: Call, blocked_in: Callable[[int, Bridged], Blocked | None] | None
) -> Reason:
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
    stack = above_the_reactor(stack_of(ident))
    is_idle = is_polling(stack)
    blocked = None if is_idle or blocked_in is None else blocked_in(ident, bridge)
    now = monotonic()
    busy = None if is_idle else _busy(bridge, call, now, stack)
    if blocked is not None:
        so_long = "" if busy is None else f" It has been busy for {busy.length}."
        return Reason(BLOCKED, f"{blocked.text}{so_long}", stack, awaits(call._running))
    if busy is not None and busy.seconds >= (now - call._made) / 2:
        return Reason(BUSY, busy.text, stack, awaits(call._running))
    started = getattr(call, "_started", None)
    if started is None:
        return Reason(QUEUED, _queued(bridge, call, stack), stack)
    chain = awaits(call._running)
    text = _started(call._made, max(started, call._made), now, chain)
    if busy is not None and busy.seconds >= _LONG:
        text = f"{text} {busy.text}"
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


def _busy(bridge: Carrier, call: Call, now: float, stack: tuple[Place, ...]) -> _Busy | None:
    """
    Tell for how long the reactor thread has been busy, and with what, if that can be known.
    """
    looked_at = bridge.looked_at
    oldest = next(iter(bridge.queued), None)
    bodies = [one for one in bridge.in_flight if _is_in_its_body(one)]
    body = max(bodies, key=attrgetter("_started"), default=None)
    at_least = ""
    if body is not None:
        since = body._started
    elif oldest is None:
        return None
    elif oldest._made > looked_at:
        since = oldest._made
        at_least = "at least "
    else:
        since = looked_at
    busy_for = now - since
    places = [place for place in stack if is_of_the_program(place.file)]
    where = ""
    if places:
        where = f" in {', called by '.join(map(str, places[:_FRAMES_TOLD]))}"
    elif body is not None:
        where = f" in {body._name}()"  # it is not written in Python, or has just begun
    elif stack:
        where = f" in {stack[0]}"
    length = f"{at_least}{seconds_told(busy_for)}"
    text = f"The reactor thread has been busy for {length}{where}"
    if body is call:
        text = f"{text}: that is the function's own body, which blocks"
    return _Busy(busy_for, length, f"{text}.")


def _is_in_its_body(call: Call) -> bool:
    return hasattr(call, "_started") and call._running is None


def _queued(bridge: Carrier, call: Call, stack: tuple[Place, ...]) -> str:
    ahead = 0
    for other in bridge.queued:
        if other is call:
            break
        ahead += hasattr(other, "_work")  # else it was withdrawn
    if not ahead:
        return "It has not started: the reactor thread has not come to it yet."
    calls = "1 call is" if ahead == 1 else f"{ahead} calls are"
    text = f"It has not started: {calls} ahead of it in the queue"
    places = [place for place in stack if is_of_the_program(place.file)]
    if places:
        text = f"{text}, and the reactor thread is in {places[0]}"
    return f"{text}."


def _started(made: float, started: float, now: float, chain: tuple[Place, ...]) -> str:
    text = f"It started {seconds_told(now - started)} ago"
    if started - made > now - started:
        text = f"{text}, having waited {seconds_told(started - made)} for the reactor thread"
    return f"{text}, and waits in {told(chain)}." if chain else f"{text}."


def copied(things: Copied[T]) -> list[T]:
    """
    Return what is in a set or a queue now, while other threads change it.
    """
    for _ in range(5):
        try:
            return list(things.copy())
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
