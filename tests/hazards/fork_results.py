"""
In a forked child pending results raise at once, and name the fork; answered ones stay readable.
"""

from functools import partial

from _operations import check_alive, settled
from _verdict import PATIENCE, check, in_fork, judge, refusal_of
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def start():
    pending.append(Deferred())
    return pending[-1]


@crochet.run_in_reactor
def answer():
    return 42


def hazard():
    crochet.setup()
    result, uid = start(), start().stash()
    answered, answered_uid = answer(), answer().stash()
    settled()

    def in_child():
        check(answered.wait(PATIENCE) == 42, "an answered result is another")
        check(crochet.retrieve_result(answered_uid).wait(PATIENCE) == 42, "a stashed one, too")
        texts = [
            str(refusal_of(partial(each.wait, PATIENCE), crochet.ReactorStopped))
            for each in (result, crochet.retrieve_result(uid))
        ]
        check(all("fork" in text for text in texts), f"the texts say: {texts}")
        return "ReactorStopped, which names the fork"

    said = in_fork(in_child)
    settled(lambda: [each.callback(7) for each in pending] and None)
    both = [result.wait(PATIENCE), crochet.retrieve_result(uid).wait(PATIENCE)]
    check(both == [7, 7], f"in the parent: {both}")
    check_alive()
    return said


judge(hazard)
