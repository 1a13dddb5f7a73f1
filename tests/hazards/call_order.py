"""
Calls from one thread run in the order made, also beside those of 7 others.
"""

from _operations import settled
from _verdict import check, in_threads, judge

import crochet

NUMBER = 2_000
ran = {}


@crochet.run_in_reactor
def note(thread, number):
    ran.setdefault(thread, []).append(number)


def call(thread):
    for number in range(NUMBER):
        note(thread, number)


def hazard():
    crochet.setup()
    in_threads(8, call)
    settled()
    for thread, numbers in ran.items():
        check(numbers == list(range(NUMBER)), f"the calls of thread {thread} are out of order")
    return f"8 threads, {NUMBER} calls each"


judge(hazard)
