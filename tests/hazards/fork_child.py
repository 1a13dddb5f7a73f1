"""
In a forked child calls are answered, by a reactor that the first of them starts; the parent's too.
"""

import threading

from _operations import check_alive
from _verdict import PATIENCE, check, in_fork, judge

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    from twisted.internet import reactor

    check(reactor.running, "the reactor that the program imports does not run")
    return threading.current_thread().name


def hazard():
    crochet.setup()
    thread = call()

    def in_child():
        before = threading.active_count()
        check(before == 1, f"{before} threads before the first call")
        return call()

    said = in_fork(in_child)
    check(said == thread, f"in the child: {said}")
    check_alive()
    return "lazily, through the same reactor object"


judge(hazard)
