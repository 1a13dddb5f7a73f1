"""
The reactor's thread pool, and the threads that are added to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from twisted.python.threadpool import ThreadPool

from crochet import _errors
from crochet._core.decorators import Decorators
from crochet._reactor import pool as _pool
from crochet._reactor.pool import PoolGrowth, use_daemon_threads
from support.process import open_bridge
from support.reactor import FakeReactor
from support.stepping import BOUND


class Pooled:
    """
    A pool of two threads whose jobs wait for calls that nobody answers until they are told to.
    """

    def __init__(self) -> None:
        self.reactor: Any = FakeReactor()
        self.bridge = open_bridge(self.reactor)
        self.bridge.use_wakeup(list)  # calls are answered when the test says so
        self.reactor.turn()
        self.pool = self.reactor.threadpool = ThreadPool(0, 2)
        self.pool.start()
        self.wait: Any = Decorators(self.bridge).wait_for(None)(int)
        self.growth = PoolGrowth(self.reactor, self.bridge)
        self.done = threading.Semaphore(0)

    def submit(self, job: Callable[[], object]) -> None:
        """
        Hand something to the pool.
        """

        def run() -> None:
            try:
                job()
            except _errors.ReactorStopped:
                pass
            self.done.release()

        self.pool.callInThread(run)

    def look(self) -> int:
        """
        Look, and have the reactor do what comes of it; return how many are added.
        """
        self.growth.look()
        self.reactor.turn()
        return self.growth.added

    def until(self, claim: Callable[[], bool]) -> None:
        """
        Wait until something is so.
        """
        deadline = time.monotonic() + BOUND
        while not claim():
            assert time.monotonic() < deadline

    def wait_in(self, number: int) -> None:
        """
        Have as many workers wait for calls.
        """
        before = self.waiting()
        for _ in range(number):
            self.submit(self.wait)
        self.until(lambda: self.waiting() == before + number)

    def waiting(self) -> int:
        """
        Count the workers that wait.
        """
        return self.growth._waiting(self.pool)

    def answer(self) -> None:
        """
        Answer all.
        """
        self.bridge.drain_in_reactor([])
        self.until(lambda: self.waiting() == 0)


@pytest.fixture
def pooled() -> Iterator[Pooled]:
    """
    A pool that ends with the test.
    """
    pooled = Pooled()
    yield pooled
    pooled.bridge.close(_errors.stopped)
    pooled.pool.stop()


def test_adds_while_workers_wait_and_work_is_left(pooled: Pooled) -> None:
    """
    One for each that waits, and no more than there is work; and removes them when there is none.
    """
    pooled.wait_in(2)
    assert pooled.look() == 0  # no work is left
    pooled.submit(int)
    assert pooled.look() == 1
    assert pooled.done.acquire(timeout=BOUND)
    assert pooled.pool.max == 3
    pooled.until(lambda: len(pooled.pool.waiters) == 1)
    assert pooled.look() == 1  # two wait, and may need it again
    assert pooled.growth.has_grown
    pooled.answer()
    pooled.until(lambda: len(pooled.pool.waiters) == 3)
    assert pooled.look() == 0
    assert not pooled.growth.has_grown
    assert (pooled.pool.max, pooled.pool.workers) == (2, 2)
    pooled.until(lambda: sum(thread.is_alive() for thread in pooled.pool.threads) == 2)


def test_adds_no_more_than_there_are_workers_that_wait(pooled: Pooled) -> None:
    """
    Work for which there is no thread is what pools are about.
    """
    over = threading.Event()
    for _ in range(5):
        pooled.submit(lambda: over.wait(BOUND))
    pooled.until(lambda: pooled.pool.workers == 2)
    assert pooled.look() == 0
    over.set()


def test_added_threads_that_wait_count(pooled: Pooled) -> None:
    """
    Up to MOST in all.
    """
    for _ in range(20):
        pooled.submit(pooled.wait)
    added = []
    for number in (2, 4, 6):
        pooled.until(partial(_are_waiting, pooled, number))
        added.append(pooled.look())
    assert added == [2, 4, 6]


def _are_waiting(pooled: Pooled, number: int) -> bool:
    return pooled.waiting() == number


def test_bound(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No more than MOST, also if it was told twice before the reactor came to it.
    """
    monkeypatch.setattr(_pool, "MOST", 3)
    for _ in range(20):
        pooled.submit(pooled.wait)
    pooled.until(partial(_are_waiting, pooled, 2))
    pooled.growth.look()
    assert pooled.look() == 3
    pooled.until(partial(_are_waiting, pooled, 5))
    assert pooled.look() == 3
    assert pooled.pool.max == 5


