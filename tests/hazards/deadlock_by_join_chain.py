"""
The same if the reactor thread joins a thread that joins the one that waits.
"""

import threading

from _deadlock import check_ended
from _operations import check_alive
from _verdict import PATIENCE, happens, judge, outcome_of
from twisted.internet.defer import Deferred

import crochet

outcomes = []


@crochet.run_in_reactor
def start():
    return Deferred()


@crochet.run_in_reactor
def join(thread, has_begun):
    has_begun.set()
    thread.join()


def hazard():
    crochet.setup()
    pending = start()

    def wait():
        outcomes.append(outcome_of(lambda: check_ended(lambda: pending.wait(PATIENCE / 3))))

    inner = threading.Thread(target=wait, daemon=True)
    inner.start()
    outer = threading.Thread(target=inner.join, daemon=True)
    outer.start()
    has_begun = threading.Event()
    join(outer, has_begun)
    happens(has_begun, "the join")
    outer.join(PATIENCE)
    check_alive()
    (outcome,) = outcomes
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


judge(hazard)
