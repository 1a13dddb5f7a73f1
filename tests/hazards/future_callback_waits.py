"""
A done callback that waits for another future, or for its callback, gets it; others do not wait.
"""

import threading
from concurrent import futures

from _operations import check_alive, settled
from _verdict import PATIENCE, check, judge, needs
from twisted.internet.defer import Deferred

import crochet


def pair(use):
    """
    Return two futures that are done in this order once the reactor is told to answer them; the
    callback of the first is called with the second.
    """
    deferreds = []

    @crochet.run_in_reactor
    def start():
        deferreds.append(Deferred())
        return deferreds[-1]

    first, second = start().as_future(), start().as_future()
    settled()
    outcome = futures.Future()

    def call(_):
        try:
            outcome.set_result(use(second))
        except BaseException as error:
            outcome.set_exception(error)

    first.add_done_callback(call)
    return deferreds, second, outcome


def by_callback(future):
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    check(called.wait(PATIENCE / 2), "its callback is not called")
    return future.result(0)


WAYS = {
    "result()": lambda future: future.result(PATIENCE / 2),
    "wait()": lambda future: futures.wait([future], PATIENCE / 2).done.pop().result(0),
    "as_completed()": lambda future: next(futures.as_completed([future], PATIENCE / 2)).result(0),
    "a callback": by_callback,
}


def hazard():
    needs(hasattr(crochet.EventualResult, "as_future"), "as_future()")
    crochet.setup()
    all_pairs = [(way, pair(use)) for _ in range(5) for way, use in WAYS.items()]
    settled(lambda: [deferreds[0].callback(1) for _, (deferreds, _, _) in all_pairs] and None)
    # All callbacks wait now, or are to be called. Another future has its own called all the same.
    late = crochet.run_in_reactor(lambda: 3)().as_future()
    called = threading.Event()
    late.add_done_callback(lambda _: called.set())
    check(called.wait(PATIENCE), "another future's callback is not called")
    settled(lambda: [deferreds[1].callback(2) for _, (deferreds, _, _) in all_pairs] and None)
    for way, (_, _, outcome) in all_pairs:
        check(outcome.result(PATIENCE) == 2, f"another value by {way}")
    check_alive()
    return f"{len(all_pairs)} callbacks, in {len(WAYS)} ways"


judge(hazard)
