"""
The patience of a ``wait_for`` function: how it waits on, gives up, and what it leaves behind then.

A wait gives up for lack of time, which stay() sees, or by an exception that a signal handler
raised, and abandon() sees to that. What must always hold:

1. When a wait ends, the operation has ended, or it was told to; one that had not started never
   will.
2. After it was given up a wait goes on for a bounded time: _NOTICE at most, and if the reactor
   thread has taken notice by then, the grace.
3. A value that comes after that is handed over once, or dropped.

A call of this kind has one waiter, and nobody else has its result. So one that was withdrawn needs
no answer: unlisted, it is as if it had never been. One that has started is cancelled in the reactor
thread, which notes that in ``_is_told``, so that whoever is interrupted while giving up may say it
twice.

An answer may come at any step of giving up. It is looked for once more, after the reason has been
asked for and the call could not be withdrawn: then it is the answer that counts.

Threads: all runs in the thread that waits, but for _cancel_in_reactor() and what that adds, in the
reactor thread. A signal's exception may come between any two steps of this file. A second one that
interrupts abandon() has the operation cancelled without waiting for its end, and the wrapper calls
abandon() once more, should that have come before it guards itself. (test_patience.py goes
through every two steps.)
"""

from __future__ import annotations

import sys
from _thread import LockType
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, NoReturn
from weakref import ref

from .. import _errors
from .._errors import Limit
from .._threads.clock import monotonic
from .._threads.primitives import drop_errands, run_errands
from .deadline import get_end
from .failure import Fault
from .result import PENDING, EventualResult, cancel_in_reactor, has_started, withdraw
from .timeouts import LONGEST, acquire_until

# How long a wait that was given up waits for the reactor thread to look up from what it does and
# pass the cancellation on, in seconds. Only then is it worth waiting for the operation's cleanup.
_NOTICE = 0.02

# What is called, in the reactor thread, with a value that nobody waits for any more.
OnLate = Callable[[Any], object]


class Terms(NamedTuple):
    """
    How a ``wait_for`` function waits.
    """

    limit: float  # seconds for the operation
    grace: float = 1.0  # seconds for its cleanup, after it was cancelled
    on_late: OnLate | None = None


class Expired:
    """
    What a wait ends with that has no answer. Like a Fault, but nobody is to be told of it twice.
    """

    __slots__ = ("_error",)

    def __init__(self, error: TimeoutError) -> None:
        self._error = error

    def throw(self, *, is_last: bool) -> NoReturn:
        """
        Raise it.
        """
        error = self._error
        try:
            raise error
        finally:
            del error, self  # its traceback holds this frame


def stay(result: EventualResult[object], gate: LockType, terms: Terms) -> object:
    """
    Wait on for the answer to a call whose only waiter has looked for it once, in vain.

    Blocks until its time is over. Then the operation is cancelled, which takes 20 ms more at most,
    for the reactor thread to take notice, and if it does, the grace for the cleanup.

    Returns:
        The answer: a value or a Fault, or that there is none.
    """
    end = result._made + terms.limit
    limit = Limit(terms.limit)
    deadline = get_end()
    if deadline < end:
        end, limit = deadline, Limit(deadline - result._made, by_deadline=True)
    gates = result._home.gates
    gates.add(gate)
    try:
        return _stayed(result, gate, terms, limit, end)
    finally:
        gates.discard(gate)


def _stayed(
    result: EventualResult[object], gate: LockType, terms: Terms, limit: Limit, end: float
) -> object:
    look_up = result._home.look_up
    until = min(end, result._made + LONGEST)
    while result._outcome is PENDING:
        run_errands(gate)
        if monotonic() < until and acquire_until(gate, until, look_up):
            continue
        if until < end:
            from .._diagnostics.in_loop import warn_if_in_loop  # setup() has loaded it

            until = end
            warn_if_in_loop(result._name)
            continue
        error = _give_up(result, gate, terms, limit)
        if error is not None:
            return Expired(error)
    return result._outcome


def _give_up(
    result: EventualResult[object], gate: LockType, terms: Terms, limit: Limit
) -> TimeoutError | None:
    had_started = has_started(result)
    reason = result._home.explain(result)  # before it is cancelled: then it waits on nothing
    if _withdrawn(result):
        return _errors.never_started(result._name, limit, reason)
    if not had_started:
        reason = result._home.explain(result)
    if result._outcome is not PENDING:
        return None
    has_ended = _cancelled(result, gate, terms)
    return _errors.gave_up(result._name, limit, reason, ended=has_ended)


def _withdrawn(result: EventualResult[object]) -> bool:
    result._is_cancelled = True
    if not withdraw(result):
        return False
    # Nobody else has this result. Unlisted, it is as if it had never been; the reactor thread
    # finds it empty when it comes to it.
    result._home.flights.discard(ref(result))
    return True


def _cancelled(result: EventualResult[object], gate: LockType, terms: Terms) -> bool:
    """
    Have an operation cancelled, wait a moment for its end, and tell whether that came.
    """
    result._home.call(_cancel_in_reactor, result, terms)
    drop_errands(gate)
    if not _ends(result, gate, min(_NOTICE, terms.grace)) and result._is_told:
        _ends(result, gate, terms.grace)
    result._waiters.pop(gate.release, None)  # nobody is to be sent here any more
    drop_errands(gate)
    return result._outcome is not PENDING


def _ends(result: EventualResult[object], gate: LockType, patience: float) -> bool:
    end = monotonic() + patience
    while result._outcome is PENDING and acquire_until(gate, end):
        drop_errands(gate)  # it is too late for those
    return result._outcome is not PENDING


def abandon(
    result: EventualResult[object], gate: LockType | None = None, terms: Terms | None = None
) -> None:
    """
    See to it that a call whose caller was interrupted ends, or never starts.

    To be called while that exception is handled, which is told what became of the call. Blocks
    like stay() after the timeout, or never without a gate.
    """
    try:
        if gate is None or terms is None:
            result.cancel()
        elif not result._is_told:
            is_accepted = ref(result) in result._home.flights  # or else it was refused, or answered
            started = not _withdrawn(result)
            ended = _cancelled(result, gate, terms) if started else True
            if is_accepted:
                _annotate(_errors.how_it_ended(result._name, started=started, ended=ended))
    except BaseException:
        # A second interruption, before it was told or while waiting for its end.
        if not withdraw(result):
            result._home.call(_cancel_in_reactor, result, terms)
        raise
    finally:
        # The first may have cut a wake-up short, or kept others waiting; see _threads/handoff.py.
        result._home.relay.open_all()
        result._home.nudge()


def _annotate(text: str) -> None:
    error = sys.exc_info()[1]
    add_note = getattr(error, "add_note", None)
    if add_note is not None:  # from Python 3.11 on
        add_note(text)


def _cancel_in_reactor(result: EventualResult[object], terms: Terms | None) -> None:
    """
    Cancel the Deferred of a call that has started.

    Args:
        result: the call.
        terms: those of its only waiter, who has given up.
    """
    if terms is not None:
        if result._is_told:
            return  # whoever is interrupted while giving up says it twice
        if terms.on_late is not None:
            result.add_done_callback(partial(_hand_over, terms.on_late))
    cancel_in_reactor(result)


def _hand_over(on_late: OnLate, result: EventualResult[object]) -> None:
    if type(result._outcome) is not Fault:
        on_late(result._outcome)
