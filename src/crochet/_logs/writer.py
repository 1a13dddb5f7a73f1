"""
Records, handed to a logger by a thread that may block, for threads that must not.

What must always hold:

1. Whoever puts a record, the reactor thread above all, never waits for a log handler.
2. Records are handled in the queue's order; what must be dropped is counted and said.
3. Nothing a handler does ends the writer: not raising, not logging to Twisted, not calling us.
4. Behind a stuck handler the queue holds ``limit`` records, one more for each thread that was just
   making one, and no others; all but a few hold no traceback, which would keep frames alive.
5. At rest the writer is blocked on a raw lock, and keeps nothing of the last record alive.

Waking the writer. ``_wake`` is a raw lock, locked while there is nothing to heed:

1. An emitter appends its entry, then unlocks ``_wake`` if it is locked.
2. The writer takes entries until there is none, then locks ``_wake``, waiting for that if need be.

Verdict: an entry that the writer did not see was appended after its last look; the unlocking
comes later still, and the writer's next locking returns at once. Two emitters who both find it
locked unlock it twice; the second gets a RuntimeError and need do nothing. If a signal's
exception strikes an emitter between its two steps, the entry goes out with the next one.

The end, and an entry that meets it:

1. An emitter has fetched the writer.
2. The writer sets ``has_ended``, then takes entries until there is none, and ends.
3. The emitter appends its entry, then reads ``has_ended``, and handles what is queued itself.

Verdict: the last look of 2 sees the entry, or 3 sees the flag. If both, one of them gets it. A
forked child has no writer and the flag is set from the start: there handlers run in the thread
that logs, as they always do in ``logging``, and ``os._exit()`` loses nothing.

No locks but ``_wake`` and those of marks, raw ones, which are handed over and never held: a signal
handler or a ``__del__`` that logs may interrupt any step, and a fork any thread. Counters are added
to without one: CPython to 3.14 does not switch threads within ``+=``. (PyPy does: there a number
that is told of dropped records can be too small, by one for each such switch.) Not ``queue.Queue``:
a signal's exception can leave its locks locked.

Why a number and not an amount of memory? What a record takes can only be guessed, for its traceback
reaches the whole program; the guess costs the reactor time, and ``sys.getsizeof()`` is CPython's.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import NamedTuple, Protocol

# One record in so many may wait with its traceback; later ones wait with its text instead.
_TRACEBACKS = 100
_RAISED = "A log handler raised, and this record was given up"
# How many handlers have led to the code that runs. The note in _logs tells what for.
handler_depth: ContextVar[int] = ContextVar("crochet_log_depth", default=0)

StartThread = Callable[[Callable[[], object], str], threading.Thread]


class RawLock(Protocol):
    """
    What we use of ``_thread.allocate_lock()``.
    """

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...


class _Entry(NamedTuple):
    record: logging.LogRecord
    depth: int
    dropped: int  # so far, when this was queued


class _Mark(NamedTuple):
    reached: RawLock
    is_end: bool


class _Errand(NamedTuple):
    function: Callable[..., object]
    args: tuple[object, ...]


class Writer:
    """
    Hands records to a logger, in order, in a thread of its own while it has one.
    """

    def __init__(
        self, logger: logging.Logger, limit: int, allocate_lock: Callable[[], RawLock]
    ) -> None:
        self._logger = logger
        self._limit = limit
        self._allocate_lock = allocate_lock
        self._queue: deque[_Entry | _Mark | _Errand] = deque()
        self._wake = allocate_lock()
        self._wake.acquire()
        self._thread: threading.Thread | None = None
        self._complaints: set[str] = set()
        self.has_ended = True
        # Added to by emitters: records that did not enter the queue.
        self._dropped = 0
        # Written by whoever takes entries, hardly ever two at once.
        self._records_out = 0
        self._dropped_told = 0
        self._is_handling = False

    def start(self, start_thread: StartThread) -> None:
        """
        Start the thread. If that fails, nothing has changed.
        """
        self.has_ended = False
        try:
            self._thread = start_thread(self._run, "crochet-log-writer")
        except BaseException:
            self.has_ended = True
            self._awake()  # a signal's exception may have come when it was running already
            raise

    def is_full(self) -> bool:
        """
        Tell, and count, that one more record would be dropped, before it is made.
        """
        if len(self._queue) < self._limit:
            return False
        self._dropped += 1
        return True

    def put(self, record: logging.LogRecord, depth: int) -> None:
        """
        Queue a record, for which there was room. From any thread; blocks never, while there is a
        thread to handle it.
        """
        if record.exc_info and len(self._queue) >= self._limit // _TRACEBACKS:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        try:
            self._queue.append(_Entry(record, depth, self._dropped))
        finally:
            self._awake()
        if self._is_alone() and depth == 0:  # deeper, whoever called the handler comes for it
            self.drain()

    def flush(self, timeout: float, *, is_end: bool = False) -> bool:
        """
        Wait until what is queued now has been handled. Blocks up to *timeout* seconds.

        Args:
            timeout: seconds.
            is_end: have the thread end then.

        Returns:
            True if all was handled.
        """
        mark = _Mark(self._allocate_lock(), is_end)
        mark.reached.acquire()
        self._queue.append(mark)
        self._awake()
        if self._is_alone():
            self.drain()
        if handler_depth.get() or sys.is_finalizing():
            timeout = 0.0  # a handler would wait for itself; and frozen threads do not come
        return mark.reached.acquire(True, min(timeout, threading.TIMEOUT_MAX))

    def end(self, timeout: float) -> bool:
        """
        Have the thread handle what is queued, and end. Blocks, and returns, like :meth:`flush`.
        """
        has_flushed = self.flush(timeout, is_end=True)
        if has_flushed and self._thread is not None:
            self._thread.join(timeout)
        return has_flushed

    def abandon(self) -> None:
        """
        Forget what is queued, in a forked child: the parent handles it.
        """
        self.has_ended = True
        self._queue.clear()

    def call_from_thread(self, function: Callable[..., object], /, *args: object) -> None:
        """
        Have the thread call something between two records, before those that wait. Blocks never.
        """
        self._queue.appendleft(_Errand(function, args))
        self._awake()

    def has_thread(self) -> bool:
        """
        Tell whether there is a thread to write, other than this one.
        """
        thread = self._thread
        return not self.has_ended and thread is not None and thread.ident != threading.get_ident()

    def unwritten(self) -> int:
        """
        Count the records that were not handled.
        """
        waiting = sum(isinstance(entry, _Entry) for entry in self._queue.copy())
        return waiting + self._is_handling + self._dropped - self._dropped_told

    def drain(self) -> None:
        """
        Handle what is queued, in this thread. Blocks as long as handlers do.
        """
        while True:
            try:
                entry = self._queue.popleft()
            except IndexError:
                break
            if isinstance(entry, _Errand):
                entry.function(*entry.args)
                continue
            if isinstance(entry, _Mark):
                self.has_ended = self.has_ended or entry.is_end
                entry.reached.release()
                continue
            self._is_handling = True
            try:
                self._tell_dropped(entry.dropped)
                self._handle(entry.record, entry.depth)
            finally:
                self._is_handling = False
                self._records_out += 1
        self._tell_dropped(self._dropped)

    def complain(self, what: str, error: BaseException | None = None) -> None:
        """
        Say something on stderr, once for each type of error.
        """
        key = f"{what} {type(error)}"
        if key not in self._complaints:
            self._complaints.add(key)
            details = "".join(traceback.format_exception(error)) if error else ""
            say(f"{what}. This is said once.\n{details}")

    def _awake(self) -> None:
        if self._wake.locked():
            with suppress(RuntimeError):  # another emitter was faster
                self._wake.release()

    def _is_alone(self) -> bool:
        # The interpreter's end freezes a daemon thread where it is. If that is within a handler,
        # its lock is locked for ever, and the record stays queued.
        return self.has_ended or (sys.is_finalizing() and not self._is_handling)

    def _run(self) -> None:
        while not self.has_ended:
            try:
                self.drain()
                if not self.has_ended:
                    self._wake.acquire()
            except BaseException as error:  # a handler's SystemExit ends no thread
                self.complain(_RAISED, error)

    def _handle(self, record: logging.LogRecord, depth: int) -> None:
        token = handler_depth.set(depth + 1)
        try:
            if self._logger.disabled and record.levelno >= logging.CRITICAL and logging.lastResort:
                logging.lastResort.handle(record)  # see LogBridge._is_cut_off()
            else:
                self._logger.handle(record)
        except Exception as error:  # it is not for whoever logged
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
