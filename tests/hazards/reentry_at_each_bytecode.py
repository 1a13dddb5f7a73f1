"""
The library is called again at every bytecode of it in a caller's thread, and some in its own.
"""

import os
import random
import sys
import threading

from _operations import check_alive
from _reentry import Reentry, failing, pending
from _verdict import PATIENCE, check, in_thread, judge, outcome_of, refusal_of
from twisted.internet.defer import Deferred

import crochet

HERE = os.path.dirname(crochet.__file__)
reentry = Reentry()
choose = random.Random(1)
callers = set()


def trace(frame, event, argument):
    if not frame.f_code.co_filename.startswith(HERE):
        return None
    frame.f_trace_opcodes = True
    # In the library's own threads now and then, for each call that is made leads to more of their
    # bytecodes than there are calls to be made.
    if event == "opcode" and (threading.current_thread() in callers or choose.random() < 1 / 2000):
        reentry()
    return trace


@crochet.wait_for(timeout=PATIENCE)
def value():
    return 42


@crochet.wait_for(timeout=PATIENCE)
async def coroutine():
    return 42


@crochet.wait_for(timeout=PATIENCE)
def error():
    raise ValueError("it failed")


@crochet.wait_for(timeout=0.001)
def forever():
    return Deferred()


def use_everything():
    check(value() == 42, "another value")
    check(coroutine() == 42, "another value of a coroutine")
    refusal_of(error, ValueError)
    refusal_of(forever, crochet.TimeoutError)
    result = pending()
    refusal_of(lambda: result.wait(0.001), crochet.TimeoutError)
    result.cancel()
    again = crochet.retrieve_result(result.stash())
    outcome_of(lambda: again.wait(PATIENCE))
    result = failing()
    refusal_of(lambda: result.wait(PATIENCE), ValueError)
    result.original_failure()
    failing()


def traced():
    callers.add(threading.current_thread())
    sys.settrace(trace)
    try:
        use_everything()
    finally:
        sys.settrace(None)


def set_up():
    callers.add(threading.current_thread())
    crochet.setup()


def hazard():
    # Inherited by the reactor's thread.
    threading.settrace(trace)
    in_thread(set_up)
    threading.settrace(None)
    reentry.refused = 0
    in_thread(traced)
    check_alive()
    check(reentry.count > 100, f"called again only {reentry.count} times")
    check(reentry.refused == 0, f"{reentry.refused} calls were refused")
    return f"called again {reentry.count:,} times, no deadlock"


judge(hazard)
