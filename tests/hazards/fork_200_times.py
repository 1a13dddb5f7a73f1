"""
200 forks, half of whose children call: no descriptor or thread is left, in either side.
"""

from _operations import check_alive
from _state import state
from _verdict import PATIENCE, check, in_fork, judge

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


def hazard():
    crochet.setup()
    call()
    before = state()

    def in_child(number):
        if number % 2:
            check(call() == 42, "another answer")
            now = state()
            # The pipe to the parent is this program's own.
            now._replace(descriptors=now.descriptors - 2).check_not_grown(before, "in a child")
        return "done"

    for number in range(200):
        in_fork(lambda number=number: in_child(number))
    state().check_not_grown(before, "after 200 forks")
    check_alive()
    return f"{before.descriptors} descriptors before and after"


judge(hazard)
