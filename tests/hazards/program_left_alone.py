"""
After ``setup()`` and calls: signal handlers, ``warnings``, hooks and logging are the program's own.
"""

import logging
import signal
import sys
import threading
import warnings

from _operations import settled
from _verdict import PATIENCE, check, judge
from twisted.logger import Logger

import crochet


@crochet.wait_for(timeout=PATIENCE)
def log_and_warn():
    Logger().info("something")
    warnings.warn("something else", UserWarning, stacklevel=1)


def state():
    return {
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "handlers": [list(logging.getLogger(name).handlers) for name in (None, "twisted")],
        "levels": [logging.getLogger(name).level for name in (None, "twisted")],
        "logger class": logging.getLoggerClass(),
        "methods of loggers": {**vars(logging.getLogger("twisted"))}.keys(),
        "warnings": (warnings.showwarning, warnings.warn),
        "excepthooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
    }


def hazard():
    logging.getLogger("twisted").isEnabledFor(logging.INFO)
    seen = []
    warnings.showwarning = lambda message, *args, **kwargs: seen.append(str(message))
    before = state()
    crochet.setup()
    log_and_warn()
    settled()
    after = state()
    changed = [name for name in before if before[name] != after[name]]
    check(not changed, f"changed: {', '.join(changed)}")
    check(signal.set_wakeup_fd(-1) == -1, "the wake-up descriptor of signals was set")
    check(seen == ["something else"], f"warnings shown: {seen}")
    return "nothing changed"


judge(hazard)
