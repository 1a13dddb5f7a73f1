"""
An error whose class refuses attributes, text, copies or hashing gets to its caller, on asyncio.
"""

from dataclasses import dataclass

from _operations import check_alive
from _verdict import PATIENCE, check, judge, outcome_of
from twisted.internet import defer

import crochet


@dataclass(frozen=True)
class Frozen(Exception):
    number: int = 7


class Speechless(RuntimeError):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


class Fixed(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(name)

    def with_traceback(self, traceback):
        raise AttributeError("with_traceback")


class Single(Exception):
    def __reduce__(self):
        raise TypeError("this cannot be copied")


class Unequal(Exception):
    __hash__ = None

    def __eq__(self, other):
        raise ValueError("this cannot be compared")


KINDS = (Frozen, Speechless, Fixed, Single, Unequal)


def plain(error):
    raise error


async def coroutine(error):
    raise error


async def late_coroutine(error):
    from twisted.internet import reactor

    deferred = defer.Deferred()
    reactor.callLater(0, deferred.callback, None)
    await deferred
    raise error


async def awaiting(error):
    await late(error)


def late(error):
    from twisted.internet import reactor

    deferred = defer.Deferred()
    reactor.callLater(0, deferred.errback, error)
    return deferred


BODIES = (plain, coroutine, late_coroutine, awaiting, late, defer.fail)


def hazard():
    crochet.setup(reactor="asyncio")
    wrong = []
    for body in BODIES:
        waiting = crochet.wait_for(timeout=PATIENCE / 3)(body)
        for kind in KINDS:
            error = kind()
            outcome = outcome_of(lambda waiting=waiting, error=error: waiting(error))
            if outcome is not error:
                wrong.append(f"{body.__name__}, {kind.__name__}: {type(outcome).__name__}")
        check_alive()
    check(not wrong, f"{len(wrong)} of {len(BODIES) * len(KINDS)}: {'; '.join(wrong)}")
    return f"{len(KINDS)} kinds from {len(BODIES)} kinds of function"


judge(hazard)
