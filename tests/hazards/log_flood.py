"""
Behind a stuck handler 10,000 records wait at most; how many were dropped is said.
"""

import logging
import threading
import tracemalloc

from _verdict import PATIENCE, check, happens, judge
from twisted.logger import Logger

import crochet

is_stuck = threading.Event()
may_go_on = threading.Event()
is_done = threading.Event()
texts = []


class Stuck(logging.Handler):
    def emit(self, record):
        is_stuck.set()
        may_go_on.wait(5 * PATIENCE)
        text = record.getMessage()
        if text == "the end":
            is_done.set()
        if len(text) < 500:
            texts.append(text)


@crochet.wait_for(timeout=4 * PATIENCE)
def flood(records):
    log = Logger()
    for number in range(records):
        log.warn("GET /{number} HTTP/1.1 200", number=number)


def hazard():
    logger = logging.getLogger("twisted")
    logger.propagate = False
    logger.addHandler(Stuck())
    crochet.setup()
    Logger().warn("the beginning")
    happens(is_stuck, "the handler is called")
    tracemalloc.start()
    flood(100_000)
    megabytes = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    check(megabytes < 30, f"{megabytes:.0f} MB behind a stuck handler")
    may_go_on.set()
    # Until there is room for it.
    while not is_done.is_set():
        Logger().warn("the end")
        is_done.wait(0.05)
    check(any("dropped" in text for text in texts), f"nothing says so: {texts}")
    return f"{megabytes:.0f} MB, and a record says how many were dropped"


judge(hazard)
