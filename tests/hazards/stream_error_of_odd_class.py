"""
An error whose class refuses to have attributes set comes out of streams, contexts and gather().
"""

import asyncio
import dataclasses
from contextlib import asynccontextmanager

from _operations import check_alive
from _verdict import PATIENCE, check, judge, outcome_of
from twisted.internet.defer import succeed

import crochet


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    text: str = ""


class Sealed(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(f"no {name} can be set")

    def with_traceback(self, traceback):
        raise AttributeError("nor this")


class Entered:
    async def __aenter__(self): ...

    async def __aexit__(self, *error): ...


@crochet.run_in_reactor
async def later(error):
    await _turn()
    raise error


def stream(error):
    @crochet.iterate_in_reactor(timeout=PATIENCE / 3)
    async def items():
        yield
        await _turn()
        raise error

    list(items())


def context(error):
    with crochet.context_in_reactor(timeout=PATIENCE / 3)(Entered)():
        raise error


def enter(error):
    @crochet.context_in_reactor(timeout=PATIENCE / 3)
    @asynccontextmanager
    async def fails():
        await _turn()
        raise error
        yield

    with fails():
        pass


def gathered(error):
    crochet.gather(later(error), timeout=PATIENCE / 3)


async def _turn():
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await succeed(None)
    await deferLater(reactor, 0)


def check_all():
    ways = (stream, context, enter, gathered)
    wrong = []
    for way in ways:
        for error in (Frozen("of a body"), Sealed("of a body")):
            outcome = outcome_of(lambda way=way, error=error: way(error))
            if type(outcome) is not type(error) or outcome.args != error.args:
                wrong.append(f"{way.__name__}, {type(error).__name__}: {outcome!r}")
    check(not wrong, f"{len(wrong)} of {2 * len(ways)}: {'; '.join(wrong)}")
    check_alive()
    return len(ways)


def hazard():
    # On asyncio's reactor coroutines are tasks; that is where an error goes through most hands.
    crochet.setup(reactor="asyncio", loop_factory=asyncio.new_event_loop)
    return f"2 classes, {check_all()} ways"


judge(hazard)
