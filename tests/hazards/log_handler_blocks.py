"""
A log handler that blocks never blocks the reactor: calls that log go on being answered.
"""

import logging
import threading

from _verdict import PATIENCE, check, happens, judge
from twisted.logger import Logger

import crochet

is_blocked = threading.Event()
may_go_on = threading.Event()
records = []


class Blocking(logging.Handler):
    def emit(self, record):
        is_blocked.set()
        may_go_on.wait(PATIENCE)
        records.append(record.getMessage())
        if record.getMessage() == "call 99":
            is_done.set()


is_done = threading.Event()


@crochet.wait_for(timeout=PATIENCE / 3)
def log(number):
    Logger().warn("call {number}", number=number)
    return number


def hazard():
    logging.getLogger("twisted").addHandler(Blocking())
    crochet.setup()
    log(-1)
    happens(is_blocked, "the handler is called")
    for number in range(100):
        check(log(number) == number, "another call's answer")
    may_go_on.set()
    happens(is_done, "the last record is handled")
    expected = [f"call {number}" for number in range(-1, 100)]
    mine = [text for text in records if text.startswith("call")]
    check(mine == expected, "records are missing or out of order")
    return "100 calls answered beside it, all records in order"


judge(hazard)
