"""
Garbage whose ``__del__`` calls the library is collected at any time, in all threads: no deadlock.
"""

import gc
import random

from _operations import check_alive
from _reentry import Reentry, failing
from _verdict import PATIENCE, check, in_threads, judge, refusal_of

import crochet

reentry = Reentry()
choose = random.Random(1)


class Garbage:
    def __init__(self):
        self.cycle = self

    def __del__(self):
        reentry()


def litter():
    """
    Leave garbage behind, to be collected in a few moments, wherever Python is then.
    """
    gc.set_threshold(choose.randrange(2, 60))
    Garbage()


@crochet.wait_for(timeout=PATIENCE)
def double(number):
    litter()
    return 2 * number


def work(_):
    for number in range(150):
        litter()
        check(double(number) == 2 * number, "another call's answer")
        litter()
        result = failing()
        result.cancel()
        result.stash()
        litter()
        result = failing()
        refusal_of(lambda result=result: result.wait(PATIENCE), ValueError)


def hazard():
    crochet.setup()
    for outcome in in_threads(4, work, patience=2 * PATIENCE):
        if outcome is not None:
            raise outcome
    gc.set_threshold(700)
    check_alive()
    check(reentry.count > 100, f"called again only {reentry.count} times")
    return f"called again {reentry.count:,} times, no deadlock"


judge(hazard)
