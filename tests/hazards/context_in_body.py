"""
The caller's context variables are in the body, to the end of coroutines and ``inlineCallbacks``.
"""

from contextvars import ContextVar

from _verdict import PATIENCE, check, in_threads, judge
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet

variable = ContextVar("variable", default="nothing")


def turn():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


@crochet.wait_for(timeout=PATIENCE)
def plain():
    return [variable.get()] * 3


@crochet.wait_for(timeout=PATIENCE)
async def coroutine():
    seen = [variable.get()]
    await turn()
    seen.append(variable.get())
    await turn()
    return [*seen, variable.get()]


@crochet.wait_for(timeout=PATIENCE)
@inlineCallbacks
def generator():
    seen = [variable.get()]
    yield turn()
    seen.append(variable.get())
    yield turn()
    return [*seen, variable.get()]


def hazard():
    crochet.setup()

    def call(number):
        variable.set(number)
        for _ in range(20):
            for function in (plain, coroutine, generator):
                seen = function()
                check(seen == [number] * 3, f"{function.__name__}() of {number} sees {seen}")

    for outcome in in_threads(8, call):
        if isinstance(outcome, BaseException):
            raise outcome
    return "8 threads, 3 kinds of function"


judge(hazard)
