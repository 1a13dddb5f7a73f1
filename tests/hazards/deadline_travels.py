"""
A deadline goes with the context: into bodies to their end, and the Crochet calls that they make.
"""

import contextvars
import math
import threading

from _deadlock import SOON
from _operations import Operations
from _verdict import PATIENCE, check, in_threads, judge, needs, outcome_of
from twisted.internet import defer

import crochet

OUTER = 5.0
operations = Operations()


def turn():
    from twisted.internet import reactor

    deferred = defer.Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


def remaining():
    return crochet.deadline.remaining()


@crochet.wait_for(timeout=PATIENCE)
def plain():
    return [remaining()]


@crochet.wait_for(timeout=PATIENCE)
async def coroutine():
    seen = [remaining()]
    await turn()
    return [*seen, remaining()]


@crochet.wait_for(timeout=PATIENCE)
@defer.inlineCallbacks
def generator():
    seen = [remaining()]
    yield turn()
    return [*seen, remaining()]


inner = crochet.run_in_reactor(remaining)


@crochet.wait_for(timeout=PATIENCE)
async def calling():
    await turn()
    return [await inner()]


@crochet.wait_for(timeout=PATIENCE)
async def calling_back():
    await turn()
    return await crochet.run_in_caller(plain)


@crochet.wait_for(timeout=PATIENCE)
def forever():
    return operations.start()


@crochet.wait_for(timeout=PATIENCE)
async def waiting_in_a_thread():
    """
    Have a thread that carries the context wait for what never comes, and tell what that raises.
    """
    await turn()
    answer = defer.Deferred()
    context = contextvars.copy_context()

    def wait():
        from twisted.internet import reactor

        error = outcome_of(lambda: context.run(forever))
        reactor.callFromThread(answer.callback, type(error))

    threading.Thread(target=wait, daemon=True).start()
    while True:
        try:
            # It does not end for its caller's sake, but goes on until the other wait has ended.
            return await answer
        except defer.CancelledError:
            answer, over = defer.Deferred(), answer
            over.addErrback(lambda _: None)


functions = (plain, coroutine, generator, calling, calling_back)


def check_seen(number):
    """
    Check, in a thread of its own, that bodies see what this thread's deadline leaves.
    """
    for function in functions:
        check(function() == [math.inf] * len(function()), f"{function.__name__}() without one")
        limit = OUTER + number
        with crochet.deadline(limit):
            seen = function()
        name = function.__name__
        check(all(limit - SOON < each <= limit for each in seen), f"{name}() of {limit}: {seen}")


def hazard():
    needs(hasattr(crochet, "deadline"), "crochet.deadline")
    crochet.setup()
    for outcome in in_threads(4, check_seen):
        if isinstance(outcome, BaseException):
            raise outcome
    with crochet.deadline(0.2):
        outcome = outcome_of(waiting_in_a_thread)
    # Both waits end at once: the other may be told in time, or this one be given up first.
    is_over = outcome is crochet.TimeoutError or isinstance(outcome, crochet.TimeoutError)
    check(is_over, f"{outcome!r} instead of TimeoutError")
    left = operations.settle()
    check(left == 0, "a wait in a thread that carries the context is not bounded")
    check(operations.started == 1, "the thread made no call")
    return f"{len(functions)} kinds of body in 4 threads, and a thread with the context"


judge(hazard)
