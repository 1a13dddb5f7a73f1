"""
Operations that are struck by an exception just as what they wait for fires.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from _verdict import PATIENCE, check, outcome_of
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, inlineCallbacks

import crochet

ended = Counter()


async def coroutine(deferred):
    try:
        return await deferred
    finally:
        ended[coroutine] += 1


async def nested(deferred):
    try:
        return await ensureDeferred(coroutine(deferred))
    finally:
        ended[nested] += 1


@inlineCallbacks
def generator(deferred):
    value = yield deferred
    return value


def gathered(deferred):
    return gatherResults([deferred]).addCallback(lambda values: values[0])


@crochet.run_in_reactor
def start(body, deferred):
    return body(deferred)


@crochet.wait_for(timeout=PATIENCE)
def in_reactor(function, *args):
    return function(*args)


def sweep(strike: Callable[[int, Callable[[], object]], bool], points: int) -> str:
    """
    Strike at each point of what makes an operation go on, of each kind.

    Args:
        strike: calls a function in the reactor thread, and interrupts it at that point. Tells
            whether there is a further one.
        points: so many there are at least.
    """
    total, errors = 0, Counter()
    for body in (coroutine, nested, generator, gathered):
        results = []
        is_over = False
        while not is_over:
            deferred = Deferred()
            results.append(start(body, deferred))
            is_over = not in_reactor(strike, len(results), lambda d=deferred: d.callback(7))
            in_reactor(lambda d=deferred: d.called or d.callback(7))
        check(len(results) > points, f"{body.__name__}() has only {len(results)} points")
        end = time.monotonic() + PATIENCE
        for at, result in enumerate(results):
            left = max(end - time.monotonic(), 0.001)
            outcome = outcome_of(lambda r=result, left=left: r.wait(left))
            where = f"{body.__name__}(), struck at point {at}"
            check(not isinstance(outcome, crochet.TimeoutError), f"no answer of {where}")
            is_error = isinstance(outcome, BaseException)
            check(is_error or outcome == 7, f"{outcome!r} of {where}")
            errors[type(outcome).__name__] += is_error
        total += len(results)
    number = sum(errors.values())
    return f"{total} points, all answered, {number} of them with an error"
