"""
``deadline()`` bounds its waits in total, nests, lets the smaller limit win; nothing starts past it.
"""

import math
import time

from _deadlock import SOON
from _operations import Operations
from _verdict import PATIENCE, check, judge, needs, refusal_of

import crochet

LIMIT = 0.2
operations = Operations()


@crochet.wait_for(timeout=PATIENCE)
def forever():
    return operations.start()


@crochet.wait_for(timeout=0.02)
def briefly():
    return operations.start()


@crochet.wait_for(timeout=PATIENCE)
def nap():
    from twisted.internet import reactor, task

    return task.deferLater(reactor, LIMIT / 4)


@crochet.run_in_reactor
def start():
    return operations.start()


def give_up(call):
    """
    Return the TimeoutError of a call that is given up by a deadline.
    """
    error = refusal_of(call, crochet.TimeoutError)
    check("deadline()" in str(error), f"the text does not name the deadline: {error}")
    return error


def check_total():
    """
    Check that waits of all kinds end together, and no later one is started.
    """
    began = time.monotonic()
    naps = 0
    with crochet.deadline(LIMIT):
        try:
            while naps < 10:
                nap()
                naps += 1
        except crochet.TimeoutError:
            pass
        check(naps < 5, f"{naps} naps of {LIMIT / 4:g} s in {LIMIT:g} s")
        started = operations.started
        result = start()  # does not wait, so it is not bounded
        give_up(lambda: result.wait(PATIENCE))
        for call in (forever, forever.with_timeout(PATIENCE), briefly):
            error = give_up(call)
            check(error.state == "past-deadline", f"the state is {error.state!r}")
        check(crochet.deadline.remaining() == 0.0, "time is left over")
    seconds = time.monotonic() - began
    check(seconds < LIMIT + SOON, f"all of it took {seconds:.1f} s instead of {LIMIT:g} s")
    result.cancel()
    check(operations.settle() == 0, "an operation goes on")
    check(operations.started <= started + 1, "a call was started past the deadline")


def check_nesting():
    """
    Check that of two limits the smaller wins, whichever is inside.
    """
    for outer, inner in ((LIMIT, PATIENCE), (PATIENCE, LIMIT), (None, LIMIT), (LIMIT, None)):
        began = time.monotonic()
        with crochet.deadline(outer):
            with crochet.deadline(inner):
                give_up(forever)
            left = crochet.deadline.remaining()
        seconds = time.monotonic() - began
        check(LIMIT * 0.9 < seconds < LIMIT + SOON, f"{outer} around {inner} s: {seconds:.1f} s")
        wanted = {LIMIT: 0.0, PATIENCE: PATIENCE - seconds, None: math.inf}[outer]
        check(left == wanted or abs(left - wanted) < 1.0, f"{left:g} s instead of {wanted:g} s")
    with crochet.deadline(PATIENCE):
        error = refusal_of(briefly, crochet.TimeoutError)
        check(error.timeout == 0.02, f"the function's own timeout, 0.02 s, was {error.timeout} s")
    check(crochet.deadline.remaining() == math.inf, "a deadline goes on after its block")


def hazard():
    needs(hasattr(crochet, "deadline"), "crochet.deadline")
    crochet.setup()
    check_total()
    check_nesting()
    left = operations.settle()
    check(left == 0, f"{left} operations go on")
    return "7 waits in one deadline, 4 nested pairs, nothing started past it"


judge(hazard)
