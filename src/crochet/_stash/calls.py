"""
Calls as a stash sees them: all that this folder knows of how the core keeps an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._core import result as _result
from .._core.failure import Fault
from .._core.result import EventualResult

if TYPE_CHECKING:
    from .._core.bridge import Bridge


class Outcome(NamedTuple):
    """
    The answer of a call: a value, or an error and its traceback.
    """

    value: object
    error: BaseException | None = None
    frames: TracebackType | None = None


def outcome_of(result: EventualResult[Any]) -> Outcome:
    """
    Return the answer of a call that has one. An error stays uncollected.
    """
    outcome = result._outcome
    if type(outcome) is Fault:
        return Outcome(None, outcome.error, outcome._traceback)
    return Outcome(outcome)


def name_of(result: EventualResult[Any]) -> str:
    """
    Return the name of the function called.
    """
    return _result.name_of(result)


def begin(
    bridge: Bridge, name: str, function: Callable[..., object], *args: object
) -> EventualResult[Any]:
    """
    Have a function called in the reactor thread, under the name of another. Blocks never.

    Raises:
        Exception: the bridge is closed.
    """
    result: EventualResult[Any] = EventualResult(bridge, name, (function, args, {}, Context()), {})
    bridge.submit(result)
    return result


def answered(bridge: Bridge, name: str, outcome: Outcome) -> EventualResult[Any]:
    """
    Return the result of a call that has its answer already. It needs no reactor.
    """
    result: EventualResult[Any] = EventualResult(bridge, name, (int, (), {}, Context()), {})
    _result.withdraw(result)
    if outcome.error is not None:
        _result.fail(result, outcome.error, outcome.frames)
    else:
        _result.answer(result, outcome.value)
    return result
