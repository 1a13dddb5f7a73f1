"""
Twisted's log events become records of ``logging``, and whoever logs waits for no handler.
"""

from __future__ import annotations

import contextvars
import logging
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
from types import SimpleNamespace

import pytest
from twisted.logger import LimitedHistoryLogObserver, LogLevel
from twisted.python.failure import Failure

from crochet._logs import observer as _logs
from crochet._logs.observer import LogBridge
from support import logs as log_fakes
from support.logs import BOUND, PRELUDE, Collector, Gate, call_in_thread, fail, start_thread
from support.stepping import FakeClock

# Fixtures, which pytest finds here by these names.
make_world, world, run = log_fakes.make_world, log_fakes.world, log_fakes.run


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
    assert record.module == "test_observer"
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


def test_full_queue_costs_no_formatting(make_world):
    """
    Behind a stuck handler, an event that will be dropped is not formatted first.
    """
    world = make_world(Gate(), limit=10)
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)
    for _ in range(10):
        world.log.info("text")
    thing = Unprintable()
    world.log.info("{thing}", thing=thing)
    assert thing.times == 0


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


def test_disabled_by_a_configuration_of_logging(run):
    """
    dictConfig() disables the logger with all that it does not know: errors that nobody took are
    told on stderr then, and nothing else; those of a logger that is configured are not.
    """
    done = run(
        """
        import gc, logging.config
        import crochet

        def settle():
            crochet.wait_for(60)(gc.collect)()
            assert crochet._event_loop._logs._writer.flush(60)

        crochet.setup()
        logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})
        Logger("program").info("an info")
        for number in (0, 0.0):
            crochet.run_in_reactor(lambda: 1 / number)()
            settle()
        logger = logging.getLogger("twisted")
        logger.setLevel(logging.CRITICAL + 1)
        crochet.run_in_reactor(lambda: {}["muted"])()
        settle()
        logger.setLevel(logging.NOTSET)
        logger.disabled = False
        logger.addHandler(logging.NullHandler())
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        crochet.run_in_reactor(lambda: {}["configured"])()
        settle()
        """
    )
    assert done.status == 0
    assert done.err.count("was disabled by logging.config") == 1
    assert done.err.count("division by zero") == 2
    assert done.err.count("Unhandled error in EventualResult of <lambda>()") == 2
    assert "KeyError" not in done.err
    assert "an info" not in done.err


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


# Handlers that log


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


# Exit, in processes of their own


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


def test_exit_waits_for_later_events_with_what_is_left(world, monkeypatch):
    """
    However many exit hooks log, all of exit has one bound.
    """
    waits, clock = [], FakeClock()

    def flush(timeout):
        waits.append(timeout)
        clock.now += 2.0
        return True

    monkeypatch.setattr(world.bridge._writer, "flush", flush)
    with monkeypatch.context() as patch:
        patch.setattr(_logs, "monotonic", clock)
        assert world.bridge.finish(5.0)
        for number in range(4):
            world.log.info("{number}", number=number)
    assert waits == [5.0, 3.0, 1.0]


@pytest.mark.parametrize("timeout", ["float('inf')", "0.0"])
def test_exit_writes_a_slow_handlers_records(run, timeout):
    """
    For as long as is asked for; what it does not wait for is counted.
    """
    done = run(
        f"""
        log_to_file()
        go_on = threading.Event()
        class Slow(logging.Handler):
            def emit(self, record):
                go_on.wait()
        logging.getLogger().addHandler(Slow())
        timeout = {timeout}
        set_up(timeout)
        for number in range(200):
            log.info("{{number}}", number=number)
        if timeout:
            atexit.register(go_on.set)
        """
    )
    assert done.status == 0
    if timeout == "0.0":
        assert done.err.startswith("crochet: 200 log records were not written: ")
    else:
        assert (done.err, len(done.log)) == ("", 200)


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
        assert not bridge.stop(threading.TIMEOUT_MAX)
        os.write(1, b"gone on")
set_up(0.2)
sys.modules["late"] = module = types.ModuleType("late")
module.kept = Last()
del module
log.warn("main")
"""
    )
    assert (done.status, done.out) == (0, "gone on")


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
