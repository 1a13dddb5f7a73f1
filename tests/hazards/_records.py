"""
What gets to ``logging``.
"""

from __future__ import annotations

import logging
import threading
import time

from _verdict import PATIENCE, happens
from twisted.logger import Logger

_log = Logger()


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
        text = f"mark {len(self._marks)}"
        self._marks[text] = threading.Event()
        _log.error(text)
        happens(self._marks[text], "a log record gets to its handler")

    def wait_for_errors(self, number: int) -> list[logging.LogRecord]:
        """
        Wait until so many errors have got here, and return all.

        That of a result is logged by a thread, once the result is dropped.
        """
        end = time.monotonic() + PATIENCE
        while len(self.errors()) < number and time.monotonic() < end:
            time.sleep(0.01)
        return self.errors()

    def errors(self) -> list[logging.LogRecord]:
        """
        Return the errors of all that was logged by now.
        """
        self.flush_all()
        return [record for record in self.all if record.levelno >= logging.ERROR]
