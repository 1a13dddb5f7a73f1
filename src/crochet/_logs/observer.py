"""
Twisted's log events, made records of the program's ``logging`` for a thread that may block.

What must always hold:

1. While the program runs, whoever logs to Twisted waits neither for a handler nor for a lock of
   ``logging``'s.
2. Each event becomes one record, those that Twisted has buffered before we start included.
3. No handler is called without end by what it logs to Twisted itself.
4. Errors that nobody took do not vanish because ``dictConfig()`` has disabled a logger that it was
   not told of. They are told on stderr then.
5. At exit, events are waited for as long as exit has patience, and stuck ones given up.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import cast
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

from .._threads.clock import monotonic
from .._threads.primitives import discard
from .._threads.threads import StartThread
from .writer import Writer, handler_depth, is_admitted, is_wanted, say

LIMIT = 10_000  # 10 to 20 MB of ordinary lines
_LEVELS: dict[object, int] = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}
_BETWEEN = {"twisted.python.log", "twisted.python.threadable", __name__}
_UNKNOWN = ("(unknown file)", 0, "(unknown function)")
_CUT_OFF = (
    "The logger 'twisted' was disabled by logging.config, which disables those that it is not told "
    "of. Errors that nobody took are told on stderr. Name the logger in the configuration, or add "
    "'disable_existing_loggers': False"
)
_ECHOED = "A log handler logs to Twisted whatever it handles: what it logged of that was dropped"

ExcInfo = tuple[type[BaseException], BaseException, "TracebackType | None"]


class LogBridge:
    """
    Hands Twisted's log events to ``logging``, from the thread that emits to one that writes.

    Call :meth:`start`, :meth:`stop` and :meth:`finish` from one thread at a time.

    Args:
        start_thread: starts a daemon thread of that target and name.
        publisher: whose events.
        beginner: what buffers and prints that publisher's events until logging begins.
        logger: takes the records; by default the one named ``twisted``.
        limit: how many records may wait for handlers.
    """

    def __init__(
        self,
        start_thread: StartThread,
        *,
        publisher: LogPublisher = globalLogPublisher,
        beginner: LogBeginner = globalLogBeginner,
        logger: logging.Logger | None = None,
        limit: int = LIMIT,
    ) -> None:
        self._start_thread = start_thread
        self._publisher = publisher
        self._beginner = beginner
        # start() looks for the one named "twisted": dictConfig() disables those that exist before.
        self._has_own_logger = logger is not None
        self._logger = logging.root if logger is None else logger
        self._canary: logging.Logger = logging.root  # see _is_cut_off()
        self._limit = limit
        self._writer = self._new_writer()
        self._observer = cast(ILogObserver, self._observe)
        # Events that the beginner may hand on a second time, by id: its buffer's 200, and those
        # that other threads emit while we start. Kept, or others would get their ids.
        self._early: dict[int, LogEvent] = {}
        self._is_starting = False
        self._stand_in: LogPublisher | None = None
        self._set_aside: list[ILogObserver] = []
        # The thread that runs the hooks at exit, and how many seconds it has left for handlers.
        self._finisher: int | None = None
        self._patience = 0.0
        # Has after_fork_in_child() called in a child that no hook has told; see fork_mark.py.
        self.notice_fork: Callable[[], object] = int

    def start(self) -> None:
        """
        Begin to hand on events, with those that Twisted has buffered so far. Blocks never.

        Raises:
            RuntimeError: no thread could be started. Nothing has changed.
        """
        if self._writer.has_thread:
            return
        if not self._has_own_logger:
            self._logger = logging.getLogger("twisted")
        self._canary = self._logger.getChild("crochet")
        writer = self._new_writer()
        writer.start()
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
        seconds.

        Returns:
            True if all is written. If not, the thread goes on, and ends when it is.
        """
        self._publisher.removeObserver(self._observer)
        if self._stand_in is not None:
            for observer in self._set_aside:
                self._stand_in.addObserver(observer)
            self._stand_in = None
        writer = self._writer
        has_written = writer.stop(timeout)
        if writer.has_thread:
            self._writer = self._new_writer()  # a later start() gets a thread that is not stuck
        return has_written

    def finish(self, timeout: float) -> bool:
        """
        Write what is queued and, from now on, wait for the events that the calling thread emits.

        Call it in a hook at exit: those that run later may log as well. Blocks up to *timeout*
        seconds, for what is queued now and for those later events together. If that is not enough,
        it says on stderr how many records were not written, no later event is waited for, and
        ``logging`` is kept from waiting for the stuck handlers.

        Returns:
            True if all is written.
        """
        self._finisher = threading.get_ident()
        self._patience = timeout
        return self._catch_up()

    def get_caller(self) -> Callable[..., object] | None:
        """
        Return what has the writing thread call something; None if that is this thread, or nobody.
        """
        return self._writer.caller()

    def after_fork_in_child(self) -> None:
        """
        Have events handled in the thread that emits them, in a forked child, until ``start()``.
        """
        self._writer.after_fork_in_child()
        self._writer = self._new_writer()
        self._finisher = None

    def _new_writer(self) -> Writer:
        return Writer(self._start_thread, self._logger, self._limit)

    def _catch_up(self) -> bool:
        began = monotonic()
        has_written = self._writer.flush(self._patience)
        took = monotonic() - began
        if has_written or not self._writer.unwritten():
            self._patience = max(self._patience - took, 0.0)
            return True
        self._patience = 0.0
        say(
            f"{self._writer.unwritten()} log records were not written: the handlers of logger "
            f"{self._logger.name!r} did not get done within {took:.1f} s at exit\n"
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
        self.notice_fork()
        writer, depth = self._writer, handler_depth.get()
        try:
            if id(event) in self._early:
                return  # the program calls beginLoggingTo(), which replays what it has buffered
            if self._is_starting:
                self._early[id(event)] = event
            level = _LEVELS.get(event.get("log_level"), logging.INFO)
            # Not by Logger.isEnabledFor(): it takes logging's lock, which dictConfig() holds while
            # it builds handlers, and the reactor would wait for those.
            if not is_wanted(self._logger, level):
                if not self._is_cut_off(level):
                    return
                writer.complain(_CUT_OFF)
            if writer.is_full():
                return
            # A handler runs with handler_depth set, which reaches the bodies of calls that it makes
            # through us. What it logs is queued like any other event. What is logged while a
            # handler handles that is dropped: else each would breed one.
            if depth > 1:
                writer.complain(_ECHOED)
                return
            writer.put(self._record(event, level, is_early), depth)
        except Exception as error:  # the publisher would log it, and to us again
            writer.complain("A log event could not be made a record, and was lost", error)
        if self._patience and not depth and self._finisher == threading.get_ident():
            self._catch_up()

    def _is_cut_off(self, level: int) -> bool:
        """
        Tell whether an error would vanish because the logger was disabled along with all others.

        A program that disables this one on purpose does not disable another that it has never
        heard of.
        """
        is_disabled = self._logger.disabled and self._canary.disabled
        return is_disabled and level >= logging.CRITICAL and is_admitted(self._logger, level)

    def _record(self, event: LogEvent, level: int, is_early: bool) -> logging.LogRecord:
        """
        Make a record of an event, and format its text, in the thread that emits it.

        Later would be cheaper for the reactor, but formatting runs code of the program's objects,
        which are seldom made for another thread and may have changed by then.
        """
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


def _caller() -> tuple[str, int, str]:
    """
    Find the first frame outside of Twisted's logging: its file, line and function.

    An event does not say who emitted it, but it is handed on by plain calls.
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
            discard(references, reference)  # if it has not gone by itself
