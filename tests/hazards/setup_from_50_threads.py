"""
``setup()`` from 50 threads at once starts one reactor, in which the calls of all of them run.
"""

import threading

from _verdict import PATIENCE, check, in_threads, judge

import crochet


@crochet.wait_for(timeout=PATIENCE)
def reactor_thread():
    return threading.get_ident()


def set_up_and_call(_):
    crochet.setup()
    return reactor_thread()


def hazard():
    outcomes = set(in_threads(50, set_up_and_call))
    check(len(outcomes) == 1, f"50 threads were served by {outcomes}")
    return "50 threads, 1 reactor"


judge(hazard)
