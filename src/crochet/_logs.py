"""
Twisted's log events, to the program's ``logging``, through a thread that may block.

What must always hold:

1. Whoever logs to Twisted, the reactor thread above all, never waits for a log handler.
2. Each event becomes one record, in the queue's order; what must be dropped is counted and said.
   Nothing that waits in the queue is lost at exit while handlers get on with it.
3. Nothing a handler does ends the writer: not raising, not logging to Twisted, not calling us.
4. Behind a stuck handler the queue holds about ``limit_bytes``, and no more.
5. At rest the writer is blocked on a raw lock, and keeps nothing of the last record alive.

A record is made, and its text formatted, where the event is emitted. Later would be cheaper for
the reactor, but formatting runs code of the program's objects, which are seldom made for another
thread and may have changed by then, and only text can be measured. Events below the logger's
level are dropped first. ``Logger.isEnabledFor()`` is not asked: it takes logging's lock, which
``dictConfig()`` holds while it builds handlers, and the reactor would wait for those.

An event does not say who emitted it, but it is handed on by plain calls: the first frame outside of
Twisted's logging is the caller, and gives the record its file, line and function. The event's
namespace and system are the record's ``twisted_namespace`` and ``twisted_system``.

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

No locks but those two raw ones, which are handed over and never held: a signal handler or a
``__del__`` that logs may interrupt any step, and a fork any thread. Counters are added to without
one: CPython to 3.13 does not switch threads within ``+=``, and what an interrupted emitter
reserved is given back when the queue is empty. Not ``queue.Queue``: a signal's exception can leave
its locks locked.

Loops. Handlers run with ``_depth`` set, which reaches the bodies of calls that they make through
us, for these run in their caller's context. An event emitted within a handler is queued like any
other. One that is emitted while a handler handles that one is dropped: else each would breed one.
"""

from __future__ import annotations

import _thread
import gc
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import FrameType, TracebackType
from typing import NamedTuple, Protocol, cast
from weakref import ReferenceType

from twisted.logger import (
    ILogObserver,
    LimitedHistoryLogObserver,
    LogBeginner,
    LogEvent,
    LogLevel,
    LogPublisher,
    formatEvent,
    globalLogBeginner,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

LIMIT_BYTES = 20_000_000
# Of a record and its entry, without text. Measured; test_logs.py would notice too small a figure.
_RECORD_BYTES = 950 if sys.version_info >= (3, 11) else 1_800
# What is looked into to see how much memory a failure keeps alive. Not objects at large: by way
# of ``self`` they reach the whole program, which is alive anyhow.
_LOOKED_INTO = (TracebackType, FrameType, BaseException, tuple, list, dict, set, frozenset, deque)
_MOST_LOOKED_AT = 300
_LEAST_BYTES_HELD = 10_000  # for what is not looked into
# Records a second. Handlers that write fewer get `timeout` seconds in all at exit.
_STEADY = 10
_LEVELS: dict[object, int] = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}
_BETWEEN = {"twisted.python.log", "twisted.python.threadable", __name__}
_UNKNOWN = ("(unknown file)", 0, "(unknown function)")
_RAISED = "A log handler raised, and this record was given up"
_ECHOED = "A log handler logs to Twisted whatever it handles: what it logged of that was dropped"
# How many handlers have led to the code that runs. See the head of this file.
_depth: ContextVar[int] = ContextVar("crochet_log_depth", default=0)

StartThread = Callable[[Callable[[], object], str], threading.Thread]
ExcInfo = tuple[type[BaseException], BaseException, "TracebackType | None"]


class RawLock(Protocol):
    """
    What we use of ``_thread.allocate_lock()``.
    """

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...


