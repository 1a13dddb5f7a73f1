"""
An error has its type and value, the reactor's frames and the line that called, in one traceback.
"""

import traceback

from _verdict import PATIENCE, check, judge
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet


class Odd(Exception):
    def __init__(self, number, *, text):
        super().__init__(f"{text} {number}")
        self.number = number


def deep_in_the_reactor():
    raise Odd(7, text="lucky")


@crochet.wait_for(timeout=PATIENCE)
def plain():
    deep_in_the_reactor()


@crochet.wait_for(timeout=PATIENCE)
async def coroutine():
    await turn()
    deep_in_the_reactor()


@crochet.wait_for(timeout=PATIENCE)
@inlineCallbacks
def generator():
    yield turn()
    deep_in_the_reactor()


@crochet.wait_for(timeout=PATIENCE)
def callback():
    return turn().addCallback(lambda _: deep_in_the_reactor())


@crochet.run_in_reactor
def in_background():
    return turn().addCallback(lambda _: deep_in_the_reactor())


def turn():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


def the_calling_line(function):
    return function()


def hazard():
    crochet.setup()
    functions = (plain, coroutine, generator, callback, lambda: in_background().wait(PATIENCE))
    for function in functions:
        try:
            the_calling_line(function)
        except Odd as error:
            check((error.number, error.args) == (7, ("lucky 7",)), f"another value: {error!r}")
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            for name in ("the_calling_line", "deep_in_the_reactor"):
                check(name in names, f"{function.__name__}: {name} is not in {names}")
    return "5 of 5 kinds of function"


judge(hazard)
