"""
Twisted's log events become records of ``logging``, and whoever logs waits for no handler.
"""

from __future__ import annotations

import _thread
import contextvars
import gc
import io
import itertools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import tracemalloc
import warnings
import weakref
from collections import deque
from contextlib import suppress
from types import SimpleNamespace

import pytest
from twisted.logger import LimitedHistoryLogObserver, LogBeginner, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyPublisher

from crochet import _logs
from crochet._logs import LogBridge, Writer

BOUND = 60.0  # seconds; whatever takes longer will never come


def start_thread(target, name):
    """
    Start a daemon thread, as the library does.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def call_in_thread(function, *args):
    """
    Call something in a thread of its own, and wait for it.
    """
    thread = threading.Thread(target=function, args=args, name="another")
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive()


class Collector(logging.Handler):
    """
    Keeps the records it is handed, and does for each what it is told to.
    """

    def __init__(self, action=None):
        super().__init__()
        self.records = []
        self.action = action

    def emit(self, record):
        self.records.append(record)
        if self.action is not None:
            self.action(record)

    def messages(self):
        return [record.getMessage() for record in self.records]


class Gate:
    """
    An action for a Collector that keeps the writer until the gate is opened.
    """

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, record):
        self.entered.set()
        assert self.opened.wait(BOUND)


class World:
    """
    A bridge between a Twisted publisher and a logger that nobody else uses.
    """

    def __init__(self, action=None, **options):
        self.publisher = LogPublisher()
        self.stderr = io.StringIO()
        self.warnings = SimpleNamespace(showwarning=warnings.showwarning)
        stdio = SimpleNamespace(stdout=None, stderr=None)
        self.beginner = LogBeginner(self.publisher, self.stderr, stdio, self.warnings)
        self.log = Logger(namespace="tests", observer=self.publisher)
        self.legacy = LegacyPublisher(self.publisher, self.publisher, self.beginner)
        self.handler = Collector(action)
        self.logger = logging.Logger("twisted", logging.DEBUG)
        self.logger.addHandler(self.handler)
        options.setdefault("start_thread", start_thread)
        self.bridge = LogBridge(
            publisher=self.publisher, beginner=self.beginner, logger=self.logger, **options
        )

    def written(self):
        """
        Stop the bridge and return the messages that were handled.
        """
        assert self.bridge._writer.flush(BOUND)  # and now there is what handlers have logged
        assert self.bridge.stop(BOUND)
        return self.handler.messages()

    def only_record(self):
        """
        Stop the bridge and return the one record that was handled.
        """
        self.written()
        (record,) = self.handler.records
        return record


@pytest.fixture
def make_world():
    """
    Make worlds, and take care that none leaves a thread behind.
    """
    worlds = []

    def make(*args, **options):
        worlds.append(World(*args, **options))
        return worlds[-1]

    before = set(threading.enumerate())
    yield make
    for world in worlds:
        if isinstance(world.handler.action, Gate):
            world.handler.action.opened.set()
        assert world.bridge.stop(BOUND)
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive()


@pytest.fixture
def world(make_world):
    """
    Make a world whose bridge has been started.
    """
    world = make_world()
    world.bridge.start()
    return world


# What a record says


def test_record_has_the_events_time_thread_and_caller(world):
    """
    A record tells when, in which thread and by which line it was logged, not where it was written.
    """
    seen = SimpleNamespace()

    def emit():
        seen.before = time.time()
        seen.line = sys._getframe().f_lineno + 1
        world.log.info("100% of {what}", what="it")
        seen.after = time.time()
        seen.ident = threading.get_ident()

    call_in_thread(emit)
    record = world.only_record()
    assert record.name == "twisted"
    assert record.getMessage() == "100% of it"
    assert seen.before <= record.created <= seen.after
    assert record.msecs == int(record.created % 1 * 1000)
    assert (record.thread, record.threadName) == (seen.ident, "another")
    assert (record.pathname, record.lineno, record.funcName) == (__file__, seen.line, "emit")
    assert record.module == "test_logs"
    assert record.twisted_namespace == "tests"
    assert record.twisted_system is None
    assert record.exc_info is None


def test_relative_time_is_that_of_the_event(world):
    """
    Its relativeCreated is moved along with created, whatever the moment it is counted from.
    """
    world.publisher({"log_format": "first", "log_time": 1000.25})
    world.publisher({"log_format": "second", "log_time": 1001.5})
    world.written()
    first, second = world.handler.records
    assert (first.created, first.msecs) == (1000.25, 250.0)
    assert second.relativeCreated - first.relativeCreated == pytest.approx(1250.0, abs=0.01)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (LogLevel.debug, logging.DEBUG),
        (LogLevel.info, logging.INFO),
        (LogLevel.warn, logging.WARNING),
        (LogLevel.error, logging.ERROR),
        (LogLevel.critical, logging.CRITICAL),
    ],
)
def test_levels_are_mapped(world, level, expected):
    """
    Twisted's levels are those of logging.
    """
    world.log.emit(level, "text")
    assert world.only_record().levelno == expected


def test_event_with_nothing_but_text(world):
    """
    An event made by hand, without level, time and namespace, is a record at INFO.
    """
    world.publisher({"log_format": "bare"})
    record = world.only_record()
    assert (record.levelno, record.getMessage()) == (logging.INFO, "bare")
    assert record.twisted_namespace is None
    assert record.created == pytest.approx(time.time(), abs=BOUND)


def fail():
    raise ValueError("deliberate")


def test_failure_is_exc_info(world):
    """
    A logged Failure is the record's exc_info, with its traceback.
    """
    try:
        fail()
    except ValueError as error:
        caught = error
        world.log.failure("While {doing}", doing="testing")
    record = world.only_record()
    assert record.levelno == logging.CRITICAL
    assert record.getMessage() == "While testing"
    kind, value, frames = record.exc_info
    assert (kind, value) == (ValueError, caught)
    assert traceback.extract_tb(frames)[-1].name == "fail"
    assert logging.Formatter().format(record).endswith("ValueError: deliberate")


def test_legacy_message(world):
    """
    twisted.python.log.msg() is a record at INFO that names the line of msg() and its system.
    """
    line = sys._getframe().f_lineno + 1
    world.legacy.msg("one", "two", system="Some,client")
    record = world.only_record()
    assert (record.levelno, record.getMessage()) == (logging.INFO, "one two")
    assert record.twisted_system == "Some,client"
    assert (record.pathname, record.lineno) == (__file__, line)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"why": "Reading"}, "Reading"),
        ({"why": None}, "Unhandled Error"),
        ({"message": ("spoken",)}, "spoken"),
    ],
)
def test_legacy_error_is_exc_info(world, options, message):
    """
    What twisted.python.log.err() logs has its traceback in exc_info, and not in the text as well.
    """
    failure = Failure(ValueError("deliberate"))
    words = options.pop("message", ())
    world.legacy.msg(*words, failure=failure, isError=1, **options)
    record = world.only_record()
    assert (record.levelno, record.getMessage()) == (logging.CRITICAL, message)
    assert record.exc_info[:2] == (ValueError, failure.value)


def test_legacy_error_without_failure(world):
    """
    A legacy error that carries no Failure, or no real one, is just its text.
    """
    world.legacy.msg("bad", isError=1)
    world.legacy.msg("worse", isError=1, failure="not a Failure")
    assert world.written() == ["bad", "worse"]
    assert [record.exc_info for record in world.handler.records] == [None, None]


def test_cleaned_failure_keeps_its_traceback_as_text(world):
    """
    A Failure that has been cleaned has only text for frames; handlers get that.
    """
    try:
        fail()
    except ValueError:
        failure = Failure()
    failure.cleanFailure()
    world.log.failure("cleaned", failure)
    record = world.only_record()
    assert record.exc_info == (ValueError, failure.value, None)
    assert "in fail" in logging.Formatter().format(record)


def test_failure_of_what_is_no_exception(world):
    """
    A Failure may hold any object; its record formats all the same.
    """
    world.log.failure("odd", Failure("a string"))
    record = world.only_record()
    assert record.exc_info is None
    assert "a string" in logging.Formatter().format(record)


def test_failure_context_manager_names_its_line(world):
    """
    The frames of Twisted's own logging are never taken for the caller.
    """
    with world.log.failuresHandled("caught"):
        fail()
    record = world.only_record()
    assert (record.pathname, record.funcName) == (
        __file__,
        "test_failure_context_manager_names_its_line",
    )


def test_replayed_event_claims_no_caller(world):
    """
    What a buffer replays was logged by another line, long ago, and says that it is unknown.
    """
    history = LimitedHistoryLogObserver()
    history({"log_format": "old"})
    history.replayTo(world.publisher)
    assert world.only_record().pathname == "(unknown file)"


def test_caller_is_unknown_if_all_frames_are_twisteds(monkeypatch):
    """
    Where a stack has no frame but Twisted's, there is no caller to name.
    """
    frame = SimpleNamespace(f_globals={"__name__": "twisted.python.log"}, f_back=None)
    monkeypatch.setattr(_logs.sys, "_getframe", lambda depth: frame)
    assert _logs._caller() == ("(unknown file)", 0, "(unknown function)")


def test_text_is_that_of_the_moment(make_world):
    """
    What changes after it was logged does not change in the log, however late that is written.
    """
    world = make_world(Gate())
    world.bridge.start()
    words = ["before"]
    world.log.info("{words}", words=words)
    world.log.info("{words}", words=words)
    assert world.handler.action.entered.wait(BOUND)
    words[0] = "after"
    world.handler.action.opened.set()
    assert world.written() == ["['before']"] * 2


def test_record_that_cannot_be_made_is_reported_once(world, capfd, monkeypatch):
    """
    A record factory that raises loses the record, is reported once, and does no other harm.
    """

    def raising(*args, **options):
        raise ValueError("no record")

    with monkeypatch.context() as patch:
        patch.setattr(logging, "_logRecordFactory", raising)
        world.log.info("lost")
        world.log.info("lost")
    world.log.info("kept")
    assert world.written() == ["kept"]
    assert capfd.readouterr().err.count("ValueError: no record") == 1


# What the program's logging configuration says


class Unprintable:
    """
    Fails the test that formats it.
    """

    def __init__(self):
        self.times = 0

    def __str__(self):
        self.times += 1
        return "printed"


def test_level_is_looked_at_before_formatting(world):
    """
    An event below the logger's level costs no formatting and becomes no record.
    """
    thing = Unprintable()
    world.logger.setLevel(logging.WARNING)
    world.log.info("{thing}", thing=thing)
    world.log.warn("{thing}", thing=thing)
    assert world.written() == ["printed"]
    assert thing.times == 1


def test_disabled_logging_is_heeded(world, monkeypatch):
    """
    A disabled logger, logging.disable() and a level inherited from the parent are heeded.
    """
    world.logger.disabled = True
    world.log.critical("disabled")
    world.logger.disabled = False
    monkeypatch.setattr(logging.Logger.manager, "disable", logging.ERROR)
    world.log.error("below")
    world.log.critical("above")
    monkeypatch.setattr(logging.Logger.manager, "disable", 0)
    world.logger.setLevel(logging.NOTSET)
    world.logger.parent = logging.Logger("parent", logging.ERROR)
    world.log.warn("below its parent")
    world.log.error("above its parent")
    assert world.written() == ["above", "above its parent"]


def test_filters_and_parents_are_heeded(world):
    """
    Filters of the logger apply, and records reach the handlers of its parents.
    """
    parent = logging.Logger("parent")
    parent.addHandler(Collector())
    world.logger.parent = parent
    world.logger.addFilter(lambda record: record.getMessage() != "unwanted")
    world.log.info("unwanted")
    world.log.info("wanted")
    assert world.written() == ["wanted"]
    assert parent.handlers[0].messages() == ["wanted"]


def test_logging_while_logging_is_being_configured(world):
    """
    The thread that logs does not wait for logging's lock, which dictConfig() holds while it runs.
    """
    with logging._lock:
        world.logger.manager._clear_cache()  # as a configuration does
        call_in_thread(world.log.info, "meanwhile")
    assert world.written() == ["meanwhile"]


def test_logger_is_not_patched():
    """
    The logger named "twisted" keeps its own methods.
    """
    logger = logging.getLogger("twisted")
    before = dict(vars(logger))
    bridge = LogBridge(start_thread)
    bridge.start()
    assert bridge.stop(BOUND)
    assert vars(logger) == before


# Handlers that block, raise and log


def test_blocked_handler_blocks_nobody_who_logs(make_world):
    """
    While a handler blocks, events are taken all the same, and written in their order afterwards.
    """
    world = make_world(Gate())
    world.bridge.start()
    for number in range(100):
        world.log.info("{number}", number=number)
    assert world.handler.action.entered.wait(BOUND)
    assert world.handler.messages() == ["0"]
    world.handler.action.opened.set()
    assert world.written() == [str(number) for number in range(100)]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_raising_handler_is_reported_once(make_world, capfd, error):
    """
    Whatever a handler raises is said once on stderr, and the writer goes on.
    """

    def action(record):
        raise error("of the handler")

    world = make_world(action)
    world.bridge.start()
    for text in ("one", "two", "three"):
        world.log.info(text)
    assert world.written() == ["one", "two", "three"]
    err = capfd.readouterr().err
    assert err.count("A log handler raised") == 1
    assert f"{error.__name__}: of the handler" in err


def test_handler_that_logs_to_twisted_ends_in_no_loop(make_world, capfd):
    """
    What a handler logs is a record too; what it logs of that is dropped, and that is said once.
    """

    def action(record):
        world.log.info(f"handled {record.getMessage()}")

    world = make_world(action)
    world.bridge.start()
    world.log.info("one")
    world.log.info("two")
    assert sorted(world.written()) == ["handled one", "handled two", "one", "two"]
    assert capfd.readouterr().err.count("logs to Twisted whatever it handles") == 1


def test_handler_that_logs_by_way_of_another_thread_ends_in_no_loop(make_world):
    """
    A call that a handler makes through the library takes the handler's context variables along, so
    that what its body logs in the reactor thread counts as the handler's.
    """

    def action(record):
        body = contextvars.copy_context()
        call_in_thread(body.run, world.log.info, f"handled {record.getMessage()}")

    world = make_world(action)
    world.bridge.start()
    world.log.info("one")
    assert world.written() == ["one", "handled one"]


def test_handler_that_stops_the_bridge_does_not_wait_for_itself(make_world):
    """
    stop() in a handler returns at once, with what is true: not all is written.
    """
    answers, is_queued = [], threading.Event()

    def action(record):
        assert is_queued.wait(BOUND)
        answers.append(world.bridge.stop(BOUND))

    world = make_world(action)
    world.bridge.start()
    writer = world.bridge._writer
    world.log.info("one")
    world.log.info("two")
    is_queued.set()
    writer._thread.join(BOUND)
    assert not writer._thread.is_alive()
    assert world.handler.messages() == ["one", "two"]
    assert answers[0] is False


def test_nothing_of_the_last_record_is_kept(world):
    """
    A writer at rest keeps no exception and no frame alive, without a garbage collection.
    """

    class Local:
        pass

    def emit():
        local = Local()
        references.append(weakref.ref(local))
        try:
            fail()
        except ValueError:
            world.log.failure("once")

    references = []
    gc.disable()
    try:
        emit()
        assert world.bridge._writer.flush(BOUND)
        assert world.bridge._writer.flush(BOUND)  # the first one is forgotten by now
        world.handler.records.clear()
        assert [reference() for reference in references] == [None]
    finally:
        gc.enable()


# The queue's bound


def emit_text(world, number):
    world.log.info("{number}", number=number)


def emit_wide_text(world, number):
    world.log.info("{text}{number}", text="\N{SNOWMAN}" * 1000, number=number)


def emit_failure(world, number):
    payload = [b"%d" % number * 2000]
    try:
        raise ValueError("deliberate", number, payload)
    except ValueError:
        world.log.failure("failed")


def emit_failure_of_a_call(world, number):
    def inner(argument):
        values = {"a": b"%d" % number * 5000}
        raise ValueError(len(argument + str(values)))

    try:
        inner(f"{number}" * 2000)
    except ValueError:
        world.log.failure("failed")


@pytest.mark.parametrize("emit", [emit_text, emit_wide_text, emit_failure, emit_failure_of_a_call])
def test_queue_is_bounded_behind_a_stuck_handler(make_world, emit):
    """
    The memory that waiting records take stays below the limit, and well above a quarter of it:
    the guess is neither too low nor far too high.
    """
    limit = 2_000_000
    world = make_world(Gate(), limit_bytes=limit)
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)
    tracemalloc.start()
    try:
        for number in itertools.count():
            emit(world, number)
            if world.bridge._writer._dropped >= 100:
                break
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert limit // 4 < held < limit * 1.02
    world.handler.action.opened.set()
    written = world.written()
    assert written.pop() == (
        "100 log records were dropped: log handlers were stuck or too slow, and about 2000000 "
        "bytes of records were waiting for them"
    )
    assert world.handler.records[-1].levelno == logging.WARNING
    assert len(written) == 1 + number + 1 - 100


def test_gap_is_told_where_it_is(make_world):
    """
    The number of dropped records is told between those before the gap and those after it.
    """
    world = make_world(Gate(), limit_bytes=10_000)
    world.bridge.start()
    for number in range(100):
        world.log.info("{number}", number=number)
    writer = world.bridge._writer
    dropped = writer._dropped
    assert 80 < dropped < 100
    world.handler.action.opened.set()
    assert writer.flush(BOUND)
    world.log.info("after")
    written = world.written()
    assert written[:-2] == [str(number) for number in range(100 - dropped)]
    assert written[-2].startswith(f"{dropped} log records were dropped")
    assert written[-1] == "after"


def test_gap_in_the_middle_of_the_queue(make_world):
    """
    A record that is taken after others were dropped brings the number along.
    """
    world = make_world(limit_bytes=10_000)
    writer = Writer(world.logger, 10_000, _thread.allocate_lock)
    writer.has_ended = False  # as if a thread were busy
    record = logging.makeLogRecord({"msg": "before", "levelno": logging.INFO})
    large = logging.makeLogRecord({"msg": "x" * 10_000, "levelno": logging.INFO})
    after = logging.makeLogRecord({"msg": "after", "levelno": logging.INFO})
    writer.put(record, 0)
    writer.put(large, 0)
    writer.put(after, 0)
    assert writer.unwritten() == 3
    writer.drain()
    before, told, last = world.handler.messages()
    assert (before, last) == ("before", "after")
    assert told.startswith("1 log records were dropped")
    assert writer.unwritten() == 0


def test_gap_is_not_told_to_a_logger_that_wants_no_warnings(make_world):
    """
    The record that tells of dropped ones is a WARNING, and as such is subject to the level.
    """
    world = make_world(Gate(), limit_bytes=10_000)
    world.bridge.start()
    for _ in range(100):
        world.log.error("text")
    world.logger.setLevel(logging.ERROR)
    world.handler.action.opened.set()
    assert set(world.written()) == {"text"}


def test_full_queue_costs_no_formatting(make_world):
    """
    Behind a stuck handler, an event that will be dropped is not formatted first.
    """
    world = make_world(Gate(), limit_bytes=10_000)
    world.bridge.start()
    for _ in range(100):
        world.log.info("text")
    thing = Unprintable()
    world.log.info("{thing}", thing=thing)
    assert thing.times == 0


def test_traceback_gives_way_to_its_text(make_world):
    """
    Behind a stuck handler, failures beyond half of the limit keep their traceback as text only.
    """
    world = make_world(Gate(), limit_bytes=100_000)
    world.bridge.start()
    for _ in range(10):
        try:
            fail()
        except ValueError:
            world.log.failure("failed")
    world.handler.action.opened.set()
    assert world.written() == ["failed"] * 10
    has_exception = [record.exc_info is not None for record in world.handler.records]
    assert has_exception[0]
    assert not has_exception[-1]
    texts = {logging.Formatter().format(record) for record in world.handler.records}
    assert len(texts) == 1
    assert "in fail" in texts.pop()


def test_guess_of_memory_survives_odd_objects():
    """
    Objects that raise when measured, cycles and large containers do not trouble the guess.
    """

    class Odd:
        def __sizeof__(self):
            raise ValueError

    cycle = [Odd()]
    cycle.append(cycle)
    assert _logs._guess_bytes_held([cycle, Odd()], 10**9) == _logs._LEAST_BYTES_HELD
    assert _logs._guess_bytes_held([[b"x" * 10**6]], 10**9) > 10**6
    assert _logs._guess_bytes_held([[bytes(10**6) for _ in range(9)]], 10**3) < 2 * 10**6
    assert _logs._guess_bytes_held([[object() for _ in range(1000)]], 10**9) < 10**5


def test_reservation_of_an_interrupted_emitter_is_given_back(world):
    """
    Bytes that were reserved by an emitter which never queued its record do not stay reserved.
    """
    writer = world.bridge._writer
    writer._bytes_in += 10**9
    assert writer.flush(BOUND)
    assert writer.flush(BOUND)  # the queue has been found empty
    world.log.info("fits")
    assert world.written() == ["fits"]


# Interleavings, see the design note


class SteppedLock:
    """
    A raw lock that runs a step of the test before an operation, once.
    """

    def __init__(self):
        self._lock = _thread.allocate_lock()
        self.steps = {}

    def _step(self, operation):
        step = self.steps.pop(operation, None)
        if step is not None:
            step()

    def acquire(self, blocking=True, timeout=-1):
        self._step("acquire")
        return self._lock.acquire(blocking, timeout)

    def release(self):
        self._step("release")
        self._lock.release()

    def locked(self):
        self._step("locked")
        return self._lock.locked()


def idle_wake(world):
    """
    Return the lock that the writer waits for, once it does.
    """
    wake = world.bridge._writer._wake
    at_rest = threading.Event()
    wake.steps["acquire"] = at_rest.set
    assert world.bridge._writer.flush(BOUND)
    assert at_rest.wait(BOUND)
    return wake


def test_event_between_the_writers_last_look_and_its_wait(make_world):
    """
    "Waking the writer": the writer finds no entry, an emitter appends one and unlocks, the writer
    locks. It does not wait.
    """
    world = make_world(allocate_lock=SteppedLock)
    world.bridge.start()
    wake = idle_wake(world)
    wake.steps["acquire"] = lambda: world.log.info("between")
    world.log.info("first")
    assert world.bridge._writer.flush(BOUND)
    assert world.written() == ["first", "between"]


def test_emitter_that_is_interrupted_by_another(make_world):
    """
    "Waking the writer": two emitters both find the lock locked; the second unlocking is an error
    that does not matter. The other emitter is a signal handler's, or a __del__'s, in the same
    thread.
    """
    world = make_world(Gate(), allocate_lock=SteppedLock)
    world.bridge.start()
    wake = idle_wake(world)
    world.log.info("first")
    assert world.handler.action.entered.wait(BOUND)
    # The writer is busy, so nobody but the inner emitter will unlock.
    wake.steps["release"] = lambda: world.log.info("inner")
    world.log.info("outer")
    world.handler.action.opened.set()
    assert world.written() == ["first", "outer", "inner"]


def test_emitter_that_a_signal_ends_before_it_wakes_the_writer(make_world):
    """
    "Waking the writer": a KeyboardInterrupt between append and unlock. The entry goes out with
    the next event.
    """

    def interrupt():
        raise KeyboardInterrupt

    world = make_world(allocate_lock=SteppedLock)
    world.bridge.start()
    wake = idle_wake(world)
    wake.steps["locked"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.log.info("interrupted")
    world.log.info("next")
    assert world.written() == ["interrupted", "next"]


def test_event_that_meets_the_end(make_world):
    """
    "The end": an emitter fetches the writer, the writer ends, the emitter appends. It handles
    its record itself.
    """
    world = make_world()

    class Stopping:
        def __str__(self):
            assert world.bridge.stop(BOUND)
            return "stopping"

    world.bridge.start()
    world.log.info("{it}", it=Stopping())
    assert world.handler.messages() == ["stopping"]


def test_event_that_meets_the_last_look(make_world):
    """
    "The end": an entry that follows the end's mark in the queue is handled by the last look.
    """
    world = make_world(Gate())
    world.bridge.start()
    writer = world.bridge._writer
    world.log.info("first")
    assert world.handler.action.entered.wait(BOUND)
    assert not writer.end(0.0)
    world.log.info("after the mark")
    world.handler.action.opened.set()
    writer._thread.join(BOUND)
    assert world.handler.messages() == ["first", "after the mark"]


# Start, stop, restart


def test_start_that_gets_no_thread_changes_nothing(make_world):
    """
    If no thread can be started, start() raises and may be called again.
    """

    def refuse(target, name):
        raise RuntimeError("can't start new thread")

    world = make_world(start_thread=refuse)
    before = list(world.publisher._observers), list(world.beginner._temporaryObserver._observers)
    with pytest.raises(RuntimeError, match="start new thread"):
        world.bridge.start()
    after = list(world.publisher._observers), list(world.beginner._temporaryObserver._observers)
    assert after == before
    world.bridge._start_thread = start_thread
    world.bridge.start()
    world.log.info("now")
    assert world.written() == ["now"]


def test_start_that_is_interrupted_with_its_thread_running(make_world):
    """
    A signal's exception that comes when the thread is running already leaves no thread behind.
    """
    threads = []

    def interrupted(target, name):
        threads.append(start_thread(target, name))
        raise KeyboardInterrupt

    world = make_world(start_thread=interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.bridge.start()
    threads[0].join(BOUND)
    assert not threads[0].is_alive()


def test_start_that_fails_half_way_is_undone(make_world, monkeypatch):
    """
    If anything fails after the thread was started, there is no observer and no thread after all.
    """
    world = make_world()
    before = list(world.publisher._observers)
    with monkeypatch.context() as patch:
        patch.setattr(world.bridge, "_replace_stand_in", fail)
        with pytest.raises(ValueError, match="deliberate"):
            world.bridge.start()
    assert list(world.publisher._observers) == before
    world.bridge.start()
    world.log.info("now")
    assert world.written() == ["now"]


def test_start_twice_is_once(world):
    """
    A bridge that runs is not started again: each event is one record.
    """
    world.bridge.start()
    world.log.info("once")
    assert world.written() == ["once"]


def test_stop_before_start_and_twice(make_world):
    """
    stop() and finish() have nothing to do where nothing runs, and say that all is written.
    """
    world = make_world()
    assert world.bridge.stop(0.0)
    assert world.bridge.finish(0.0)
    world.bridge.start()
    assert world.bridge.stop(BOUND)
    assert world.bridge.stop(0.0)
    world.log.info("unheard")
    assert world.handler.messages() == []


def test_restart(world):
    """
    A stopped bridge can be started again.
    """
    world.log.info("one")
    assert world.bridge.stop(BOUND)
    world.bridge.start()
    world.log.info("two")
    assert world.written() == ["one", "two"]


def test_restart_beside_a_stuck_handler(make_world):
    """
    stop() gives up on a stuck handler in time; a new start() does not wait for it.
    """
    world = make_world(Gate())
    world.bridge.start()
    world.log.info("stuck")
    world.log.info("behind it")
    gate = world.handler.action
    assert gate.entered.wait(BOUND)
    old = world.bridge._writer
    assert not world.bridge.stop(0.01)
    world.logger.removeHandler(world.handler)
    second = Collector()
    world.logger.addHandler(second)
    world.bridge.start()
    world.log.info("new")
    assert world.bridge.stop(BOUND)
    assert second.messages() == ["new"]
    gate.opened.set()
    old._thread.join(BOUND)
    # What the old thread still had goes to whom the logger has by then.
    assert second.messages() == ["new", "behind it"]


# Twisted's stand-in until logging begins


def test_events_before_start_are_handed_on(make_world):
    """
    Events that Twisted has buffered come first, with their time, and claim no thread and caller.
    """
    world = make_world()
    world.log.info("early")
    emitted = time.time()
    world.bridge.start()
    world.log.info("late")
    assert world.written() == ["early", "late"]
    early = world.handler.records[0]
    assert early.created <= emitted
    assert (early.thread, early.threadName) == (0, "(unknown thread)")
    assert (early.pathname, early.lineno) == ("(unknown file)", 0)
    assert "early" in logging.Formatter("%(thread)d %(lineno)d %(message)s").format(early)


def test_critical_events_are_not_printed_as_well(world):
    """
    While the bridge runs, Twisted does not print on stderr what logging gets.
    """
    world.log.critical("once")
    assert world.written() == ["once"]
    assert world.stderr.getvalue() == ""


def test_stop_gives_twisted_its_stand_in_back(world):
    """
    Once the bridge has stopped, Twisted prints and buffers as it did before.
    """
    world.written()
    world.log.critical("printed")
    assert "printed" in world.stderr.getvalue()
    world.bridge.start()
    assert world.written() == ["printed"]


def test_stand_in_is_given_back_after_a_fork(world):
    """
    A bridge that is started again after a fork still knows what it has set aside before it.
    """
    writer = world.bridge._writer
    world.bridge.reset_after_fork()
    writer._awake()  # it has no thread in a real child
    world.bridge.start()
    world.written()
    world.log.critical("printed")
    assert "printed" in world.stderr.getvalue()


def test_program_that_begins_logging_afterwards(make_world):
    """
    A program that calls beginLoggingTo() after setup() is not told that it did so twice; its
    observer sees what was buffered, and ours sees each event once.
    """
    world = make_world()
    world.log.info("early")
    world.bridge.start()
    world.log.info("between")
    seen = []
    world.beginner.beginLoggingTo([lambda event: seen.append(event["log_format"])], False, False)
    world.log.info("late")
    assert world.written() == ["early", "between", "late"]
    assert seen == ["early", "late"]


def test_program_that_has_begun_logging(make_world):
    """
    Where the program has begun logging before setup(), the bridge is one more observer.
    """
    world = make_world()
    seen = []
    world.beginner.beginLoggingTo([lambda event: seen.append(event["log_format"])], False, False)
    world.log.info("early")
    world.bridge.start()
    world.log.info("late")
    assert world.written() == ["late"]
    assert seen == ["early", "late"]


def test_warnings_are_left_alone(world):
    """
    The bridge does not redirect the warnings module.
    """
    assert world.warnings.showwarning is warnings.showwarning


def test_replay_that_another_thread_adds_to(make_world, monkeypatch):
    """
    If another thread's event changes the buffer while it is replayed, no event is lost or doubled.
    """
    world = make_world()
    world.log.info("one")
    world.log.info("two")
    history = world.beginner._initialBuffer
    replay, rounds = history.replayTo, []

    def disturbed(observer):
        rounds.append(observer)
        if len(rounds) == 1:
            observer(history._buffer[0])
            raise RuntimeError("deque mutated during iteration")
        replay(observer)

    monkeypatch.setattr(history, "replayTo", disturbed)
    world.bridge.start()
    assert world.written() == ["one", "two"]


# Reentrancy and interruption


def test_garbage_collection_that_logs(world):
    """
    __del__ methods that log, run by garbage collections anywhere in an emission, lose nothing.
    """

    class Logging:
        def __init__(self):
            self.itself = self

        def __del__(self):
            deleted.append(1)
            world.log.info("deleted")

    deleted = []
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(1000):
            Logging()
            world.log.info("emitted")
    finally:
        gc.set_threshold(*threshold)
    written = world.written()
    assert written.count("emitted") == 1000
    assert written.count("deleted") == len(deleted) > 100


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signal_handler_that_logs(world):
    """
    Signal handlers that log, anywhere in an emission of the main thread, lose nothing.
    """

    def on_signal(signum, frame):
        signals.append(1)
        world.log.info("signalled")

    signals, emitted = [], 0
    before = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        while len(signals) < 500:
            world.log.info("emitted")
            emitted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    written = world.written()
    dropped = world.bridge._writer._dropped
    assert written.count("signalled") + written.count("emitted") + dropped == len(signals) + emitted


def test_interruption_anywhere_in_an_emission(world):
    """
    A KeyboardInterrupt at any call or return of an emission costs at most that one record; the
    next one is written.
    """

    class Interrupter:
        def __init__(self, at):
            self.left = at

        def __call__(self, frame, event, arg):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    for at in itertools.count(1):
        interrupter = Interrupter(at)
        with suppress(KeyboardInterrupt):
            try:
                sys.setprofile(interrupter)
                world.log.info("interrupted")
            finally:
                left, interrupter.left = interrupter.left, 0  # no interruption from here
                sys.setprofile(None)
        world.log.info("{at}", at=at)
        assert world.bridge._writer.flush(BOUND)
        if left > 0:
            break
    assert at > 30
    written = [text for text in world.written() if "interrupt" not in text.lower()]
    assert written == [str(number) for number in range(1, at + 1)]


def test_order_of_each_thread_under_stress(world):
    """
    Eight threads that log at once lose nothing, and each finds its own events in order.
    """
    barrier = threading.Barrier(8)

    def emit(name):
        barrier.wait(BOUND)
        for number in range(300):
            world.log.info("{name} {number}", name=name, number=number)

    threads = [threading.Thread(target=emit, args=(str(name),)) for name in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
    finally:
        sys.setswitchinterval(interval)
    writer = world.bridge._writer
    written = world.written()
    for name in "01234567":
        mine = [text.split()[1] for text in written if text.split()[0] == name]
        assert mine == [str(number) for number in range(300)]
    assert writer._bytes_in == writer._bytes_out


# How long the end waits, in virtual time


class Pause(BaseException):
    """
    Ends a drain after a record, as if the handler were busy with the next one.
    """


class VirtualWriter:
    """
    A writer whose records take virtual seconds each, handled only while somebody waits for it.
    """

    def __init__(self, monkeypatch, costs):
        self.now = self.deadline = 0.0
        self.costs = deque(costs)
        monkeypatch.setattr(_logs.time, "monotonic", lambda: self.now)
        self.handler = Collector(self.handle)
        logger = logging.Logger("slow")
        logger.addHandler(self.handler)
        self.writer = Writer(logger, 10**9, lambda: VirtualLock(self))
        self.writer.has_ended = False

    def next_comes_too_late(self):
        return bool(self.costs) and self.now + self.costs[0] > self.deadline

    def handle(self, record):
        self.now += self.costs.popleft()
        if self.next_comes_too_late():
            raise Pause

    def wait(self, seconds):
        self.deadline = self.now + max(seconds, 1e-6)  # as real time cannot but pass
        with suppress(Pause):
            if not self.next_comes_too_late():
                self.writer.drain()
        if self.costs:
            self.costs[0] -= self.deadline - self.now
            self.now = self.deadline


class VirtualLock(SteppedLock):
    """
    A raw lock whose waits pass virtual time.
    """

    def __init__(self, virtual):
        super().__init__()
        self._virtual = virtual

    def acquire(self, blocking=True, timeout=-1):
        if not self._lock.acquire(False):
            self._virtual.wait(timeout)
            return self._lock.acquire(False)
        return True


@pytest.mark.parametrize(
    ("costs", "has_flushed", "took"),
    [
        pytest.param([0.001] * 10_000, True, 10.0, id="many, steadily"),
        pytest.param([0.001] * 100 + [1e9], False, 5.1, id="stuck after a hundred"),
        pytest.param([1e9], False, 5.0, id="stuck from the start"),
        pytest.param([3.0] * 100, False, 5.0, id="each slow"),
        pytest.param([0.001] * 6000 + [1e9], False, 11.0, id="stuck after a long while"),
        pytest.param([], True, 0.0, id="nothing queued"),
    ],
)
def test_patience(monkeypatch, costs, has_flushed, took):
    """
    Handlers that get on with it are waited for; stuck and slow ones for the time that was given.
    """
    virtual = VirtualWriter(monkeypatch, costs)
    for _ in costs:
        virtual.writer.put(logging.makeLogRecord({"msg": "text", "levelno": 20}), 0)
    assert virtual.writer.flush(5.0) is has_flushed
    assert virtual.now == pytest.approx(took, abs=0.01)
    left = 0 if has_flushed else len(costs) - len(virtual.handler.records)
    assert virtual.writer.unwritten() == left


# Exit, in processes of their own

PRELUDE = """
import atexit, logging, os, sys, threading, time, types, warnings
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher
from twisted.python import log as legacy
from crochet._logs import LogBridge

