"""
Neither a successful nor a failing call leaves a reference cycle behind.
"""

import gc

from _operations import settled
from _verdict import PATIENCE, check, judge
from twisted.internet.defer import Deferred

import crochet

NUMBER = 50


@crochet.wait_for(timeout=PATIENCE)
def value():
    return 42


@crochet.wait_for(timeout=PATIENCE)
async def value_of_coroutine():
    return 42


@crochet.wait_for(timeout=PATIENCE)
def later():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callFromThread(deferred.callback, 42)
    return deferred


@crochet.run_in_reactor
def value_in_background():
    return 42


@crochet.wait_for(timeout=PATIENCE)
def error():
    raise ValueError("it failed")


@crochet.wait_for(timeout=PATIENCE)
async def error_of_coroutine():
    raise ValueError("it failed")


@crochet.wait_for(timeout=PATIENCE)
def error_later():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callFromThread(deferred.errback, ValueError("it failed"))
    return deferred


@crochet.run_in_reactor
def error_in_background():
    raise ValueError("it failed")


@crochet.wait_for(timeout=0.001)
def timeout():
    return Deferred()


def use(call):
    try:
        result = call()
        if isinstance(result, crochet.EventualResult):
            result.wait(PATIENCE)
    except (ValueError, crochet.TimeoutError):
        pass


def hazard():
    crochet.setup()
    left = {}
    for call in (
        value,
        value_of_coroutine,
        later,
        value_in_background,
        error,
        error_of_coroutine,
        error_later,
        error_in_background,
        timeout,
    ):
        use(call)
        settled()
        gc.collect()
        gc.disable()
        for _ in range(NUMBER):
            use(call)
        settled()
        garbage = gc.collect()
        gc.enable()
        if garbage >= NUMBER / 2:
            left[call.__name__] = round(garbage / NUMBER)
    check(not left, f"objects in cycles, for each call: {left}")
    return "9 kinds of call, 0 objects left in cycles"


judge(hazard)
