"""
Code that calls the library from where Python may run it: in a collection, or a signal handler.
"""

from __future__ import annotations

import logging
import threading

from twisted.internet.defer import Deferred
from twisted.logger import Logger

import crochet

_log = Logger()
# What nobody takes is to be logged, and not to be read here.
logging.getLogger("twisted").addHandler(logging.NullHandler())


@crochet.run_in_reactor
def at_once():
    return 42


@crochet.run_in_reactor
def failing():
    raise ValueError("nobody takes this")


@crochet.run_in_reactor
def pending():
    return Deferred()


class Reentry:
    """
    Calls the library in every way that does not block; counts.

    Entered once more while it is at work in the same thread, it does nothing, or it would never
    come to an end.
    """

    def __init__(self) -> None:
        self.count = 0
        # Calls that came too early, in the middle of setup().
        self.refused = 0
        self._entered = threading.local()
        self._results: list[crochet.EventualResult[object]] = []

    def __call__(self) -> None:
        if getattr(self._entered, "now", False):
            return
        self._entered.now = True
        try:
            self._call()
            self.count += 1
        finally:
            self._entered.now = False

    def _call(self) -> None:
        crochet.setup()
        try:
            result = pending()
        except Exception:
            self.refused += 1
            return
        uid = result.stash()
        result.cancel()
        crochet.retrieve_result(uid).original_failure()
        # Kept for a while, to be dropped with its failure when it has one.
        self._results.append(failing())
        self._results.append(at_once())
        if len(self._results) > 20:
            del self._results[:10]
        if hasattr(result, "add_done_callback"):
            result.add_done_callback(lambda _: None)
            result.done()
        _log.info("called again")
