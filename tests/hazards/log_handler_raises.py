"""
A log handler that raises, SystemExit too, is passed over: later records get to it and to others.
"""

import logging

from _operations import check_alive
from _records import Records
from _verdict import PATIENCE, check, judge
from twisted.logger import Logger

import crochet


class Raising(logging.Handler):
    def emit(self, record):
        text = record.getMessage()
        if text.startswith("raise"):
            raise {"exit": SystemExit, "interrupt": KeyboardInterrupt}.get(text[6:], ValueError)


@crochet.wait_for(timeout=PATIENCE)
def log(text):
    Logger().warn(text)


def hazard():
    records = Records()
    logging.getLogger("twisted").addHandler(Raising())
    crochet.setup()
    texts = ["raise error", "one", "raise exit", "two", "raise interrupt", "three"] * 3
    for text in texts:
        log(text)
    records.flush_all()
    seen = [record.getMessage() for record in records.all]
    check([text for text in seen if text in texts] == texts, f"records: {seen}")
    check_alive()
    return "all records, also those after it raised"


judge(hazard)