def start_thread(target, name):
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread

def set_up(timeout=5.0):
    bridge.start()
    atexit.register(bridge.finish, timeout)

def log_to_file(**options):
    logging.basicConfig(filename="log", level="DEBUG", format="%(message)s", **options)

log = Logger()
bridge = LogBridge(start_thread)
"""


@pytest.fixture
def run(tmp_path):
    """
    Run a program in a process of its own, and return its exit status, stderr and log file.
    """

    def run_program(program, *options):
        path = tmp_path / "program.py"
        path.write_text(PRELUDE + textwrap.dedent(program))
        done = subprocess.run(
            [sys.executable, *options, str(path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        log = tmp_path / "log"
        print(done.stdout, done.stderr)
        lines = log.read_text().splitlines() if log.exists() else []
        return SimpleNamespace(status=done.returncode, err=done.stderr, out=done.stdout, log=lines)

    return run_program


def test_exit_writes_ten_thousand_queued_records(run):
    """
    What is queued when the program ends is written, all of it and in order, and nothing is said.
    """
    done = run(
        """
        log_to_file()
        set_up()
        for number in range(10_000):
            log.info("{number}", number=number)
        sys.exit(7)
        """,
        "-Wdefault::ResourceWarning",
    )
    assert done.log == [str(number) for number in range(10_000)]
    assert (done.status, done.err) == (7, "")


def test_exit_writes_a_slow_handlers_records(run):
    """
    A handler that gets on, though it takes longer than the timeout in all, is waited for.
    """
    done = run(
        """
        log_to_file()
        class Slow(logging.Handler):
            def emit(self, record):
                time.sleep(0.01)
        logging.getLogger().addHandler(Slow())
        set_up(1.0)
        for number in range(200):
            log.info("{number}", number=number)
        """
    )
    assert (done.status, done.err, len(done.log)) == (0, "", 200)


@pytest.mark.parametrize("emit", ["log.info", "legacy.msg"])
def test_exit_hooks_may_log(run, emit):
    """
    Messages logged in hooks that run before ours and after it are written, the last one too.
    """
    done = run(
        f"""
        log_to_file()
        atexit.register({emit}, "registered first, runs last")
        atexit.register({emit}, "runs after ours")
        set_up()
        atexit.register({emit}, "runs before ours")
        {emit}("main")
        """,
        "-Xdev",
        "-Werror",
    )
    assert done.log == [
        "main",
        "runs before ours",
        "runs after ours",
        "registered first, runs last",
    ]
    assert (done.status, done.err) == (0, "")


STUCK = """
class Lockless(logging.Handler):
    def createLock(self):
        self.lock = None
