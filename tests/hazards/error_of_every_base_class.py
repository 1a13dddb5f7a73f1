"""
SystemExit, KeyboardInterrupt, GeneratorExit and the like get to the caller; the reactor lives on.
"""

import asyncio

from _operations import check_alive
from _verdict import PATIENCE, check, judge, outcome_of
from twisted.internet.defer import CancelledError, fail
from twisted.python.failure import Failure

import crochet


class Own(BaseException):
    pass


KINDS = (
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    CancelledError,
    asyncio.CancelledError,
    MemoryError,
    Own,
)


@crochet.wait_for(timeout=PATIENCE / 3)
def plain(kind):
    raise kind("from a body")


@crochet.wait_for(timeout=PATIENCE / 3)
async def coroutine(kind):
    raise kind("from a body")


@crochet.wait_for(timeout=PATIENCE / 3)
def deferred(kind):
    return fail(Failure(kind("from a body")))


def hazard():
    crochet.setup()
    wrong = []
    for function in (plain, coroutine, deferred):
        for kind in KINDS:
            outcome = outcome_of(lambda function=function, kind=kind: function(kind))
            # Python itself makes it a RuntimeError when it leaves a coroutine.
            expected = RuntimeError if (function, kind) == (coroutine, StopIteration) else kind
            if type(outcome) is not expected:
                wrong.append(f"{function.__name__}, {kind.__name__}: {outcome!r}")
        check_alive()
    check(not wrong, f"{len(wrong)} of {3 * len(KINDS)}: {'; '.join(wrong)}")
    return f"{len(KINDS)} kinds from 3 kinds of function"


judge(hazard)
