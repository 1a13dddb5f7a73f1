"""
``cancel()`` before the start, while running, afterwards, and twice: never hangs, never logs.
"""

import logging
import threading

from _operations import Operations, settled
from _verdict import PATIENCE, check, happens, in_threads, judge, outcome_of, refusal_of
from twisted.internet.defer import CancelledError, Deferred

import crochet

operations = Operations()
runs = []
is_busy = threading.Event()
may_go_on = threading.Event()
records = []


class Keep(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            records.append(record.getMessage())


@crochet.run_in_reactor
def occupy():
    is_busy.set()
    may_go_on.wait(PATIENCE)


@crochet.run_in_reactor
def run():
    runs.append("run")


@crochet.run_in_reactor
def operate():
    return operations.start()


@crochet.run_in_reactor
def stubborn():
    # Its canceller does nothing.
    return Deferred(lambda deferred: None)


@crochet.run_in_reactor
def value():
    return 42


def hazard():
    logging.getLogger().addHandler(Keep())
    crochet.setup()
    occupy()
    happens(is_busy, "the reactor thread is busy")
    early = run()
    early.cancel()
    early.cancel()
    may_go_on.set()
    refusal_of(lambda: early.wait(PATIENCE), CancelledError)
    check(not runs, "cancelled before its start, and ran")
    running = operate()
    settled()
    in_threads(8, lambda _: running.cancel())
    refusal_of(lambda: running.wait(PATIENCE), CancelledError)
    ended = value()
    check(ended.wait(PATIENCE) == 42, "another value")
    ended.cancel()
    settled()
    check(ended.wait(0) == 42, "cancelling changed an answer that was there")
    outcome = in_threads(1, lambda _: outcome_of(stubborn().cancel))
    check(outcome == [None], f"cancel() raised {outcome}")
    settled()
    logging.getLogger("twisted").error("marker")
    check(records == ["marker"], f"logged: {records}")
    return "as it should"


judge(hazard)