lockless = Lockless()
class Stuck(logging.Handler):
    def emit(self, record):
        threading.Event().wait()
logging.getLogger().addHandler(Stuck())
"""


def test_exit_gives_up_on_a_stuck_handler(run):
    """
    A handler that is stuck holds the process no longer than the timeout, and logging.shutdown(),
    which would wait for its lock, passes it over. How much is missing is said in one line.
    """
    done = run(
        STUCK
        + """
atexit.register(log.info, "later")
set_up(0.2)
for number in range(10):
    log.warn("{number}", number=number)
sys.exit(3)
"""
    )
    assert done.status == 3
    (line,) = done.err.splitlines()
    assert line.startswith("crochet: 10 log records were not written: the handlers of logger")


def test_exit_gives_up_on_a_handler_that_gets_stuck_then(run):
    """
    A handler that is stuck by what a later hook logs holds the process no longer than the timeout.
    """
    done = run(
        STUCK
        + """
atexit.register(log.warn, "last")
atexit.register(log.warn, "later")
set_up(0.2)
"""
    )
    assert done.status == 0
    (line,) = done.err.splitlines()
    assert line.startswith("crochet: 1 log records were not written")


def test_exit_with_a_handler_stuck_in_stderr(tmp_path):
    """
    A handler that is stuck because nobody reads stderr does not hold the process: what would be
    said there is not.
    """
    path = tmp_path / "program.py"
    path.write_text(
        PRELUDE
        + textwrap.dedent(
            """
            logging.basicConfig(level="DEBUG")
            set_up(0.2)
            for number in range(300):
                log.info("x" * 1000)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(path)], stderr=subprocess.PIPE)
    try:
        assert process.wait(BOUND) == 0
        assert b"x" * 1000 in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()
        process.wait(BOUND)


