"""
A log handler that calls the library and waits, and logs to Twisted: no deadlock and no loop.
"""

import logging

from _operations import check_alive
from _records import Records
from _verdict import PATIENCE, check, judge
from twisted.logger import Logger

import crochet

log = Logger()


class Calling(logging.Handler):
    def emit(self, record):
        log.warn("from the handler")
        try:
            double(21)
        except crochet.ReactorStopped:
            pass  # at the end, the reactor's last words


@crochet.wait_for(timeout=PATIENCE / 3)
def double(number):
    log.warn("double({number})", number=number)
    return 2 * number


def hazard():
    records = Records()
    logging.getLogger("twisted").addHandler(Calling())
    crochet.setup()
    for number in range(10):
        check(double(number) == 2 * number, "another call's answer")
    records.flush_all()
    number = len(records.all)
    check(number < 1_000, f"{number} records of 10 calls")
    check_alive()
    # Once more: a loop would have gone on.
    for _ in range(3):
        records.flush_all()
    check(len(records.all) < number + 1_000, f"the records have become {len(records.all)}")
    return f"{number} records of 10 calls"


judge(hazard)
