"""
SystemExit and KeyboardInterrupt in asyncio's tasks reach the caller, and the reactor lives.
"""

import asyncio
import inspect
import logging

from _operations import check_alive
from _verdict import PATIENCE, check, in_thread, judge, needs, outcome_of
from twisted.internet.defer import Deferred

import crochet


def turn():
    from twisted.internet import reactor

    deferred = Deferred()
    reactor.callLater(0, deferred.callback, None)
    return deferred


async def at_once(error):
    raise error


async def after_asyncio(error):
    await asyncio.sleep(0.001)
    raise error


async def after_twisted(error):
    await turn()
    raise error


async def after_both(error):
    await asyncio.sleep(0)
    await turn()
    raise error


async def awaiting_a_task(error):
    await asyncio.create_task(after_asyncio(error))


async def gathering(error):
    await asyncio.gather(after_both(error), asyncio.sleep(0.01))


async def in_a_timeout(error):
    await asyncio.wait_for(after_asyncio(error), PATIENCE)


async def in_a_callback(error):
    """
    Not the body's own: in a callback of the loop's, which it waits for.
    """

    def fail():
        future.set_result(None)
        raise error

    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(fail)
    await future


async def in_a_forgotten_task(error):
    task = asyncio.create_task(after_twisted(error))
    await asyncio.wait([task])


BODIES = (at_once, after_asyncio, after_twisted, after_both)
# Whose error is in a task of asyncio's own.
CHILDREN = (awaiting_a_task, gathering, in_a_timeout)
# Who does not take the error.
OTHERS = (in_a_callback, in_a_forgotten_task)


def hazard():
    needs("reactor" in inspect.signature(crochet.setup).parameters, "setup(reactor=...)")
    logging.getLogger().addHandler(logging.NullHandler())
    crochet.setup(reactor="asyncio")
    wrong = []
    for body in (*BODIES, *CHILDREN, *OTHERS):
        for error in (SystemExit(3), KeyboardInterrupt("pressed")):
            name = f"{type(error).__name__} in {body.__name__}()"
            waited = crochet.wait_for(PATIENCE / 3)(body)
            outcome = in_thread(lambda w=waited, e=error: [outcome_of(lambda: w(e))])[0]
            if body not in OTHERS and (
                type(outcome) is not type(error) or outcome.args != error.args
            ):
                wrong.append(f"{name}: {outcome!r}")
            alive = outcome_of(lambda: in_thread(check_alive))
            if alive is not None:
                wrong.append(f"{name}: after it {alive!r}")
                check(not wrong, "; ".join(wrong))
    check(not wrong, "; ".join(wrong))
    return f"{2 * len(BODIES + CHILDREN)} arrived, {2 * len(OTHERS)} in no body, reactor alive"


judge(hazard)