def test_exit_with_a_handler_that_logs_to_twisted(run):
    """
    A handler that logs to Twisted, by either way, neither loops nor deadlocks at exit.
    """
    done = run(
        """
        log_to_file()
        class Echo(logging.Handler):
            def emit(self, record):
                log.info("echo of " + record.getMessage()[:4])
        logging.getLogger().addHandler(Echo())
        atexit.register(legacy.msg, "last")
        set_up()
        log.info("main")
        """
    )
    assert done.log == ["main", "echo of main", "last", "echo of last"]
    assert done.status == 0
    assert done.err.count("crochet: ") == 1


def test_event_of_the_interpreters_last_garbage(run):
    """
    What is logged when the interpreter takes itself apart is handled, and hangs nothing.
    """
    done = run(
        """
        class Last:
            def __del__(self):
                assert sys.is_finalizing()
                log.info("last")
        log_to_file()
        set_up()
        sys.modules["late"] = module = types.ModuleType("late")
        module.kept = Last()
        del module
        log.info("main")
        """
    )
    assert (done.status, done.err) == (0, "")
    assert done.log == ["main", "last"]


def test_stuck_handler_is_not_touched_when_the_interpreter_ends(run):
    """
    What is logged when the interpreter takes itself apart does not wait for a handler whose lock
    a frozen thread holds.
    """
    done = run(
        STUCK
        + """
class Last:
    def __del__(self):
        assert sys.is_finalizing()
        log.warn("last")
        os.write(1, b"gone on")
set_up(0.2)
sys.modules["late"] = module = types.ModuleType("late")
module.kept = Last()
del module
log.warn("main")
"""
    )
    assert (done.status, done.out) == (0, "gone on")


