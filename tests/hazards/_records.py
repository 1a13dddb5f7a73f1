"""
What gets to ``logging``.
"""

from __future__ import annotations

import logging
import sys
import threading

from _verdict import happens
from twisted.logger import Logger

_log = Logger()


def flush_dropped() -> None:
    """
    Wait until what is to be logged for results that were dropped has been, where a thread does it.
    """
    bridge = getattr(getattr(sys.modules.get("crochet"), "_event_loop", None), "bridge", None)
    when_dropped = getattr(bridge, "when_dropped", None)
    if when_dropped is not None:
        is_done = threading.Event()
        when_dropped(is_done.set)
        is_done.wait(1.0)  # there is none if no reactor runs


class Records(logging.Handler):
    """
    Keeps the records that get to the logger ``twisted``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []
        self._marks: dict[str, threading.Event] = {}
        logger = logging.getLogger("twisted")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """
        Keep a record.
        """
        mark = self._marks.get(record.getMessage())
        if mark is None:
            self.all.append(record)
        else:
            mark.set()

    def flush_all(self) -> None:
        """
        Wait until all that was logged by now has got here.
        """
        flush_dropped()
        text = f"mark {len(self._marks)}"
        self._marks[text] = threading.Event()
        _log.error(text)
        happens(self._marks[text], "a log record gets to its handler")

    def errors(self) -> list[logging.LogRecord]:
        """
        Return the errors of all that was logged by now.
        """
        self.flush_all()
        return [record for record in self.all if record.levelno >= logging.ERROR]
