"""
Measures that need a new process each time: many results at once, timeouts, futures, the import.

Those that compare the two crochets use only what both have. Steps are timed in processor seconds of
the whole process: a step that does more work per item when there are more items shows there, and
one that another process held up does not.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import json
import linecache
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks.contenders import CROCHETS
from benchmarks.figures import Bar
from benchmarks.registry import measure

BOUND = 120.0


class Operations:
    """
    A decorated function whose Deferreds stay pending until they are all answered.
    """

    def __init__(self, expected: int) -> None:
        import crochet

        self.crochet = crochet
        crochet.setup()
        self.deferreds: list[Any] = [None] * expected
        self.all_pending = threading.Event()
        self._places = iter(range(expected))
        self.start = crochet.run_in_reactor(self._pend)
        wait_for = crochet.wait_for(timeout=BOUND)
        self.wait_for, self.answer_all = wait_for(self._pend), wait_for(self._answer)
        self.settle = wait_for(int)
        self.settle()

    def _pend(self) -> Any:
        from twisted.internet.defer import Deferred

        place = next(self._places)
        self.deferreds[place] = deferred = Deferred[None]()
        if place == len(self.deferreds) - 1:
            self.all_pending.set()
        return deferred

    def started(self) -> list[Any]:
        results = [self.start() for _ in self.deferreds]
        self.settle()
        return results

    def _answer(self) -> None:
        for deferred in self.deferreds:
            deferred.callback(None)

    def stop(self) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(reactor.stop)


class Steps(dict[str, float]):
    """
    The processor seconds per result or thread that each named step took.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self[name] = (time.process_time() - started) / self.number


def _take_errors(results: list[Any]) -> None:
    for result in results:
        try:
            result.wait(BOUND)
        except Exception:
            continue
        raise AssertionError("a result without its error")


