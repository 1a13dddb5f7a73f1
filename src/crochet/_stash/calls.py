"""
Calls as a stash sees them: all that this folder knows of how the core keeps an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core.call import Call
from .._core.failure import StoredError
from .._core.progress import Reported
from .._core.result import EventualResult, call_of

if TYPE_CHECKING:
    from .._core.bridge import Bridge


class Outcome(NamedTuple):
    """
    The answer of a call: a value, or an error and its traceback; and whether it is that it was
    cancelled, as it was asked to be.
    """

    value: object
    error: BaseException | None = None
    frames: TracebackType | None = None
    is_cancelled: bool = False


def outcome_of(result: EventualResult[Any]) -> Outcome:
    """
    Return the answer of a call that has one. An error stays uncollected.
    """
    outcome = call_of(result).outcome
    if type(outcome) is StoredError:
        return Outcome(None, outcome.error, outcome.traceback, result.cancelled())
    return Outcome(outcome)


def name_of(result: EventualResult[Any]) -> str:
    """
    Return the name of the function called.
    """
    return call_of(result).name


def begin(
    bridge: Bridge,
    name: str,
    function: Callable[..., object],
    *args: object,
    reported: Reported | None = None,
) -> EventualResult[Any]:
    """
    Have a function called in the reactor thread, under the name of another. Blocks never.

    Args:
        bridge: carries the call.
        name: of that other.
        function: which.
        args: with what.
        reported: how far that is by now.

    Raises:
        Exception: the bridge is closed.
    """
    call = Call(bridge, name, (function, args, {}, Context()), {})
    call.reported = reported
    bridge.submit(call)
    return EventualResult(call)


def answered(
    bridge: Bridge, name: str, outcome: Outcome, reported: Reported | None
) -> EventualResult[Any]:
    """
    Return the result of a call that has its answer already. It needs no reactor.
    """
    call = Call(bridge, name, (int, (), {}, Context()), {})
    call.withdraw()
    call.reported = reported
    call.cancel_requested = outcome.is_cancelled
    if outcome.error is not None:
        call.fail(outcome.error, outcome.frames)
    else:
        call.answer(outcome.value)
    return EventualResult(call)


def collect(result: EventualResult[Any]) -> None:
    """
    Have the error of a call not be logged if nobody takes it here: somebody else has it.
    """
    result.original_failure()
