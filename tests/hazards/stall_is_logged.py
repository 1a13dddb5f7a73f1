"""
A reactor thread that is blocked while a call waits is logged, once, with the line that blocks it.
"""

import threading

from _operations import check_alive
from _records import Records
from _verdict import PATIENCE, check, judge

import crochet

is_over = threading.Event()


@crochet.run_in_reactor
def parse_slowly():
    is_over.wait(2.5)


def hazard():
    records = Records()
    crochet.setup()
    parse_slowly().wait(PATIENCE)
    check_alive()
    records.flush_all()
    texts = [each.getMessage() for each in records.all if "parse_slowly" in each.getMessage()]
    check(len(texts) == 1, f"{len(texts)} records")
    return texts[0].partition(";")[0]


judge(hazard)
