"""
Records reach a logger in order, and whoever puts them waits for no handler.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import signal
import sys
import threading
import tracemalloc
import weakref
from contextlib import suppress

import pytest

from crochet._logs import observer as _logs
from crochet._logs.writer import Writer
from crochet._threads import worker as _worker
from crochet._threads.primitives import Latch
from support import logs as log_fakes
from support.logs import BOUND, Collector, Gate, fail
from support.process import FakeThreads
from support.stepping import Background

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")
# Fixtures, which pytest finds here by these names.
make_world, world, run = log_fakes.make_world, log_fakes.world, log_fakes.run


# Handlers that block and raise


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


def test_handler_that_stops_the_bridge_does_not_wait_for_itself(make_world):
    """
    stop() in a handler returns at once, with what is true: not all is written.
    """
    answers, is_queued = [], threading.Event()

    def action(record):
        assert is_queued.wait(BOUND)
        answers.append(world.bridge.stop(threading.TIMEOUT_MAX))

    world = make_world(action)
    world.bridge.start()
    writer = world.bridge._writer
    world.log.info("one")
    world.log.info("two")
    is_queued.set()
    writer._worker._thread.join(BOUND)
    assert not writer._worker._thread.is_alive()
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


def test_queue_is_bounded_behind_a_stuck_handler(make_world):
    """
    So many records wait, and the others are counted and told.
    """
    world = make_world(Gate(), limit=1000)
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)
    for number in range(1100):
        world.log.info("{number}", number=number)
    world.handler.action.opened.set()
    written = world.written()
    assert written.pop() == (
        "100 log records were dropped: log handlers were stuck or too slow, and 1000 records were "
        "waiting for them"
    )
    assert world.handler.records[-1].levelno == logging.WARNING
    assert written == ["stuck", *map(str, range(1000))]


def test_queue_takes_at_most_20_megabytes_of_ordinary_records(make_world):
    """
    As the documentation says; also of failures, whose frames hold whatever they hold.
    """

    def emit_failure():
        payload = bytes(10_000)
        try:
            raise ValueError(len(payload))
        except ValueError:
            world.log.failure("failed")

    world = make_world(Gate())
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)
    tracemalloc.start()
    try:
        for number in range(_logs.LIMIT // 2):
            world.log.info("GET /{number} HTTP/1.1 200", number=number)
            emit_failure()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert world.bridge._writer._dropped == 0
    # Half of it from Python 3.11 on, where records share the names of their attributes.
    assert 5_000_000 < held < 20_000_000


def test_gap_is_told_where_it_is(make_world):
    """
    The number of dropped records is told between those before the gap and those after it.
    """
    world = make_world(Gate(), limit=10)
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)
    for number in range(100):
        world.log.info("{number}", number=number)
    writer = world.bridge._writer
    assert writer.unwritten() == 101
    world.handler.action.opened.set()
    assert writer.flush(BOUND)
    world.log.info("after")
    written = world.written()
    assert written[:-2] == ["stuck", *map(str, range(10))]
    assert written[-2].startswith("90 log records were dropped")
    assert written[-1] == "after"


def busy_writer(logger, limit):
    """
    Return a writer that takes its thread to be there and busy.
    """
    writer = Writer(FakeThreads(), logger, limit)
    writer.start()
    return writer


def test_gap_in_the_middle_of_the_queue(make_world):
    """
    A record that is taken after others were dropped brings the number along.
    """

    def action(record):
        if record.getMessage() == "first":
            put("last")  # there is room again

    def put(text):
        if not writer.is_full():
            writer.put(logging.makeLogRecord({"msg": text, "levelno": logging.INFO}), 0)

    world = make_world(action)
    writer = busy_writer(world.logger, 2)
    for text in ("first", "second", "dropped"):
        put(text)
    assert writer.unwritten() == 3
    writer._worker._drain()
    first, second, told, last = world.handler.messages()
    assert (first, second, last) == ("first", "second", "last")
    assert told.startswith("1 log records were dropped")
    assert writer.unwritten() == 0


def test_gap_is_not_told_to_a_logger_that_wants_no_warnings(make_world):
    """
    The record that tells of dropped ones is a WARNING, and as such is subject to the level.
    """
    world = make_world(Gate(), limit=10)
    world.bridge.start()
    for _ in range(100):
        world.log.error("text")
    world.logger.setLevel(logging.ERROR)
    world.handler.action.opened.set()
    assert set(world.written()) == {"text"}


def test_traceback_gives_way_to_its_text(make_world):
    """
    Behind a stuck handler, all but a few failures keep their traceback as text only.
    """
    world = make_world(Gate(), limit=500)
    world.bridge.start()
    world.log.info("stuck")
    assert world.handler.action.entered.wait(BOUND)

    def log() -> None:
        for _ in range(10):
            try:
                fail()
            except ValueError:
                world.log.failure("failed")

    Background(log).outcome()  # below, Python 3.10 would find all frames of the test's runner
    world.handler.action.opened.set()
    assert world.written() == ["stuck"] + ["failed"] * 10
    failed = world.handler.records[1:]
    assert [record.exc_info is not None for record in failed] == [True] * 5 + [False] * 5
    texts = {logging.Formatter().format(record) for record in failed}
    assert len(texts) == 1
    assert "in fail" in texts.pop()


# The end


def test_event_that_meets_the_end(make_world):
    """
    An emitter fetches the writer, the writer ends, the emitter puts its record. It handles that
    itself.
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
    A record that follows the end's mark in the queue is handled before the thread ends.
    """
    world = make_world(Gate())
    world.bridge.start()
    writer = world.bridge._writer
    world.log.info("first")
    assert world.handler.action.entered.wait(BOUND)
    assert not writer.stop(0.0)
    world.log.info("after the mark")
    world.handler.action.opened.set()
    writer._worker._thread.join(BOUND)
    assert world.handler.messages() == ["first", "after the mark"]


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
    assert writer.unwritten() == 0


# How long the end waits


@pytest.mark.parametrize("timeout", [5.0, 0.0, float("inf")])
@pytest.mark.parametrize("is_slow", [False, True])
def test_patience(timeout, is_slow, monkeypatch):
    """
    Handlers are waited for once, for the time that was given.
    """
    waits = []

    class WaitedLatch(Latch):
        def wait(self, seconds):
            waits.append(seconds)
            if not is_slow:
                writer._worker._drain()
            return super().wait(0)

    logger = logging.Logger("slow")
    logger.addHandler(Collector())
    writer = busy_writer(logger, 10**9)
    monkeypatch.setattr(_worker, "Latch", WaitedLatch)
    for _ in range(3):
        writer.put(logging.makeLogRecord({"msg": "text", "levelno": 20}), 0)
    assert writer.flush(timeout) is not is_slow
    assert waits == [timeout]
    assert writer.unwritten() == (3 if is_slow else 0)


# Forks and rest, in processes of their own


@needs_fork
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
        os.register_at_fork(after_in_child=bridge.after_fork_in_child)
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


@needs_fork
def test_handler_that_forks(run):
    """
    A child that a handler forks returns from it into the writer, and writes nothing of its
    parent's there.
    """
    done = run(
        """
        log_to_file()
        is_queued = threading.Event()
        class Forking(logging.Handler):
            def handle(self, record):  # without the lock, which logging renews in the child
                if record.getMessage() == "one":
                    assert is_queued.wait(60)
                    child = os.fork()
                    if child:
                        assert os.waitpid(child, 0)[1] == 0
        logging.getLogger().addHandler(Forking())
        os.register_at_fork(after_in_child=bridge.after_fork_in_child)
        set_up()
        log.info("one")
        log.info("two")
        is_queued.set()
        assert bridge._writer.flush(60)
        """,
        "-Wignore::DeprecationWarning",
    )
    assert (done.status, done.err) == (0, "")
    assert done.log == ["one", "two"]


@needs_fork
def test_forked_child_may_start_anew(run):
    """
    start() in a forked child gives it a writer of its own; exit writes what is queued there.
    """
    done = run(
        """
        log_to_file()
        os.register_at_fork(after_in_child=bridge.after_fork_in_child)
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
                return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        before = switches()
        time.sleep(1.0)  # time in which a poller would poll
        assert switches() - before <= 2  # it may have been about to rest
        """
    )
    assert (done.status, done.err) == (0, "")
