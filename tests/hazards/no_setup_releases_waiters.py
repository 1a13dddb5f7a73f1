"""
After ``no_setup()``: waiters without a timeout are released when the program's reactor stops.
"""

import threading

from _verdict import PATIENCE, check, judge
from twisted.internet import reactor
from twisted.internet.defer import Deferred

import crochet


@crochet.run_in_reactor
def forever():
    return Deferred()


def hazard():
    crochet.no_setup()
    outcomes = []
    started = threading.Barrier(9)

    def wait():
        result = forever()
        started.wait(PATIENCE)
        try:
            result.wait(PATIENCE)
        except crochet.ReactorStopped as error:
            outcomes.append(error)

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(8)]

    def stop_once_all_wait():
        started.wait(PATIENCE)
        reactor.callFromThread(reactor.stop)

    for thread in [*threads, threading.Thread(target=stop_once_all_wait, daemon=True)]:
        thread.start()
    reactor.run()
    for thread in threads:
        thread.join(PATIENCE)
    check(len(outcomes) == 8, f"{len(outcomes)} of 8 waiters got ReactorStopped")
    return "8 of 8 got ReactorStopped"


judge(hazard)
