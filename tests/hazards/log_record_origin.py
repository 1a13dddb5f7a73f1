"""
A record has the file, line, function and time of the code that logged, and its thread.
"""

import logging
import threading
import time

from _records import Records
from _verdict import PATIENCE, check, judge
from twisted.logger import Logger

import crochet


@crochet.wait_for(timeout=PATIENCE)
def log_in_reactor():
    Logger().error("here")
    return time.time(), threading.get_ident()


def hazard():
    records = Records()
    crochet.setup()
    began = time.time()
    ended, thread = log_in_reactor()
    (record,) = (each for each in records.errors() if each.getMessage() == "here")
    check(record.levelno == logging.ERROR, f"level {record.levelname}")
    check(began <= record.created <= ended, "another time")
    check(record.pathname == __file__, f"file {record.pathname}")
    check(record.funcName == "log_in_reactor", f"function {record.funcName}")
    check(record.thread == thread, f"thread {record.threadName}")
    return f"{record.filename}:{record.lineno} {record.funcName}() in {record.threadName}"


judge(hazard)
