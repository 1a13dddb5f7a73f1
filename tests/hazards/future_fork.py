"""
In a forked child the parent's futures are done for ``wait()`` and ``as_completed()``, too.
"""

import threading
from concurrent import futures

from _operations import check_alive, settled
from _verdict import PATIENCE, check, in_fork, judge, needs
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
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    every = [start().as_future() for _ in range(100)]
    every += [answer().as_future() for _ in range(100)]  # of which some have not been told of
    settled()

    def in_child():
        check(all(future.done() for future in every), "some are not done")
        done, left = futures.wait(every, PATIENCE / 3)
        check(not left, f"wait() never sees the end of {len(left)}, and saw that of {len(done)}")
        check(len(list(futures.as_completed(every, PATIENCE / 3))) == 200, "as_completed(), too")
        errors = [future.exception() for future in every]
        stopped = [error for error in errors if isinstance(error, crochet.ReactorStopped)]
        check(len(stopped) == 100, f"{len(stopped)} of 100 name the fork")
        own = answer().as_future()
        check(futures.wait([own], PATIENCE / 3).done == {own}, "the child's own is not seen")
        return "all 200 are done"

    is_over = threading.Event()

    def take_locks():
        while not is_over.is_set():
            futures.wait(every, 0)

    taking = threading.Thread(target=take_locks)
    taking.start()
    try:
        said = [in_fork(in_child) for _ in range(10)]
    finally:
        is_over.set()
        taking.join()
    settled(lambda: [each.callback(7) for each in pending] and None)
    check(not futures.wait(every, PATIENCE).not_done, "in the parent some are never done")
    check({future.result() for future in every} == {7, 42}, "other values in the parent")
    check_alive()
    return said[0]


judge(hazard)
