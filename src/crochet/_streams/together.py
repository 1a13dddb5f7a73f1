"""
Several results at once, for blocking code, without a thread for each.

What must always hold: the calling thread waits for one call at a time, as ``EventualResult.wait()``
does, so that deadlocks are seen and ``run_in_caller()`` finds it. What the others have to say ends
that wait by a task:

1. A done callback notes the answer, then puts the task to the waiter.
2. The waiting thread empties the waiter, looks at what was noted, then waits.

Verdict: an answer that the look of 2 has missed was put to the waiter after that was emptied.

Threads: done callbacks are called in the reactor thread, or in this one; all else is in this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NoReturn, cast

from .._core.call import PENDING, Call
from .._core.failure import StoredError
from .._core.result import EventualResult, call_of
from .._core.waiting import wait_for_answer
from .._threads import clock
from .._threads.primitives import Waiter, pop_first
from .._threads.timeouts import Seconds, seconds


class _Noted(BaseException):
    """
    Ends a wait, for there is another answer to look at.
    """


def _look() -> NoReturn:
    raise _Noted


def _note(noted: deque[int], waiter: Waiter, number: int) -> None:
    noted.append(number)
    waiter.put(_look)  # after it; see the head of this file


def _answered(calls: list[Call], timeout: Seconds) -> Iterator[int]:
    """
    Yield the numbers of calls as they are answered. Blocks up to *timeout* seconds in all.
    """
    end = clock.monotonic() + seconds(timeout)
    if not calls:
        return
    noted: deque[int] = deque()
    waiter = calls[0].bridge.new_waiter()
    left = dict(enumerate(calls))
    for number, call in left.items():
        call.bridge.notice_fork()
        if call.outcome is PENDING:
            call.add_callback(partial(_note, noted, waiter, number))
        else:  # a callback called here would have what a signal handler raises logged, and lost
            noted.append(number)
    while left:
        waiter.clear()
        answered = pop_first(noted)
        if answered is not None:
            if left.pop(answered, None) is not None:  # a callback may be called twice
                yield answered
            continue
        call = next(iter(left.values()))
        try:
            if call.outcome is PENDING:
                wait_for_answer(call, end - clock.monotonic(), waiter)
        except _Noted:
            continue
        # The answer of this one was there before its callback was called.
        first = next(iter(left))
        del left[first]
        yield first


def _calls_of(results: Iterable[object], form: str) -> list[Call]:
    calls: list[Call] = []
    for result in results:
        if not isinstance(result, EventualResult):
            raise TypeError(
                f"only an EventualResult, which a @run_in_reactor function returns, can be waited "
                f"for here, not {type(result).__name__!r}: write {form}"
            )
        calls.append(call_of(cast("EventualResult[object]", result)))
    return calls


def as_completed(
    results: Iterable[EventualResult[Any]], timeout: Seconds
) -> Iterator[EventualResult[Any]]:
    """
    Return an iterator over results as they are answered; see :func:`crochet.as_completed`.
    """
    if type(cast("object", results)) is EventualResult:
        raise TypeError(
            "as_completed() takes several results, and this is one: write "
            "as_completed([result, ...]), or result.wait()"
        )
    given = list(results)
    # Here, and not when the first is asked for: what is wrong is wrong now.
    calls, limit = _calls_of(given, "as_completed(results)"), seconds(timeout)
    return (given[number] for number in _answered(calls, limit))


def gather(
    results: tuple[EventualResult[Any], ...], timeout: Seconds, return_exceptions: bool
) -> list[Any]:
    """
    Return the values of results; see :func:`crochet.gather`.
    """
    calls = _calls_of(results, "gather(*results)")
    for number in _answered(calls, timeout):
        if type(calls[number].outcome) is StoredError and not return_exceptions:
            for result in results:
                result.cancel()
            results[number].wait(0)
    return [_value(result) for result in results]


def _value(result: EventualResult[Any]) -> object:
    outcome = call_of(result).outcome
    try:
        return result.wait(0)
    except BaseException as error:
        if type(outcome) is StoredError and type(error) is type(outcome.error):
            return error
        raise  # a signal handler's
