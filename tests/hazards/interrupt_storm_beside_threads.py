"""
5,000 raising signals in one of 16 calling threads: no call of the others is lost or goes wrong.
"""

import threading

from _interruption import Storm
from _verdict import PATIENCE, check, judge

import crochet

SIGNALS = 5_000
is_over = threading.Event()
made = []


@crochet.wait_for(timeout=PATIENCE)
def double(number):
    return 2 * number


def caller(start):
    number = start
    while not is_over.is_set():
        check(double(number) == 2 * number, "another call's answer")
        number += 1
    made.append(number - start)


def hazard():
    crochet.setup()
    threads = [threading.Thread(target=caller, args=(each * 10**6,)) for each in range(15)]
    for each in threads:
        each.start()
    storm = Storm(1, 2e-3)
    while storm.strikes < SIGNALS and all(each.is_alive() for each in threads):
        storm.strike(lambda: double(1))
    is_over.set()
    for each in threads:
        each.join(PATIENCE)
    check(len(made) == 15, f"{15 - len(made)} of 15 threads have ended early, or hang")
    check(double(21) == 42, "the reactor does not answer any more")
    check(all(made), "a thread has made no call")
    return f"{storm.strikes:,} signals, all calls of 15 other threads answered"


judge(hazard)