def test_pool_that_has_been_used_up_meanwhile(pooled: Pooled) -> None:
    """
    1. A look finds work left. 2. A worker is done, and takes it. 3. The reactor lends nothing.
    """
    pooled.wait_in(2)
    pooled.submit(int)
    pooled.growth.look()
    pooled.answer()
    assert pooled.done.acquire(timeout=BOUND)
    pooled.until(lambda: not pooled.pool.q.qsize())
    pooled.reactor.turn()
    assert pooled.growth.added == 0


def test_forgets_threads_that_have_ended(pooled: Pooled) -> None:
    """
    The pool itself never does.
    """
    for _ in range(3):
        pooled.wait_in(2)
        pooled.submit(int)
        assert pooled.look() == 1
        assert pooled.done.acquire(timeout=BOUND)
        pooled.answer()
        pooled.until(lambda: len(pooled.pool.waiters) == 3)
        assert pooled.look() == 0
        pooled.until(lambda: sum(thread.is_alive() for thread in pooled.pool.threads) == 2)
        pooled.growth._shrink_in_reactor(pooled.pool)
    assert len(pooled.pool.threads) == 2


def test_no_pool(pooled: Pooled) -> None:
    """
    One that is not there, or does not run, is left alone.
    """
    pool = pooled.reactor.threadpool
    pooled.growth.added = 1
    pooled.reactor.threadpool = None
    assert pooled.look() == 1
    assert not pooled.growth.has_grown
    pooled.reactor.threadpool = ThreadPool(0, 2)
    assert pooled.look() == 1
    pooled.growth._shrink_in_reactor(pooled.reactor.threadpool)
    assert pooled.growth.added == 0
    pooled.reactor.threadpool = pool


class TestPool:
    """
    The threads of ``deferToThread()``.
    """

    def test_has_daemons(self, reactor: Any) -> None:
        """
        Which Python does not wait for before it calls exit hooks.
        """
        use_daemon_threads(reactor)
        seen: list[bool] = []

        def work() -> None:
            seen.append(threading.current_thread().daemon)
            reactor.callFromThread(reactor.stop)

        reactor.callWhenRunning(reactor.callInThread, work)
        reactor.run(False)
        assert seen == [True]

    @pytest.mark.parametrize(
        ("text", "is_hidden"),
        [("can't create new thread at interpreter shutdown", True), ("can't start", False)],
    )
    def test_starts_no_worker_at_exit(
        self, reactor: Any, monkeypatch: pytest.MonkeyPatch, text: str, is_hidden: bool
    ) -> None:
        """
        And says nothing of it, for what it was to do is cancelled. Any other failure is one.
        """

        def fail(thread: threading.Thread) -> None:
            raise RuntimeError(text)

        use_daemon_threads(reactor)
        worker = reactor.getThreadPool().threadFactory(target=int, name="late")
        monkeypatch.setattr(threading.Thread, "start", fail)
        with nullcontext() if is_hidden else pytest.raises(RuntimeError, match=text):
            worker.start()
        worker.join()

    def test_need_not_be_there(self) -> None:
        """
        Not every reactor has one.
        """
        use_daemon_threads(object())  # type: ignore[arg-type]
