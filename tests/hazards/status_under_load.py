"""
``status()`` from 4 threads and a signal handler, while 8 threads call: never an error or nonsense.
"""

import random
import signal
import threading

from _operations import check_alive
from _verdict import PATIENCE, check, in_threads, judge, needs
from twisted.internet.defer import Deferred

import crochet

CALLS = 1_000
LOOKS = 300
PENDING = 20
FILE = __file__
choose = random.Random(1)
is_over = threading.Event()
from_handler = []
thread = None


@crochet.wait_for(timeout=PATIENCE)
def at_once():
    return 42


@crochet.wait_for(timeout=PATIENCE)
async def soon():
    from twisted.internet import reactor

    turned = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned
    return 42


@crochet.run_in_reactor
def pending():
    return Deferred()


def look(reads_all):
    """
    Take a snapshot and check that it makes sense.
    """
    status = crochet.status()
    check(status.state == "running", f"the state is {status.state!r}")
    check(status.ident == thread.ident and status.thread == thread.name, f"{status.thread}")
    check(status.lag is None or 0 <= status.lag.median <= status.lag.maximum < PATIENCE, status.lag)
    ages = [call.age for call in status.calls]
    check(ages == sorted(ages, reverse=True), "not the oldest first")
    check(all(0 <= age < PATIENCE * 4 for age in ages), f"ages of {ages[-1]} to {ages[0]} s")
    names = [call.function for call in status.calls]
    check(set(names) <= {"at_once", "soon", "pending"}, f"calls of {set(names)}")
    check(PENDING <= len(names) <= PENDING + 8 + 1, f"{len(names)} calls in flight")
    check(names.count("pending") == PENDING, f"{names.count('pending')} calls of pending()")
    for call in status.calls if reads_all else ():
        check(call.state in ("queued", "running"), f"a call is {call.state!r}")
        check(call.file == FILE and call.line, f"called in {call.file}:{call.line}")
        check(isinstance(call.waits_on, tuple), f"waits on {call.waits_on!r}")
    if reads_all:
        check(f"calls in flight: {len(names)}" in str(status), f"the page says: {status}")


def work(number):
    if number < 4:
        for each in range(LOOKS):
            look(each % 2)
    else:
        for _ in range(CALLS):
            check(at_once() == 42 and soon() == 42, "another value")


def handler(number, frame):
    look(len(from_handler) % 2)
    from_handler.append(number)
    arm()


def arm():
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-4, 1e-2))


def hazard():
    global thread
    needs(hasattr(crochet, "status"), "crochet.status")
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    crochet.setup()
    thread = crochet.wait_for(PATIENCE)(threading.current_thread)()
    kept = [pending() for _ in range(PENDING)]
    signal.signal(signal.SIGALRM, handler)
    arm()
    outcomes = in_threads(12, work, 3 * PATIENCE)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    check(from_handler, "the handler was never called")
    for result in kept:
        result.cancel()
    check_alive()
    check(not crochet.status().calls, "calls that are answered are told to be in flight")
    return f"{4 * LOOKS:,} looks and {len(from_handler)} from the handler, {16 * CALLS:,} calls"


judge(hazard)