def _started(target: Callable[[], Any], number: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(BOUND)
        assert not thread.is_alive(), "a thread was not released"


OURS = ("crochet",)
# Larger heaps are slower heaps, so not 1.
GROWTH = Bar("growth", "cost of one, ten times as many: {step}", 3.0, figure="growth")


@measure((3, 1, 1), CROCHETS, Bar("bytes", "ours", 950, unit="bytes"), number=(10_000, 2_000, 50))
def memory(number: int) -> dict[str, Any]:
    """
    Bytes of one pending result: everything it keeps alive, its Deferred included.

    The lists that hold the results and the Deferreds are there before; the counting starts
    after a few results have been made, so that what is allocated once is not counted.
    """
    tracemalloc.start()
    warm = Operations(100)
    kept = warm.started()
    operations = Operations(number)
    results: list[Any] = [None] * number
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for index in range(number):
        results[index] = operations.start()
    operations.settle()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    assert kept
    return {"bytes_per_result": (after - before) / number}


@measure((3, 2, 1), CROCHETS, GROWTH, number=(10_000, 1_000, 10), grows=True)
def pending(number: int) -> dict[str, Any]:
    """
    Processor seconds per result in each step of its life, at n and 10 n pending.
    """
    steps = Steps(number)
    operations = Operations(number)
    results: list[Any] = [None] * number
    gc.collect()
    with steps.timed("submit"):
        for index in range(number):
            results[index] = operations.start()
        operations.settle()
    with steps.timed("answer"):
        operations.answer_all()
    with steps.timed("take"):
        for result in results:
            result.wait(BOUND)
    del result
    with steps.timed("drop"):
        results.clear()
        operations.deferreds.clear()

    operations = Operations(number)
    results = operations.started()
    with steps.timed("cancel"):
        for result in results:
            result.cancel()
        operations.settle()
    _take_errors(results)

    operations = Operations(number)
    results = operations.started()
    with steps.timed("stop"):
        operations.stop()
        _take_errors(results)
    return steps


@measure((7, 3, 1), CROCHETS, GROWTH, number=(100, 20, 2), grows=True)
def waiters(number: int) -> dict[str, Any]:
    """
    Processor seconds per thread to enter and leave a wait: on results of their own, then on one.
    """
    threading.stack_size(256 * 1024)
    steps = Steps(number)
    operations = Operations(number)
    gc.collect()
    with steps.timed("enter"):
        threads = _started(operations.wait_for, number)
        assert operations.all_pending.wait(BOUND)
    with steps.timed("release"):
        operations.answer_all()
        _join(threads)

    single = Operations(1)
    result = single.start()
    started = threading.Semaphore(0)

    def wait() -> None:
        started.release()
        result.wait(BOUND)

    threads = _started(wait, number)
    for _ in threads:
        started.acquire()
    single.settle()
    with steps.timed("release from one result"):
        single.answer_all()
        _join(threads)

    operations = Operations(number)

    def stopped() -> None:
        try:
            operations.wait_for()
        except operations.crochet.ReactorStopped:
            return
        raise AssertionError("the wait outlived the reactor")

    threads = _started(stopped, number)
    assert operations.all_pending.wait(BOUND)
    with steps.timed("stop"):
        operations.stop()
        _join(threads)
    return steps


#: Seconds that each wait is given that is to time out. All are in it before the first one is over.
LIMIT = 2.0

CROWD = Bar("seconds", "one among the many", 0.0002, unit="s", figure="all at once at 10 n")


@measure((5, 2, 1), OURS, GROWTH, CROWD, number=(100, 20, 2), grows=True)
def timeouts(number: int) -> dict[str, Any]:
    """
    Processor seconds per wait that times out, of many at once, for the reactor thread is blocked.

    They do so alone, and then beside a hundred times as many calls in flight. What the threads do
    before, and when they end, is in the figure, too.
    """
    import crochet

    threading.stack_size(256 * 1024)
    crochet.setup(stall_warning=None)
    wait = crochet.wait_for(timeout=LIMIT)(int)
    operations = Operations(100 * number)
    steps = Steps(number)

    def crowd(name: str) -> None:
        begun = itertools.count(1)
        all_begun, is_over = threading.Event(), threading.Event()
        times: list[float] = []
        answers: list[object] = []

        def run() -> None:
            times.append(time.monotonic())
            if next(begun) == number:
                all_begun.set()
            try:
                answers.append(wait())
            except crochet.TimeoutError as error:
                if error.state not in ("busy", "blocked"):
                    answers.append(error)

        blocking = crochet.run_in_reactor(is_over.wait)(BOUND)
        threads = _started(run, number)
        assert all_begun.wait(BOUND), "the threads have not all begun"
        time.sleep(max(min(times) + 0.95 * LIMIT - time.monotonic(), 0.0))
        with steps.timed(name):
            _join(threads)
        is_over.set()
        blocking.wait(BOUND)
        assert not answers, f"a wait ended otherwise: {answers[0]!r}"

    crowd("all at once")
    pending = operations.started()
    gc.collect()
    crowd("beside calls in flight")
    assert pending
    return steps


@measure((10, 3, 1), OURS, Bar("seconds", "ours", 0.001, unit="s"), number=(1_000, 1_000, 10))
def status(number: int) -> dict[str, Any]:
    """
    Processor seconds of ``status()`` with many calls in flight; and of the page made of it.
    """
    operations = Operations(number)
    results = operations.started()
    gc.collect()
    snapshots, pages = Steps(1), Steps(1)
    for turn in range(50):
        with snapshots.timed(str(turn)):
            snapshot = operations.crochet.status()
        with pages.timed(str(turn)):
            page = str(snapshot)
    assert len(snapshot.calls) == number, f"{len(snapshot.calls)} calls seen of {number}"
    assert "in flight" in page
    assert results
    return {"seconds": median(snapshots.values()), "page_seconds": median(pages.values())}


#: How many requests are on the wire at once, each on a connection that the next one uses again.
CONNECTIONS = 50

FLAT = Bar("flat", "after 20 rounds / after 5", 1.02, bottom="crochet", under="bytes_early")


@measure((1, 1, 1), OURS, FLAT, number=(1_000, 200, 5))
def futures(number: int) -> dict[str, Any]:
    """
    Bytes in use after 20 rounds of HTTP requests, collected as their futures complete; and after 5.

    Server and client are Twisted's, in this process's reactor, over the loopback. All requests of a
    round are started first; each then has a future, and the one that completes first is taken
    first. All that Python has allocated since the process began is counted, but the lines of source
    files that it keeps.
    """
    tracemalloc.start()
    import crochet

    crochet.setup()
    from twisted.internet import reactor
    from twisted.internet.defer import DeferredSemaphore
    from twisted.web.client import Agent, HTTPConnectionPool, readBody
    from twisted.web.server import Site
    from twisted.web.static import Data

    page = Data(b"nothing", "text/plain")
    page.isLeaf = True

    @crochet.wait_for(timeout=BOUND)
    def listen() -> Any:
        return reactor.listenTCP(0, Site(page), interface="127.0.0.1", backlog=CONNECTIONS)

    address = b"http://127.0.0.1:%d/" % listen().getHost().port
    pool, turns = HTTPConnectionPool(reactor), DeferredSemaphore(CONNECTIONS)
    pool.maxPersistentPerHost = CONNECTIONS
    agent = Agent(reactor, pool=pool)

    async def get() -> bytes:
        return await readBody(await agent.request(b"GET", address))

    fetch = crochet.run_in_reactor(lambda: turns.run(get))
    in_use = {}
    for done in range(1, 21):
        pending = [fetch().as_future() for _ in range(number)]
        for future in concurrent.futures.as_completed(pending, BOUND):
            assert future.result() == b"nothing"
        del pending, future
        if done in (5, 20):
            # The watch looks at the source of what keeps a busy reactor, once for each file.
            linecache.clearcache()
            gc.collect()
            in_use[done], _ = tracemalloc.get_traced_memory()
    return {"bytes_later": in_use[20], "bytes_early": in_use[5]}


#: What a new interpreter runs to time an import. It imports nothing else before that. An import
#: from a warm cache is nothing but work, so on a quiet machine both clocks agree; on a busy one
#: the processor's clock still tells the cost of the import.
IMPORT = """
import sys
from time import perf_counter, process_time
sys.path[:0] = sys.argv[1:]
import twisted.internet.defer
started, began = perf_counter(), process_time()
import crochet
worked, passed = process_time() - began, perf_counter() - started
print('{"cpu_seconds": %r, "wall_seconds": %r, "reactor_imported": %d}' % (
    worked, passed, "twisted.internet.reactor" in sys.modules))
"""

IMPORTING = (
    Bar("seconds", "ours", 0.010, unit="s"),
    Bar("reactor", "reactors imported", 0, unit="imports", figure="reactor_imported", each=True),
)


@measure((30, 8, 1), CROCHETS, *IMPORTING, name="import")
def import_() -> dict[str, Any]:
    """
    Processor seconds to import crochet after twisted.internet.defer, in a new interpreter.
    """
    source = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    command = [sys.executable, "-I", "-c", IMPORT, *source]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
