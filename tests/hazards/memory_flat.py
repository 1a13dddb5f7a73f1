"""
Memory is flat over 100,000 successful calls with the garbage collector off.
"""

import gc
import sys

from _verdict import PATIENCE, check, judge

import crochet

BURST = 1_000


@crochet.run_in_reactor
def in_background(number):
    return number


@crochet.wait_for(timeout=PATIENCE)
def waited_for(number):
    return number


def call(number):
    """
    Make calls of both kinds.
    """
    for _ in range(number // BURST):
        results = [in_background(each) for each in range(BURST - 100)]
        for result in results:
            result.wait(PATIENCE)
        for each in range(100):
            waited_for(each)


def hazard():
    crochet.setup()
    gc.disable()
    call(5 * BURST)
    before = sys.getallocatedblocks()
    call(100_000)
    grown = sys.getallocatedblocks() - before
    # One for each call would be 100,000; caches of the interpreter's grow by a few.
    check(grown < 10_000, f"{grown:,} blocks more after 100,000 calls")
    return f"{grown:,} blocks of memory more"


judge(hazard)
