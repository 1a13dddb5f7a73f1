"""
Why a call has not been answered: the cause, in a word and in a sentence.

``explain()`` is called by a thread that has waited in vain, before it cancels anything: afterwards
the operation waits on something else, or on nothing. It costs only those whose time is up. What it
tells of the reactor thread is shared by all whose time is up in the same moment (moments.py), and
so may be a twentieth of a second old, or older where thousands wait, but never by more than a tenth
of the wait; the rest is of this call.

The reactor thread goes on meanwhile, and nothing that is read here is guarded: an explanation may
be of a moment ago. It never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, getDebugging

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Call
from .._core.progress import last_report
from .._errors import Reason
from .._threads import clock
from .frames import worth_telling
from .in_loop import warn_if_in_loop
from .moments import Moment, Moments, Sight, Spell, seconds_told
from .stranded import go_on, stranded
from .waits_on import awaits, is_unknown, told

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
# The last for each thread that waits, where many do: a look takes a twentieth of that.
_SHARED_EACH = 2e-5
# The same while one of them looks.
_TOLERABLE = 0.2


class Diagnosis:
    """
    Explains the calls of one bridge.

    Args:
        bridge: carries them.
    """

    warn_if_in_loop = staticmethod(warn_if_in_loop)

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.begin()

    def begin(self) -> None:
        """
        Forget what was seen of an earlier reactor.
        """
        # What the reactor thread is at, and has been at.
        self.moments = Moments(self._bridge)

    def is_stranded(self, operation: Deferred[Any]) -> bool:
        """
        Tell whether an operation waits for what has fired, and so may never go on. From any thread.
        """
        return stranded(operation) is not None

    def go_on(self, operation: Deferred[Any], name: str, settle: Callable[[], object]) -> None:
        """
        Have such an operation go on, or fail, if it is still so in the reactor's next turn. Reactor
        thread only. If all that is left is to answer the call, *settle* is called.
        """
        path = stranded(operation)
        if path is not None:
            self._bridge.call(go_on, path, name, settle)

    def note(self, since: float, until: float, sight: Sight) -> tuple[Spell | None, float]:
        """
        Note that the reactor thread did not get out of one function for that long. Return what has
        kept it for longest since then.
        """
        self.moments.note(since, until, sight)
        return self.moments.busiest(since)

    def explain(self, call: Call, since: float | None = None) -> Reason:
        """
        Tell why a call has not been answered. Never raises.

        Call it from any thread but the reactor's, before the call is cancelled. Blocks never.

        Args:
            call: has not been answered.
            since: when the wait began, if that was not when the call was made.
        """
        try:
            reason = self._reason(call, call.made if since is None else since)
            report = "" if call.reported is None else last_report(call.reported)
            more = filter(None, (report, self._bridge.stash.explain(call)))
            return reason._replace(text=" ".join((reason.text, *more)))
        except Exception:
            # The caller is about to raise an error of its own, which must not be replaced by one of
            # this module's. All that is lost is the cause.
            if call.started is not None:
                return Reason(WAITING, "It has started.")
            return Reason(QUEUED, "It has not started.")

    def _reason(self, call: Call, since: float) -> Reason:
        """
        Tell the cause: what has kept the reactor thread if that was long, or else what the call
        waits on.
        """
        refusal = self._bridge.refusal
        if refusal is not None:
            if is_crash(refusal):
                return Reason(CRASHED, "The reactor has crashed.")
            return Reason(
                STOPPED, "The reactor has stopped, or is about to, and takes no more calls."
            )
        if self._bridge.reactor_thread is None:
            return Reason(
                NOT_RUNNING,
                "The reactor is not running yet: after crochet.no_setup() the program itself has "
                "to call reactor.run().",
            )
        moments = self.moments
        now = clock.monotonic()
        waited = now - since
        most = max(_SHARED_MOST, _SHARED_EACH * len(self._bridge.waits))
        shared = min(max(waited * _SHARED, _SHARED_LEAST), most)
        moment = moments.get(now - shared, now - waited * _TOLERABLE)
        sight, blocked, busy = moment.sight, moment.blocked, moment.busy
        is_long = busy is not None and busy.seconds >= waited / 2
        if blocked and (is_long or busy is None or moment.is_circle):
            so_long = "" if busy is None else f" It has been busy for {busy.length}."
            return Reason(BLOCKED, f"{blocked}{so_long}", sight.stack, awaits(call.running))
        if busy is not None and is_long:
            end = ": that is the function's own body, which blocks" if busy.body == id(call) else ""
            return Reason(BUSY, f"{busy.text}{end}.", sight.stack, awaits(call.running))
        if moments.spells:
            before = _busy_before(moments, since, now)
            if before is not None:
                text = f"{before.text} {blocked}".rstrip()
                return before._replace(text=text, awaits=awaits(call.running))
        started = call.started
        if started is None:
            return Reason(QUEUED, _queued(moment, call), sight.stack)
        started = max(started, call.made)
        text = f"It started {seconds_told(now - started)} ago"
        if started - call.made > now - started:
            text += f", having waited {seconds_told(started - call.made)} for the reactor thread"
        chain = awaits(call.running)
        text += f", and waits in {told(chain)}." if chain else "."
        if busy is not None and busy.seconds >= _LONG:
            text += f" {busy.text}."
        if is_unknown(chain) and not getDebugging():
            text += " CROCHET_DEBUG=1 tells where that Deferred was made."
        return Reason(WAITING, text, awaits=chain)


def is_crash(refusal: Callable[[str], object]) -> bool:
    """
    Tell whether calls are refused because the reactor has ended in another way than by a stop.
    """
    return refusal is _errors.crashed or getattr(refusal, "func", None) is _errors.ended_with


def _busy_before(moments: Moments, made: float, now: float) -> Reason | None:
    """
    Tell what has kept the reactor thread for half of a wait or longer, though it is over.
    """
    spell, seconds = moments.busiest(made)
    if spell is None or seconds < (now - made) / 2:
        return None
    text = f"For {seconds_told(seconds)} of that the reactor thread was busy"
    return Reason(BUSY, f"{text} in {spell.where}.", spell.stack)


def _queued(moment: Moment, call: Call) -> str:
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
