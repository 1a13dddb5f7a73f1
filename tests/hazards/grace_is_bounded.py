"""
A wait that was given up waits for the cleanup, no longer than its grace; a second Ctrl-C skips it.
"""

import os
import signal
import threading
import time

from _operations import check_alive
from _verdict import PATIENCE, check, happens, judge, needs, refusal_of
from twisted.internet.defer import Deferred

import crochet

GRACE = 0.3
# Waits that are to be short have this, and it must not be used up.
LONG = PATIENCE / 2


def later(seconds):
    from twisted.internet import reactor, task

    return task.deferLater(reactor, seconds)


class Cleaning:
    """
    An operation that cleans up behind itself when it is cancelled.
    """

    def __init__(self, seconds):
        self.started = threading.Event()
        self.told = threading.Event()
        self.ended = threading.Event()
        self._seconds = seconds
        self.rest = Deferred()

    async def run(self):
        self.started.set()
        try:
            await Deferred()
        finally:
            self.told.set()
            await (self.rest if self._seconds is None else later(self._seconds))
            self.ended.set()


def timed(call, *wanted):
    """
    Return what a call raised, and after how many seconds.
    """
    began = time.monotonic()
    error = refusal_of(call, *wanted)
    return error, time.monotonic() - began


def given_up(operation, grace):
    return timed(crochet.wait_for(0.02, grace=grace)(operation.run), crochet.TimeoutError)


def check_cleanup():
    """
    Check that the error comes after the cleanup, or after the grace, and says which.
    """
    operation = Cleaning(0.1)
    error, seconds = given_up(operation, LONG)
    check(operation.ended.is_set(), "the error came before the cleanup's end")
    check(error.cancelled and error.ended, f"cancelled {error.cancelled}, ended {error.ended}")
    check(seconds < LONG, f"it took {seconds:.1f} s")
    for grace in (GRACE, 0):
        operation = Cleaning(None)
        error, seconds = given_up(operation, grace)
        check(error.cancelled and not error.ended, "ended is true of one that goes on")
        check("has not ended" in str(error), f"the text says: {error}")
        check(grace <= seconds < grace + LONG, f"a grace of {grace:g} s was {seconds:.1f} s")
        happens(operation.told, "the operation is cancelled")
        crochet.wait_for(PATIENCE)(lambda rest=operation.rest: rest.callback(None))()
        happens(operation.ended, "the cleanup ends")
    is_over = threading.Event()
    blocking = crochet.run_in_reactor(lambda: is_over.wait(PATIENCE))()
    operation = Cleaning(0)
    error, seconds = given_up(operation, LONG)
    is_over.set()
    check(error.ended and seconds < LONG, f"a busy reactor was waited for: {seconds:.1f} s")
    blocking.wait(PATIENCE)
    check(not operation.started.is_set(), "it was withdrawn, and was started all the same")


def check_second_interrupt():
    """
    Check that one Ctrl-C waits for the cleanup, and a second one does not.
    """

    def press(*moments):
        for moment in moments:
            moment.wait(PATIENCE)
            time.sleep(0.05)  # it is about to wait, or else waits a moment later
            os.kill(os.getpid(), signal.SIGINT)

    operation = Cleaning(0.2)
    threading.Thread(target=press, args=(operation.started,), daemon=True).start()
    error, seconds = timed(crochet.wait_for(None, grace=LONG)(operation.run), KeyboardInterrupt)
    check(operation.ended.is_set(), "one Ctrl-C: the error came before the cleanup's end")
    check(seconds < LONG, f"one Ctrl-C: {seconds:.1f} s")
    notes = getattr(error, "__notes__", ["its Deferred was cancelled"])  # from Python 3.11 on
    check("its Deferred was cancelled" in str(notes), f"one Ctrl-C: the notes say {notes}")

    operation = Cleaning(None)
    both = (operation.started, operation.told)
    threading.Thread(target=press, args=both, daemon=True).start()
    error, seconds = timed(crochet.wait_for(None, grace=LONG)(operation.run), KeyboardInterrupt)
    check(operation.told.is_set(), "two Ctrl-C: it was not cancelled")
    check(not operation.ended.is_set(), "two Ctrl-C: it had ended")
    check(seconds < LONG, f"two Ctrl-C: {seconds:.1f} s, the grace was not skipped")


def hazard():
    needs(hasattr(crochet.wait_for(1)(check_alive), "with_timeout"), "wait_for(timeout, grace=...)")
    needs(os.name == "posix", "SIGINT by os.kill")
    crochet.setup()
    check_cleanup()
    check_second_interrupt()
    check_alive()
    return "waited for, cut short, not begun with a busy reactor, skipped by a second Ctrl-C"


judge(hazard)
