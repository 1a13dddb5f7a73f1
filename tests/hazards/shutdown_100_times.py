"""
100 times ``setup()``, calls and ``shutdown()``: threads, descriptors and memory stay the same.
"""

import gc
import sys

from _state import state
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.threads import deferToThread

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return deferToThread(lambda: 42)


def live(number):
    for _ in range(number):
        crochet.setup()
        check(call() == 42, "another answer")
        crochet.shutdown()


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    live(10)
    gc.collect()
    before, blocks = state(), sys.getallocatedblocks()
    live(100)
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    state().check_not_grown(before, "after 100 lives")
    check(grown < 1_000, f"{grown} blocks of memory more")
    return f"{grown} blocks of memory more"


judge(hazard)
