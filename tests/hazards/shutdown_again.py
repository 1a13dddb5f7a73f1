"""
``shutdown()`` before ``setup()``, twice, and from 8 threads at once does nothing more than once.
"""

from _state import state
from _verdict import PATIENCE, check, in_threads, judge, needs, refusal_of

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    before = state()
    crochet.shutdown()
    crochet.setup()
    call()
    outcomes = in_threads(8, lambda _: crochet.shutdown())
    check(outcomes == [None] * 8, f"in 8 threads: {outcomes}")
    crochet.shutdown()
    refusal_of(call, crochet.ReactorStopped)
    state().check_not_grown(before, "after all of them")
    crochet.setup()
    check(call() == 42, "another answer")
    return "nothing more"


judge(hazard)