class _Entry(NamedTuple):
    record: logging.LogRecord
    size: int
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
        self, logger: logging.Logger, limit_bytes: int, allocate_lock: Callable[[], RawLock]
    ) -> None:
        self._logger = logger
        self._limit = limit_bytes
        self._allocate_lock = allocate_lock
        self._queue: deque[_Entry | _Mark | _Errand] = deque()
        self._wake = allocate_lock()
        self._wake.acquire()
        self._thread: threading.Thread | None = None
        self._complaints: set[str] = set()
        self.has_ended = True
        # Added to by emitters: bytes and records that entered the queue, records that did not.
        self._bytes_in = 0
        self._records_in = 0
        self._dropped = 0
        # Written by whoever takes entries, hardly ever two at once.
        self._bytes_out = 0
        self._records_out = 0
        self._dropped_told = 0
        self._last_out = 0.0
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
        if self._bytes_in - self._bytes_out + _RECORD_BYTES <= self._limit:
            return False
        self._dropped += 1
        return True

    def put(self, record: logging.LogRecord, depth: int) -> None:
        """
        Queue a record, or count it as dropped. From any thread; blocks never, while there is a
        thread to handle it.
        """
        size = _RECORD_BYTES + sys.getsizeof(record.msg) + sys.getsizeof(record.exc_text)
        if record.exc_info:
            # A traceback keeps frames alive, whose size is a guess. Behind slow handlers, it gives
            # way to its text.
            held = _guess_bytes_held(record.exc_info[1:], self._limit)
            if self._bytes_in - self._bytes_out + size + held > self._limit // 2:
                record.exc_text = logging.Formatter().formatException(record.exc_info)
                record.exc_info = None
                held = sys.getsizeof(record.exc_text)
            size += held
        self._bytes_in += size  # reserved, before another emitter looks
        if self._bytes_in - self._bytes_out > self._limit:
            self._bytes_in -= size
            self._dropped += 1
            return
        self._records_in += 1
        try:
            self._queue.append(_Entry(record, size, depth, self._dropped))
        finally:
            self._awake()
        if self._is_alone() and depth == 0:  # deeper, whoever called the handler comes for it
            self.drain()

    def flush(self, timeout: float, *, is_end: bool = False) -> bool:
        """
        Wait until what is queued now has been handled. Blocks up to *timeout* seconds from the last
        time that a handler returned, but no longer in all if handlers are slow.

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
        if _depth.get() or sys.is_finalizing():
            timeout = 0.0  # a handler would wait for itself; and frozen threads do not come
        began, done, wait = time.monotonic(), self._records_out, timeout
        while not mark.reached.acquire(True, min(wait, threading.TIMEOUT_MAX)):
            now = time.monotonic()
            wait = timeout - (now - max(began, self._last_out))
            is_slow = self._records_out - done < _STEADY * (now - began)
            if wait <= 0 or (is_slow and now - began >= timeout):
                return False
        return True

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
        return self._records_in - self._records_out + self._dropped - self._dropped_told

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
                self._bytes_out += entry.size
                self._records_out += 1
                self._last_out = time.monotonic()
                del entry  # the next may be long in coming
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
                self._bytes_out = self._bytes_in
                if not self.has_ended:
                    self._wake.acquire()
            except BaseException as error:  # a handler's SystemExit ends no thread
                self.complain(_RAISED, error)

    def _handle(self, record: logging.LogRecord, depth: int) -> None:
        token = _depth.set(depth + 1)
        try:
            self._logger.handle(record)
        except Exception as error:  # it is not for whoever logged
            self.complain(_RAISED, error)
        finally:
            _depth.reset(token)

    def _tell_dropped(self, dropped: int) -> None:
        number = dropped - self._dropped_told
        if number > 0:
            self._dropped_told = dropped
            text = f"{number} log records were dropped: log handlers were stuck or too slow, and "
            text += f"about {self._limit} bytes of records were waiting for them"
            name, level = self._logger.name, logging.WARNING
            if _is_wanted(self._logger, level):
                note = self._logger.makeRecord(name, level, __file__, 0, text, (), None)
                self._handle(note, 1)


class LogBridge:
    """
    Hands Twisted's log events to ``logging``, from the thread that emits to one that writes.

    Call :meth:`start`, :meth:`stop` and :meth:`finish` from one thread at a time.

    Args:
        start_thread: starts a daemon thread of that target and name.
        publisher: whose events.
        beginner: what buffers and prints that publisher's events until logging begins.
        logger: takes the records; by default the one named ``twisted``.
        limit_bytes: about how much memory records may take that wait for handlers.
        allocate_lock: makes a raw lock.
    """

    def __init__(
        self,
        start_thread: StartThread,
        *,
        publisher: LogPublisher = globalLogPublisher,
        beginner: LogBeginner = globalLogBeginner,
        logger: logging.Logger | None = None,
        limit_bytes: int = LIMIT_BYTES,
        allocate_lock: Callable[[], RawLock] = _thread.allocate_lock,
    ) -> None:
        self._start_thread = start_thread
        self._publisher = publisher
        self._beginner = beginner
        # start() looks for the one named "twisted": dictConfig() disables those that exist before.
        self._has_own_logger = logger is not None
        self._logger = logging.root if logger is None else logger
        self._limit = limit_bytes
        self._allocate_lock = allocate_lock
        self._writer = self._new_writer()
        self._observer = cast(ILogObserver, self._observe)
        # Events that the beginner may hand on a second time, by id: its buffer's 200, and those
        # that other threads emit while we start. Kept, or others would get their ids.
        self._early: dict[int, LogEvent] = {}
        self._is_starting = False
        self._stand_in: LogPublisher | None = None
        self._set_aside: list[ILogObserver] = []
        # The thread that runs the hooks at exit, and how many seconds it has for a stuck handler.
        self._finisher: int | None = None
        self._patience = 0.0

    def start(self) -> None:
        """
        Begin to hand on events, with those that Twisted has buffered so far. Blocks never.

        Raises:
            RuntimeError: no thread could be started. Nothing has changed.
        """
        if not self._writer.has_ended:
            return
        if not self._has_own_logger:
            self._logger = logging.getLogger("twisted")
        writer = self._new_writer()
        writer.start(self._start_thread)
        self._writer = writer
        self._finisher = None
        self._is_starting = True
        try:
            self._publisher.addObserver(self._observer)
            self._replace_stand_in()
        except BaseException:
            self.stop(0.0)
            raise
        finally:
            self._is_starting = False

    def stop(self, timeout: float) -> bool:
        """
        Hand on no more events, and end the thread once all is written. Blocks up to *timeout*
        seconds from the last time that a handler returned, but no longer in all if they are slow.

        Returns:
            True if all is written. If not, the thread goes on, and ends when it is.
        """
        self._publisher.removeObserver(self._observer)
        if self._stand_in is not None:
            for observer in self._set_aside:
                self._stand_in.addObserver(observer)
            self._stand_in = None
        writer = self._writer
        has_written = writer.end(timeout)
        if not writer.has_ended:
            self._writer = self._new_writer()  # a later start() gets a thread that is not stuck
        return has_written

    def finish(self, timeout: float) -> bool:
        """
        Write what is queued and, from now on, wait for the events that the calling thread emits.

        Call it in a hook at exit: those that run later may log as well. Blocks up to *timeout*
        seconds from the last time that a handler returned, but no longer in all if they are slow.
        If that is not enough, it says on stderr how many records were not written, no later event
        is waited for, and ``logging`` is kept from waiting for the stuck handlers.

        Returns:
            True if all is written.
        """
        self._finisher = threading.get_ident()
        self._patience = timeout
        return self._catch_up()

    def get_caller(self) -> Callable[..., None] | None:
        """
        Return what has the writing thread call something; None if that is this thread, or nobody.
        """
        writer = self._writer
        return writer.call_from_thread if writer.has_thread() else None

    def reset_after_fork(self) -> None:
        """
        Have events handled in the thread that emits them, in a forked child, until ``start()``.
        """
        self._writer.abandon()
        self._writer = self._new_writer()
        self._finisher = None

    def _new_writer(self) -> Writer:
        return Writer(self._logger, self._limit, self._allocate_lock)

    def _catch_up(self) -> bool:
        began = time.monotonic()
        if self._writer.flush(self._patience):
            return True
        self._patience = 0.0
        say(
            f"{self._writer.unwritten()} log records were not written: the handlers of logger "
            f"{self._logger.name!r} did not get done within {time.monotonic() - began:.1f} s at "
            "exit\n"
        )
        _spare_exit_stuck_handlers()
        return False

    def _replace_stand_in(self) -> None:
        # Until LogBeginner.beginLoggingTo() is called, an observer of Twisted's own keeps the
        # last 200 events, with their failures' frames, and prints critical ones on stderr. To
        # call it would redirect `warnings`, and be held against the program if that calls it
        # too. So that observer, a publisher itself, is emptied; were it taken out of the
        # publisher's list, a thread that is iterating over it would skip the next one. There is
        # no public way; should these names go, critical events are seen twice.
        stand_in = getattr(self._beginner, "_temporaryObserver", None)
        if self._stand_in is not None or not isinstance(stand_in, LogPublisher):
            return  # we have, before a fork; or the program has begun logging
        self._stand_in = stand_in
        self._set_aside = list(stand_in._observers)
        for observer in reversed(self._set_aside):
            stand_in.removeObserver(observer)
        for observer in self._set_aside:
            if isinstance(observer, LimitedHistoryLogObserver):
                self._replay(observer)

    def _replay(self, history: LimitedHistoryLogObserver) -> None:
        observer = cast(ILogObserver, partial(self._observe, is_early=True))
        while True:
            try:
                return history.replayTo(observer)
            except RuntimeError:  # another thread's last event came in; those before are known now
                pass

    def _observe(self, event: LogEvent, *, is_early: bool = False) -> None:
        """
        Take an event, in whichever thread emits it. Blocks never, but see :meth:`finish`.
        """
        writer, depth = self._writer, _depth.get()
        try:
            if id(event) in self._early:
                return  # the program calls beginLoggingTo(), which replays what it has buffered
            if self._is_starting:
                self._early[id(event)] = event
            level = _LEVELS.get(event.get("log_level"), logging.INFO)
            if not _is_wanted(self._logger, level) or writer.is_full():
                return
            if depth > 1:
                writer.complain(_ECHOED)
                return
            writer.put(self._record(event, level, is_early), depth)
        except Exception as error:  # the publisher would log it, and to us again
            writer.complain("A log event could not be made a record, and was lost", error)
        if self._patience and not depth and self._finisher == threading.get_ident():
            self._catch_up()

    def _record(self, event: LogEvent, level: int, is_early: bool) -> logging.LogRecord:
        text, failure = formatEvent(event), event.get("log_failure")
        if failure is None and event.get("isError"):
            failure = event.get("failure")  # twisted.python.log.err()
            if isinstance(failure, Failure) and not event.get("message"):
                # The text has the traceback in it, which goes where records have theirs.
                text = safe_str(event.get("why") or "Unhandled Error")
        exc_info, exc_text = _exception(failure) if isinstance(failure, Failure) else (None, None)
        pathname, line, function = _UNKNOWN if is_early else _caller()
        namespace, system = event.get("log_namespace"), event.get("log_system")
        record = self._logger.makeRecord(
            self._logger.name,
            level,
            pathname,
            line,
            text,
            (),
            exc_info,
            function,
            {
                "twisted_namespace": namespace if isinstance(namespace, str) else None,
                "twisted_system": system if isinstance(system, str) else None,
            },
        )
        record.exc_text = exc_text
        if is_early:
            record.thread, record.threadName = 0, "(unknown thread)"
        when = event.get("log_time")
        if isinstance(when, (int, float)):
            record.relativeCreated += (when - record.created) * 1000
            record.created = when
            record.msecs = float(int(when % 1 * 1000))
        return record


def _is_wanted(logger: logging.Logger, level: int) -> bool:
    """
    Tell whether a logger takes records of that level, without taking logging's lock.
    """
    is_muted = logger.disabled or level <= logger.manager.disable
    return not is_muted and level >= logger.getEffectiveLevel()


def _caller() -> tuple[str, int, str]:
    """
    Find the first frame outside of Twisted's logging: its file, line and function.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "twisted.logger._buffer":
            break  # a replay; the caller was another one, long ago
        if not module.startswith("twisted.logger.") and module not in _BETWEEN:
            return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name
        frame = frame.f_back
    return _UNKNOWN


