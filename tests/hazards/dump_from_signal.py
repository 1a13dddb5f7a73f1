"""
``dump()`` in a signal handler, at any point of calls and of logging: all stacks, and no deadlock.
"""

import logging
import os
import random
import signal

from _operations import check_alive
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.task import deferLater

import crochet

LONGEST = 1e-3  # seconds between two signals
choose = random.Random(1)
reading, writing = os.pipe()
texts = []


@crochet.wait_for(timeout=PATIENCE)
def double(number):
    return 2 * number


@crochet.wait_for(timeout=PATIENCE)
def pause():
    from twisted.internet import reactor

    return deferLater(reactor, 2 * LONGEST)


def arm():
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-5, LONGEST))


def handler(number, frame):
    crochet.dump(writing)
    texts.append(os.read(reading, 65536).decode())
    arm()


def hazard():
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    needs(hasattr(crochet, "dump"), "crochet.dump")
    crochet.setup()
    logging.getLogger().addHandler(logging.FileHandler(os.devnull))
    signal.signal(signal.SIGALRM, handler)
    arm()
    while len(texts) < 1_000:
        for _ in range(10):
            check(double(21) == 42, "another call's answer")
        pause()
        logging.getLogger().warning("between two calls")
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    check_alive()
    for text in texts:
        check("the reactor's (most recent call first)" in text, f"no stack of the reactor: {text}")
        check("called dump()" in text, f"no stack of the thread itself: {text}")
    waits = sum("waits for pause()" in text for text in texts)
    check(waits, "never a thread that waits")
    return f"{len(texts):,} dumps, {waits} in the middle of a wait"


judge(hazard)
