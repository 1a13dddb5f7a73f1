"""
The probes: figures that need a new process each time.

Started by the conductor as ``python -m benchmarks.probes NAME NUMBER``, in the environment of
the crochet to be looked at. Each probe prints one JSON line and ends. Those that compare the two
crochets use only what both have.

Steps are timed in processor seconds of the whole process: a step that does more work per item
when there are more items shows there, and one that another process held up does not.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.completion import futures
from benchmarks.outage import timeouts

BOUND = 120.0


class Operations:
    """
    A decorated function whose Deferreds stay pending, and the means to answer them all.
    """

    def __init__(self, expected: int) -> None:
        import crochet

        self.crochet = crochet
        crochet.setup()
        self.deferreds: list[Any] = [None] * expected
        self.all_pending = threading.Event()
        self._places = iter(range(expected))
        self._last = expected - 1
        self.start = crochet.run_in_reactor(self._pend)
        self.wait_for = crochet.wait_for(timeout=BOUND)(self._pend)
        self.settle = crochet.wait_for(timeout=BOUND)(_no_op)
        self.settle()

    def _pend(self) -> Any:
        from twisted.internet.defer import Deferred

        place = next(self._places)
        self.deferreds[place] = deferred = Deferred[None]()
        if place == self._last:
            self.all_pending.set()
        return deferred

    def answer_all(self) -> float:
        """
        Answer every pending operation; return the processor seconds it took.
        """

        def answer() -> float:
            started = time.process_time()
            for deferred in self.deferreds:
                deferred.callback(None)
            return time.process_time() - started

        seconds: float = self.crochet.wait_for(timeout=BOUND)(answer)()
        return seconds


def _no_op() -> None:
    pass


def memory(number: int) -> dict[str, Any]:
    """
    Count the bytes of one pending result: everything it keeps alive, its Deferred included.

    The lists that hold the results and the Deferreds are there before; the counting starts
    after a few results have been made, so that what is allocated once is not counted.
    """
    tracemalloc.start()
    warm = Operations(100)
    kept = [warm.start() for _ in range(100)]
    warm.settle()
    operations = Operations(number)
    results: list[Any] = [None] * number
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for index in range(number):
        results[index] = operations.start()
    operations.settle()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    warm.answer_all()
    operations.answer_all()
    for result in itertools.chain(kept, results):
        result.wait(BOUND)
    return {"bytes_per_result": (after - before) / number}


def pending(number: int) -> dict[str, Any]:
    """
    Time each step in the life of *number* results that are all pending at once.
    """
    steps = Steps(number)
    operations = Operations(number)
    results: list[Any] = [None] * number
    gc.collect()
    with steps.timed("submit"):
        for index in range(number):
            results[index] = operations.start()
        operations.settle()
    steps.seconds["answer"] = operations.answer_all()
    with steps.timed("take"):
        for result in results:
            result.wait(BOUND)
    del result
    with steps.timed("drop"):
        results.clear()
        operations.deferreds.clear()

    operations = Operations(number)
    results = [operations.start() for _ in range(number)]
    operations.settle()
    with steps.timed("cancel"):
        for result in results:
            result.cancel()
        operations.settle()
    _take_errors(results)

    operations = Operations(number)
    results = [operations.start() for _ in range(number)]
    operations.settle()
    from twisted.internet import reactor

    with steps.timed("stop"):
        reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]
        _take_errors(results)
    return steps.per_item()


def waiters(number: int) -> dict[str, Any]:
    """
    Time *number* threads that wait at once: each on its own result, then all on one.
    """
    threading.stack_size(256 * 1024)
    steps = Steps(number)
    operations = Operations(number)
    gc.collect()
    with steps.timed("enter"):
        threads = _started(operations.wait_for, number)
        _expect(operations.all_pending)
    with steps.timed("release"):
        operations.answer_all()
        _joined(threads)

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
        _joined(threads)

    operations = Operations(number)

    def stopped() -> None:
        try:
            operations.wait_for()
        except operations.crochet.ReactorStopped:
            return
        raise AssertionError("the wait outlived the reactor")

    threads = _started(stopped, number)
    _expect(operations.all_pending)
    from twisted.internet import reactor

    with steps.timed("stop"):
        reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]
        _joined(threads)
    return steps.per_item()


def status(number: int) -> dict[str, Any]:
    """
    Time ``status()``, and the page made of it, while *number* calls are in flight.
    """
    operations = Operations(number)
    results = [operations.start() for _ in range(number)]
    operations.settle()
    gc.collect()
    snapshots: list[float] = []
    pages: list[float] = []
    for _ in range(50):
        started = time.process_time()
        snapshot = operations.crochet.status()
        taken = time.process_time()
        page = str(snapshot)
        pages.append(time.process_time() - taken)
        snapshots.append(taken - started)
    if len(snapshot.calls) != number or "in flight" not in page:
        raise AssertionError(f"{len(snapshot.calls)} calls seen of {number}")
    operations.answer_all()
    for result in results:
        result.wait(BOUND)
    return {"seconds": statistics.median(snapshots), "page_seconds": statistics.median(pages)}


class Steps:
    """
    The processor seconds that each named step took.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.seconds: dict[str, float] = {}

    def timed(self, name: str) -> Any:
        """
        Return a context manager that times its block as the step called *name*.
        """

        @contextlib.contextmanager
        def timing() -> Iterator[None]:
            started = time.process_time()
            yield
            self.seconds[name] = time.process_time() - started

        return timing()

    def per_item(self) -> dict[str, float]:
        """
        Return the seconds per result or thread, by step.
        """
        return {name: seconds / self.number for name, seconds in self.seconds.items()}


def _take_errors(results: list[Any]) -> None:
    """
    Collect the error that each of *results* must have, so that none is logged.
    """
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


def _joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(BOUND)
        if thread.is_alive():
            raise TimeoutError("a thread was not released")


def _expect(event: threading.Event) -> None:
    if not event.wait(BOUND):
        raise TimeoutError("the operations have not all started")


PROBES = {
    "memory": memory,
    "pending": pending,
    "waiters": waiters,
    "timeouts": timeouts,
    "status": status,
    "futures": futures,
}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](int(sys.argv[2]))))
