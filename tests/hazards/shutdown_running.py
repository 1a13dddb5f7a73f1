"""
``with running():`` has a reactor inside, also if it is left by an error, and nothing afterwards.
"""

from _state import state
from _verdict import PATIENCE, check, judge, needs, refusal_of

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


def fail():
    with crochet.running():
        call()
        raise ValueError("out of the block")


def hazard():
    needs(hasattr(crochet, "running"), "running()")
    before = state()
    for _ in range(5):
        with crochet.running():
            check(call() == 42, "another answer")
        refusal_of(call, crochet.ReactorStopped)
        refusal_of(fail, ValueError)
        state().check_not_grown(before, "after the block")
    return "10 blocks, nothing left behind"


judge(hazard)
