"""
What a thread asks of the reactor by callFromThread() and by calls starts in the order asked.
"""

import itertools
import random
import time

from _operations import settled
from _verdict import check, in_threads, judge

import crochet

ROUNDS = 400
ran = {}


def note(thread, number):
    ran.setdefault(thread, []).append(number)


call = crochet.run_in_reactor(note)
wait = crochet.wait_for(timeout=30)(note)


@crochet.run_in_reactor
def keep_busy():
    time.sleep(0.002)


def ask(thread):
    from twisted.internet import reactor

    chance = random.Random(thread)
    ways = [call, wait, lambda *args: reactor.callFromThread(note, *args)]
    for number in range(ROUNDS):
        [way] = chance.choices(ways, (5, 1, 5))
        way(thread, number)
        if chance.random() < 0.01:
            keep_busy()


def hazard():
    crochet.setup()
    in_threads(4, ask)
    settled()
    for thread, numbers in sorted(ran.items()):
        wrong = sum(a > b for a, b in itertools.pairwise(numbers))
        check(numbers == list(range(ROUNDS)), f"thread {thread}: {wrong} in the wrong order")
    return f"4 threads, {ROUNDS} each"


judge(hazard)
