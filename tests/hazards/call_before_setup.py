"""
A call before ``setup()`` raises at once, says what to do, and its body is not run later.
"""

from _operations import settled
from _verdict import check, judge, refusal_of

import crochet

runs = []


@crochet.wait_for(timeout=5.0)
def waited_for():
    runs.append("wait_for")


@crochet.run_in_reactor
def in_background():
    runs.append("run_in_reactor")


def hazard():
    texts = [str(refusal_of(call, Exception)) for call in (waited_for, in_background)]
    crochet.setup()
    settled()
    check(not runs, f"run after all: {runs}")
    check(all("setup()" in text for text in texts), f"the texts say: {texts}")
    return "both raise, which names setup()"


judge(hazard)
