"""
``shutdown()`` releases waiters, cancels, lets cleanups end, and gives back threads and descriptors.
"""

import threading

from _state import state
from _verdict import PATIENCE, check, happens, in_threads, judge, needs
from twisted.internet import reactor, task, threads
from twisted.internet.defer import Deferred

import crochet

started = threading.Event()
cleaned = []


@crochet.run_in_reactor
async def operate():
    started.set()
    try:
        await Deferred()
    finally:
        await task.deferLater(reactor, 0.05, lambda: None)
        await threads.deferToThread(lambda: None)
        cleaned.append("up")


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    before = state()
    crochet.setup()
    result = operate()
    happens(started, "the operation starts")

    def wait(number):
        if number < 8:
            return result.wait(None if number % 2 else PATIENCE)
        return crochet.shutdown()

    *outcomes, last = in_threads(9, wait)
    if last is not None:
        raise last
    wrong = [each for each in outcomes if not isinstance(each, crochet.ReactorStopped)]
    check(not wrong, f"{len(wrong)} of 8 waiters got something else: {wrong[:1]}")
    check(cleaned == ["up"], "the operation's cleanup has not ended")
    state().check_not_grown(before, "after shutdown()")
    return (
        f"8 waiters released; {before.threads} threads, {before.descriptors} descriptors, as before"
    )


judge(hazard)
