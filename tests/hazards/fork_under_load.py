"""
50 forks while 8 threads call: each child's calls are answered, whatever its parent was at.
"""

import threading
from functools import partial

from _operations import check_alive
from _verdict import PATIENCE, check, in_fork, judge, outcome_of, refusal_of

import crochet

is_over = False


@crochet.wait_for(timeout=PATIENCE)
def value():
    return 42


@crochet.run_in_reactor
def fail():
    raise ValueError("it failed")


def load():
    while not is_over:
        value()
        uid = fail().stash()
        refusal_of(partial(crochet.retrieve_result(uid).wait, PATIENCE), ValueError)


def in_child():
    outcome = outcome_of(value)
    outcome_of(fail)
    return type(outcome).__name__


def hazard():
    global is_over
    crochet.setup()
    threads = [threading.Thread(target=load, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    said = {in_fork(in_child) for _ in range(50)}
    is_over = True
    for thread in threads:
        thread.join(PATIENCE)
    check(said == {"int"}, f"calls in the children: {said}")
    check_alive()
    return "50 children, each with an answer of its own"


judge(hazard)
