"""
``shutdown()`` ends in its time though an operation ignores its cancelling, or blocks the reactor.
"""

import contextlib
import threading
import time

from _verdict import PATIENCE, check, happens, judge, needs, refusal_of
from twisted.internet.defer import CancelledError, Deferred

import crochet

TIMEOUT = 0.5
entered = threading.Event()
way_out = threading.Event()


@crochet.run_in_reactor
async def stubborn():
    while True:
        entered.set()
        with contextlib.suppress(CancelledError):
            await Deferred()


@crochet.run_in_reactor
def blocking():
    entered.set()
    way_out.wait(PATIENCE)


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    crochet.setup()
    result = stubborn()
    happens(entered, "the operation starts")
    began = time.monotonic()
    crochet.shutdown(TIMEOUT)
    refusal_of(result.wait, crochet.ReactorStopped)
    entered.clear()
    crochet.setup()
    blocking()
    happens(entered, "the operation starts")
    error = refusal_of(lambda: crochet.shutdown(TIMEOUT), crochet.TimeoutError)
    seconds = time.monotonic() - began
    check(seconds < 10 * TIMEOUT, f"both took {seconds:.1f} s")
    check("in blocking" in str(error), f"the text does not say where the reactor is: {error}")
    refusal_of(call, crochet.ReactorStopped)
    way_out.set()
    crochet.shutdown()
    crochet.setup()
    check(call() == 42, "another answer")
    return "stopped without the one, and TimeoutError, which says where the other is"


judge(hazard)
