"""
Ten jobs in the reactor's pool that each wait for a call which needs the pool do not get stuck.
"""

import time

from _verdict import PATIENCE, check, judge
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

import crochet


@crochet.wait_for(timeout=PATIENCE / 5)
def resolve():
    return deferToThread(lambda: "127.0.0.1")


@crochet.run_in_reactor
def ten_jobs():
    return gatherResults([deferToThread(resolve) for _ in range(10)], consumeErrors=True)


def hazard():
    crochet.setup()
    began = time.monotonic()
    answers = ten_jobs().wait(PATIENCE)
    check(answers == ["127.0.0.1"] * 10, f"they got {answers}")
    return f"10 answers after {time.monotonic() - began:.2f} s"


judge(hazard)
