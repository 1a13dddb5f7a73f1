"""
What holds for every test: it ends, and it leaves nothing behind.

With ``CROCHET_TEST_REACTOR=asyncio``, ``poll`` or ``select`` in the environment, the real reactors
of tests and of the programs that they start are of that kind. Otherwise they are Twisted's default.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest
from twisted.logger import globalLogPublisher

from crochet._threads.threads import start_thread
from support.process import FakeProcess, LoggedFailures, flush_dropped, stepped_process
from support.reactor import close_reactor, new_real_reactor
from support.stepping import BOUND, FakeClock, FakeWaiter

if sys.argv[:1] == ["-c"]:  # of pytest-xdist: this is no program that somebody has typed
    sys.argv[0] = "pytest"

# No test takes half of it. Each blocking call has a bound of its own; this one is for what has
# none, such as a deadlock of the library.
_TEST_BOUND = 5 * BOUND

# To be measured by coverage costs a program as much time again, and each child that it forks. What
# the programs of these tests run of the package, its own tests run, too.
_UNMEASURED = {"test_benchmarks", "test_demo", "test_docs", "test_examples", "test_servers"}

_stderr: TextIO | None = None


def pytest_configure(config: pytest.Config) -> None:
    """
    Keep the stderr that pytest does not capture, for the stacks of a test that hangs.

    And let Ctrl-C be Ctrl-C: a shell that starts the suite in the background has it ignored, in the
    programs that tests start, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    global _stderr
    _stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")  # type: ignore[union-attr]
    if os.environ.get("CROCHET_TEST_REACTOR"):
        folders = [str(Path(__file__).parent / "default_reactor"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))


@pytest.fixture(scope="module", autouse=True)
def _measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Have coverage leave some modules' programs alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__.rpartition(".")[2] in _UNMEASURED:
            for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _same_ctrl_c() -> Iterator[None]:
    """
    Leave Ctrl-C to the next test as it was: a reactor that runs in the main thread takes it.
    """
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)


def pytest_unconfigure() -> None:
    """
    Close it.
    """
    if _stderr is not None:
        _stderr.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """
    Return how many tests run at once: they wait as much as they work.
    """
    return min(2 * (os.cpu_count() or 1), 8)


def pytest_collection_finish() -> None:
    """
    Leave what is imported by now out of the garbage collections after each test.
    """
    gc.collect()
    if hasattr(gc, "freeze"):  # PyPy has none
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """
    End the run, with the stacks of all threads, should a test hang.
    """
    assert _stderr is not None
    faulthandler.dump_traceback_later(_TEST_BOUND, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Fail a run that has skipped something, where it is told that nothing is to be missing.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    is_strict = os.environ.get("CROCHET_TEST_SKIPS") == "fail"
    if is_strict and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _open_descriptors() -> dict[int, str]:
    """
    Return the process's file descriptors and what they are, as far as the system tells.
    """
    descriptors = {}
    try:
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return {}
    for name in names:
        try:
            descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # it was that of the listing itself
    return descriptors


@pytest.fixture(autouse=True)
def logged() -> Iterator[LoggedFailures]:
    """
    Collect the failures that are logged to Twisted; those that the test has not taken fail it.

    With them, so do threads and file descriptors that the test has left behind. Wider fixtures
    come before this one, so what they start is no test's.
    """
    threads = set(threading.enumerate())
    descriptors = _open_descriptors()
    failures = LoggedFailures()
    globalLogPublisher.addObserver(failures)
    try:
        yield failures
        gc.collect()  # Deferreds and results log their failures when they are dropped
        flush_dropped()
    finally:
        globalLogPublisher.removeObserver(failures)
    assert not failures.events, "failures were logged that the test has not taken"
    for thread in set(threading.enumerate()) - threads:
        while thread.ident is None:
            time.sleep(0.001)  # it is just being started, and cannot be joined yet
        thread.join(BOUND)
        assert not thread.is_alive(), f"{thread.name} was left behind"
    left = dict(_open_descriptors().items() - descriptors.items())
    assert not left, f"file descriptors were left open: {left}"


@pytest.fixture
def process() -> FakeProcess:
    """
    A process with a fake reactor, which nobody has set up.
    """
    return FakeProcess()


@pytest.fixture
def stepped() -> FakeProcess:
    """
    A process with a fake reactor that runs, a turn whenever the test says so.
    """
    return stepped_process()


@pytest.fixture
def waits(stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeWaiter]:
    """
    Has threads that wait in the stepped process do so at a fake waiter, with what is to happen
    meanwhile.
    """

    def give(meanwhile: Callable[[float], object] = lambda timeout: None) -> FakeWaiter:
        clock = FakeClock()
        clock.install(monkeypatch)
        waiter = FakeWaiter(meanwhile, clock)
        stepped.bridge.new_waiter = lambda: waiter
        return waiter

    return give


@pytest.fixture
def real() -> Iterator[FakeProcess]:
    """
    A process whose reactor and threads are real.
    """
    reactor = new_real_reactor()
    process = FakeProcess(reactor, start_thread)
    yield process
    process.exit()
    close_reactor(reactor)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeProcess]:
    """
    A process with a real reactor that runs in a thread of its own, one for all tests of a module.
    """
    reactor = new_real_reactor()
    running = FakeProcess(reactor, start_thread)
    running.loop.setup()
    yield running
    running.exit()
    close_reactor(reactor)
