"""
The end of the reactor, as waiters and callers see it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from _verdict import PATIENCE, check, in_thread, in_threads, outcome_of, refusal_of
from twisted.internet.defer import Deferred

import crochet


@crochet.wait_for(timeout=None)
def wait_for_ever():
    return Deferred()


@crochet.run_in_reactor
def start():
    return Deferred()


@crochet.run_in_reactor
def call_in_reactor(end):
    from twisted.internet import reactor

    # Not from within the call itself, which would have to be answered.
    reactor.callLater(0.05, end)
    return threading.current_thread()


def check_end(end: Callable[[], object]) -> str:
    """
    Have 10 threads wait, call *end* in the reactor, and say what came of them.
    """
    crochet.setup()
    result = start()

    def wait(number: int) -> object:
        if number == 0:
            return call_in_reactor(end).wait(PATIENCE)
        return wait_for_ever() if number < 6 else result.wait(None)

    thread, *outcomes = in_threads(11, wait)
    wrong = [each for each in outcomes if not isinstance(each, crochet.ReactorStopped)]
    check(not wrong, f"{len(wrong)} of 10 waiters got something else: {wrong[:1]}")
    assert isinstance(thread, threading.Thread)
    thread.join(PATIENCE)
    # These have no timeout: they would hang.
    for call in (wait_for_ever, lambda: start().wait(None)):
        (outcome,) = in_threads(1, lambda _, call=call: call())
        check(isinstance(outcome, crochet.ReactorStopped), f"a later call: {outcome!r}")
    return "10 waiters released, later calls refused"


def check_restart(end: Callable[[], object]) -> str:
    """
    Three times, have *end* called in the reactor, and then setup() start it again.
    """
    for _ in range(3):
        crochet.setup()
        thread = in_thread(lambda: call_in_reactor(end).wait(PATIENCE))
        thread.join(PATIENCE)
        check(not thread.is_alive(), "the reactor thread has not ended")
        refusal_of(lambda: in_thread(answer), crochet.ReactorStopped)
        crochet.setup()
        outcome = in_thread(lambda: [outcome_of(answer)])[0]
        check(outcome == "done in the pool", f"a call after setup(): {outcome!r}")
    return "3 times"


@crochet.wait_for(timeout=PATIENCE)
def answer():
    from twisted.internet.threads import deferToThread

    return deferToThread(lambda: "done in the pool")