def _exception(failure: Failure) -> tuple[ExcInfo | None, str | None]:
    """
    Return a failure's ``exc_info``, and the text of a traceback of which only text is left.
    """
    value = cast(object, failure.value)
    frames: object = failure.getTracebackObject()  # type: ignore[no-untyped-call]
    if not isinstance(value, BaseException):  # a Failure may hold anything
        return None, failure.getTraceback().rstrip()
    if frames is None or isinstance(frames, TracebackType):
        return (type(value), value, frames), None
    return (type(value), value, None), failure.getTraceback().rstrip()


def _guess_bytes_held(roots: Iterable[object], limit: int) -> int:
    """
    Guess how much memory objects keep alive, up to *limit* or so.
    """
    things, seen, total = list(roots), set[int](), 0
    for thing in things:  # which grows
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        with suppress(Exception):  # of a __sizeof__ of the program's
            total += sys.getsizeof(thing)
        if total > limit or len(seen) > _MOST_LOOKED_AT:
            break
        if isinstance(thing, FrameType):
            seen.update((id(thing.f_globals), id(thing.f_builtins)))
        if issubclass(type(thing), _LOOKED_INTO):
            things.extend(gc.get_referents(thing))
    return max(total, _LEAST_BYTES_HELD)


def _spare_exit_stuck_handlers() -> None:
    """
    Have ``logging.shutdown()``, which runs at exit too, pass over handlers whose lock is held.
    """
    # It would wait for them without a limit. Its list is the only place to tell it.
    references: list[ReferenceType[logging.Handler]] = getattr(logging, "_handlerList", [])
    for reference in list(references):
        lock = getattr(reference(), "lock", None)
        if lock is not None and lock.acquire(blocking=False):
            lock.release()
        elif lock is not None:
            with suppress(ValueError):  # it has gone by itself
                references.remove(reference)


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
