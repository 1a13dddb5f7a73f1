"""
A signal handler that calls the library meets calls at any point of them: no deadlock.
"""

import random
import signal

from _operations import check_alive
from _reentry import Reentry, failing, pending
from _verdict import PATIENCE, check, judge, needs, refusal_of

import crochet

choose = random.Random(1)
reentry = Reentry()


@crochet.wait_for(timeout=PATIENCE)
def double(number):
    return 2 * number


def arm():
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 4e-4))


def handler(number, frame):
    reentry()
    arm()


def hazard():
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    crochet.setup()
    signal.signal(signal.SIGALRM, handler)
    arm()
    while reentry.count < 2_000:
        number = choose.randrange(1_000)
        check(double(number) == 2 * number, "another call's answer")
        result = pending()
        uid = result.stash()
        result.cancel()
        crochet.retrieve_result(uid)
        result = failing()
        refusal_of(lambda result=result: result.wait(PATIENCE), ValueError)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    check_alive()
    return f"called again {reentry.count:,} times, no deadlock"


judge(hazard)