def test_forked_child_logs_in_the_thread_that_emits(run):
    """
    A forked child writes its own records, before os._exit() too, and none of its parent's.
    """
    done = run(
        """
        log_to_file()
        entered, opened = threading.Event(), threading.Event()
        class Slow(logging.Handler):
            def emit(self, record):
                if os.getpid() == parent:
                    entered.set()
                    assert opened.wait(60)
        parent = os.getpid()
        logging.getLogger().addHandler(Slow())
        os.register_at_fork(after_in_child=bridge.reset_after_fork)
        set_up()
        log.info("parent")
        log.info("parent, queued")
        assert entered.wait(60)
        child = os.fork()
        if child == 0:
            log.info("child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        opened.set()
        """,
        "-Wignore::DeprecationWarning",
    )
    assert (done.status, done.err) == (0, "")
    assert sorted(done.log) == ["child", "parent", "parent, queued"]


def test_forked_child_may_start_anew(run):
    """
    start() in a forked child gives it a writer of its own; exit writes what is queued there.
    """
    done = run(
        """
        log_to_file()
        os.register_at_fork(after_in_child=bridge.reset_after_fork)
        set_up()
        child = os.fork()
        if child == 0:
            bridge.start()
            for number in range(1000):
                log.info("child {number}", number=number)
            assert "crochet-log-writer" in [thread.name for thread in threading.enumerate()]
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        log.info("parent")
        """,
        "-Wignore::DeprecationWarning",
    )
    assert (done.status, done.err) == (0, "")
    assert done.log == [f"child {number}" for number in range(1000)] + ["parent"]


