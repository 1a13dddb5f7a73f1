"""
A stashed result takes about 1 kB at most.
"""

import gc
import tracemalloc

from _operations import settled
from _verdict import check, judge

import crochet

NUMBER = 2_000


@crochet.run_in_reactor
def value():
    return None


def hazard():
    crochet.setup()
    for _ in range(100):
        value().stash()
    settled()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(NUMBER):
        value().stash()
    settled()
    gc.collect()
    each = (tracemalloc.get_traced_memory()[0] - before) / NUMBER
    check(each < 1_100, f"{each:.0f} bytes each")
    return f"{each:.0f} bytes each"


judge(hazard)
