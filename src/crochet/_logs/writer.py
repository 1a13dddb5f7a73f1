"""
Records, handed to a logger by a thread that may block, for threads that must not.

What must always hold:

1. A thread that puts a record, the reactor thread above all, never waits for a log handler.
2. Records are handled in the queue's order; those that are dropped are counted, and that is said.
3. Nothing that a handler does ends the writer: neither raising, nor logging to Twisted, nor calls.
4. Behind a stuck handler the queue holds ``limit`` records, one more for each thread that was just
   making one, and no others; all but a few hold no traceback, which would keep frames alive.

A writer that has no thread, in a forked child, say, or at the end, handles records in the thread
that logs, as ``logging`` always does: so ``os._exit()`` in a child loses nothing.

Threads: any may put records, also in a signal handler or a ``__del__``; see _threads/worker.py.
Counters are added to without a lock: CPython to 3.14 does not switch threads within ``+=``. (PyPy
does: there the number of dropped records can be too small, by one for each such switch.)

Why a number and not an amount of memory? What a record takes can only be guessed, for its traceback
reaches the whole program; the guess costs the reactor time, and ``sys.getsizeof()`` is CPython's.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import traceback
from contextlib import suppress
from contextvars import ContextVar
from typing import NamedTuple

from .._threads.threads import StartThread
from .._threads.worker import Worker

# One record in so many may wait with its traceback; later ones wait with its text instead.
_TRACEBACKS = 100
_RAISED = "A log handler raised, and this record was given up"
# How many handlers have led to the code that runs; see observer.py.
handler_depth: ContextVar[int] = ContextVar("crochet_log_depth", default=0)


class _Entry(NamedTuple):
    record: logging.LogRecord
    depth: int
    dropped: int  # so far, when this was queued


class Writer:
    """
    Hands records to a logger, in order, in a thread of its own from start() to stop().

    Args:
        start_thread: starts a daemon thread of that target and name.
        logger: takes the records.
        limit: how many may wait.
    """

    def __init__(self, start_thread: StartThread, logger: logging.Logger, limit: int) -> None:
        self._logger = logger
        self._limit = limit
        self._worker: Worker[_Entry] = Worker(
            start_thread, "crochet-log-writer", self._write, self._look, lingers=None
        )
        self.start = self._worker.start
        self.caller = self._worker.caller
        self.after_fork_in_child = self._worker.after_fork_in_child
        self._complaints: set[str] = set()
        # Added to by those that put records: queued, and dropped.
        self._records_in = 0
        self._dropped = 0
        # Written where records are handled, hardly ever by two threads at once.
        self._records_out = 0
        self._dropped_told = 0

    @property
    def has_thread(self) -> bool:
        """
        Whether records are handled by a thread of the writer's.
        """
        return self._worker.has_thread

    def is_full(self) -> bool:
        """
        Tell, and count, that one more record would be dropped, before it is made.
        """
        if self._worker.waiting() < self._limit:
            return False
        self._dropped += 1
        return True

    def put(self, record: logging.LogRecord, depth: int) -> None:
        """
        Queue a record, for which there was room. From any thread; blocks never, while there is a
        thread to handle it.
        """
        if record.exc_info and self._worker.waiting() >= self._limit // _TRACEBACKS:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        self._records_in += 1
        # A handler has led here, if this is deeper: the thread that called it comes for the record.
        put = self._worker.put if depth else self._worker.post
        put(_Entry(record, depth, self._dropped))

    def flush(self, timeout: float) -> bool:
        """
        Wait until what is queued now has been handled. Blocks up to *timeout* seconds.

        Returns:
            True if all was handled.
        """
        return self._worker.flush(0.0 if handler_depth.get() else timeout)

    def stop(self, timeout: float) -> bool:
        """
        Have the thread handle what is queued, and end. Blocks, and returns, like :meth:`flush`.
        """
        return self._worker.stop(0.0 if handler_depth.get() else timeout)  # not for itself

    def unwritten(self) -> int:
        """
        Count the records that were not handled.
        """
        return self._records_in - self._records_out + self._dropped - self._dropped_told

    def complain(self, what: str, error: BaseException | None = None) -> None:
        """
        Say something on stderr, once for each type of error.
        """
        key = f"{what} {type(error)}"
        if key not in self._complaints:
            self._complaints.add(key)
            details = "".join(traceback.format_exception(error)) if error else ""
            say(f"{what}. This is said once.\n{details}")

    def _write(self, entry: _Entry) -> None:
        try:
            self._tell_dropped(entry.dropped)
            self._handle(entry.record, entry.depth)
        finally:
            self._records_out += 1

    def _look(self) -> None:
        if not self._worker.waiting():
            self._tell_dropped(self._dropped)

    def _handle(self, record: logging.LogRecord, depth: int) -> None:
        token = handler_depth.set(depth + 1)
        try:
            if self._logger.disabled and record.levelno >= logging.CRITICAL and logging.lastResort:
                logging.lastResort.handle(record)  # see LogBridge._is_cut_off()
            else:
                self._logger.handle(record)
        except BaseException as error:
            # A handler's SystemExit does not end the writer's thread. In one that logs, it may be a
            # signal handler's exception, and goes on; other errors are not that thread's.
            if not isinstance(error, Exception) and not self._worker.is_current():
                raise
            self.complain(_RAISED, error)
        finally:
            handler_depth.reset(token)

    def _tell_dropped(self, dropped: int) -> None:
        number = dropped - self._dropped_told
        if number <= 0:
            return
        self._dropped_told = dropped
        name, level = self._logger.name, logging.WARNING
        if is_wanted(self._logger, level):
            text = f"{number} log records were dropped: log handlers were stuck or too slow, and "
            text += f"{self._limit} records were waiting for them"
            note = self._logger.makeRecord(name, level, __file__, 0, text, (), None)
            self._handle(note, 1)


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """
    Tell whether a logger takes records of that level, without taking logging's lock.
    """
    return not logger.disabled and is_admitted(logger, level)


def is_admitted(logger: logging.Logger, level: int) -> bool:
    """
    Tell whether a logger would take records of that level if it were not disabled. Likewise.
    """
    return level > logger.manager.disable and level >= logger.getEffectiveLevel()


def say(text: str) -> None:
    """
    Write to the process's own stderr, rather not at all than wait.
    """
    # Not through its buffer: a handler stuck in writing there holds the buffer's lock.
    with suppress(Exception):
        assert sys.__stderr__ is not None
        to = sys.__stderr__.fileno()
        if os.name != "posix" or select.select([], [to], [], 0)[1]:
            os.write(to, f"crochet: {text}".encode(errors="backslashreplace"))