def test_process_wide_state_is_left_alone(run):
    """
    With the real publisher: nothing on stderr but what logging prints, warnings untouched, and a
    program that begins logging later is not told that it did so twice.
    """
    done = run(
        """
        log_to_file()
        before = warnings.showwarning
        set_up()
        assert warnings.showwarning is before
        log.critical("critical")
        legacy.startLogging(open("other", "w"), setStdout=False)
        log.info("after")
        """,
        "-Wignore::ResourceWarning",
    )
    assert (done.status, done.err) == (0, "")
    assert done.log[0] == "critical"
    assert done.log[-1] == "after"
    assert "twice" not in "".join(done.log)


def test_import_has_no_effect(run):
    """
    Importing the module and making a bridge starts no thread, adds no observer and no handler, and
    makes no logger, which a dictConfig() that comes between that and setup() would disable.
    """
    done = run(
        """
        assert threading.active_count() == 1
        assert globalLogPublisher._observers == [globalLogBeginner._temporaryObserver]
        assert not logging.getLogger().handlers
        assert "twisted" not in logging.Logger.manager.loggerDict
        import logging.config
        log_to_file()
        logging.config.dictConfig({"version": 1})
        set_up()
        log.warn("configured")
        """
    )
    assert (done.status, done.err, done.log) == (0, "", ["configured"])


@pytest.mark.skipif(os.name != "posix", reason="counts context switches as Linux does")
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
def test_idle_writer_does_not_wake(run):
    """
    A writer with nothing to do is not scheduled at all.
    """
    done = run(
        """
        log_to_file()
        bridge.start()
        log.info("once")
        assert bridge._writer.flush(60)
        (writer,) = [t for t in threading.enumerate() if t.name == "crochet-log-writer"]
        def switches():
            with open(f"/proc/self/task/{writer.native_id}/status") as status:
                return [line for line in status if "ctxt_switches" in line]
        time.sleep(0.2)  # until it is at rest
        before = switches()
        time.sleep(1.0)
        assert switches() == before
        """
    )
    assert (done.status, done.err) == (0, "")
