"""
Blocking code and the reactor's call one another, ten deep, in four threads at once: no deadlock.
"""

import threading

from _operations import check_alive
from _verdict import PATIENCE, check, in_threads, judge, needs, refusal_of
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet

DEPTH = 10


def turn():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


@crochet.wait_for(timeout=PATIENCE)
async def coroutine(depth, trail):
    trail.append(threading.get_ident())
    await turn()
    return 1 + await crochet.run_in_caller(blocking, depth - 1, trail)


@crochet.wait_for(timeout=PATIENCE)
@inlineCallbacks
def generator(depth, trail):
    trail.append(threading.get_ident())
    yield turn()
    below = yield crochet.run_in_caller(blocking, depth - 1, trail)
    return 1 + below


@crochet.wait_for(timeout=PATIENCE)
def plain(depth, trail):
    trail.append(threading.get_ident())
    return crochet.run_in_caller(blocking, depth - 1, trail).addCallback(lambda below: 1 + below)


functions = (coroutine, generator, plain)


def blocking(depth, trail):
    trail.append(threading.get_ident())
    if depth == 0:
        if trail[0] < 0:
            raise ValueError("at the bottom")
        return 0
    return functions[depth % 3](depth, trail)


def hazard():
    needs(hasattr(crochet, "run_in_caller"), "run_in_caller()")
    crochet.setup()
    reactor_thread = crochet.wait_for(PATIENCE)(threading.get_ident)()

    def descend(number):
        for _ in range(10):
            trail = [0]
            check(blocking(DEPTH, trail) == DEPTH, "another value")
            here = threading.get_ident()
            wanted = [here, reactor_thread] * DEPTH + [here]
            check(trail[1:] == wanted, "something ran in another thread")
            error = refusal_of(lambda: blocking(DEPTH, [-1]), ValueError)
            check(str(error) == "at the bottom", f"another error: {error}")
        return len(trail)

    for outcome in in_threads(4, descend, 2 * PATIENCE):
        if isinstance(outcome, BaseException):
            raise outcome
    check_alive()
    return f"4 threads, 10 times {DEPTH} deep and back, values and errors"


judge(hazard)
