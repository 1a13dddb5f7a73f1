"""
``setup(logging=False)`` hands nothing to ``logging``, and leaves Twisted's log as it was.
"""

import inspect
import threading

from _operations import settled
from _records import Records
from _verdict import PATIENCE, check, judge, needs
from twisted.logger import Logger, globalLogPublisher

import crochet


@crochet.wait_for(timeout=PATIENCE)
def log():
    Logger().error("something")
    # Besides these two: since 3.0 one watches the reactor's, and one logs the errors of results.
    others = "crochet-watch", "crochet-finalizer"
    return [thread.name for thread in threading.enumerate() if thread.name not in others]


def hazard():
    needs("logging" in inspect.signature(crochet.setup).parameters, "setup(logging=False)")
    records = Records()
    before = list(globalLogPublisher._observers)
    crochet.setup(logging=False)
    threads = log()
    settled()
    check(list(globalLogPublisher._observers) == before, "it observes Twisted's log")
    check(len(threads) == 2, f"{threads}, where the reactor's is the only other one")
    check(not records.all, f"records: {records.all}")
    return "nothing handed on"


judge(hazard)
