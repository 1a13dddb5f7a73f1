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
EXPLAINING = os.path.join(HERE, "_diagnostics", "")
reentry = Reentry()
choose = random.Random(1)
callers = set()
drawn = []


def trace(frame, event, argument):
    if not frame.f_code.co_filename.startswith(HERE):
        return None
    # Calls that fail are logged where they are dropped, and each log is code enough for more of
    # them: at some time it has to end.
    if threading.current_thread() in callers and reentry.count < 10_000:
        frame.f_trace_opcodes = True
        # What finds out why a wait has timed out is much code, and only looks at things.
        explains = frame.f_code.co_filename.startswith(EXPLAINING)
        if event == "opcode" and (not explains or choose.random() < 1 / 20):
            reentry()
        return trace
    # Of the library's own threads some bytecodes will do: each call that is made there leads to
    # more of them than one.
    if len(drawn) == 300:
        return None
    frame.f_trace_opcodes = True
    if event == "opcode" and choose.random() < 1 / 300:
        drawn.append(event)
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
    return f"called again {reentry.count:,} times, {len(drawn)} in its threads, no deadlock"


judge(hazard)
