"""
A fork in the reactor thread, in a worker or in the reactor's pool: its child's calls are answered.
"""

from _operations import check_alive
from _verdict import PATIENCE, check, in_fork, in_thread, judge, outcome_of
from twisted.internet.threads import deferToThread

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


def fork():
    return in_fork(lambda: repr(outcome_of(call)))


def hazard():
    crochet.setup()
    ways = {
        "a worker": lambda: in_thread(fork),
        "the reactor thread": lambda: crochet.run_in_reactor(fork)().wait(2 * PATIENCE),
        "the pool": lambda: crochet.run_in_reactor(deferToThread)(fork).wait(2 * PATIENCE),
    }
    for name, way in ways.items():
        for _ in range(5):
            said = way()
            check(said == "42", f"forked in {name}: {said}")
            check_alive()
    return "5 times each"


judge(hazard)
