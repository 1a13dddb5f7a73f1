"""
Threads lent to the reactor's pool, while those that it has wait for us.

The pool has ten threads. If a job in each of them waits for a call of ours whose operation needs
the pool itself, to resolve a name or for ``deferToThread()``, then nothing moves any more. So each
worker that is in a wait of ours lends the pool a thread, if there is work that no thread is left
for. It is given back when there is none, and the pool has its former size again.

Why does not the worker itself do that, when it comes to wait? Each wait would have to find out
whether its thread is a worker, and each of a worker's to have the reactor do something twice, for
what hardly ever happens. Like this it costs nothing, and jobs that get stuck are stuck for 0.1 s.

Bounds: a thread for each worker that waits, those lent included, and MOST in all. Where that is not
enough, calls wait until their timeouts.

Threads: look() is the watch's; the pool is touched in the reactor thread only, but for its numbers.
"""

from __future__ import annotations

from typing import Any

from .._core.bridge import Bridge

# How many threads are lent at most.
MOST = 100


class Lender:
    """
    Lends threads to the pool of one reactor.
    """

    def __init__(self, reactor: Any, bridge: Bridge) -> None:
        self._reactor = reactor
        self._waits = bridge.waits
        # How many are lent. Written in the reactor thread, read by any.
        self.lent = 0

    @property
    def is_owed(self) -> bool:
        """
        Whether threads are to be taken back, if nobody waits any more.
        """
        pool = getattr(self._reactor, "threadpool", None)
        return bool(self.lent and pool is not None and pool.started)

    def look(self) -> None:
        """
        Lend threads to the pool, or take them back. From any thread but the reactor's.
        """
        pool = getattr(self._reactor, "threadpool", None)
        if pool is None or not pool.started:
            return
        work = pool.q.qsize()
        if work and not pool.waiters:
            missing = min(work, self._waiting(pool) - self.lent, MOST - self.lent)
            if missing > 0:
                self._reactor.callFromThread(self._lend_in_reactor, pool, missing)
        elif self.lent and not work and self.lent > self._waiting(pool):
            self._reactor.callFromThread(self._take_back_in_reactor, pool)

    def _waiting(self, pool: Any) -> int:
        """
        Count the workers that are in waits of ours.
        """
        return sum(thread.ident in self._waits for thread in list(pool.threads))

    def _lend_in_reactor(self, pool: Any, number: int) -> None:
        # It may have been told twice before it came to it.
        if pool is self._reactor.threadpool and pool.started and pool.q.qsize():
            number = min(number, MOST - self.lent)
            self.lent += number
            pool.adjustPoolsize(maxthreads=pool.max + number)
            for _ in range(number):
                pool.startAWorker()

    def _take_back_in_reactor(self, pool: Any) -> None:
        excess = max(0, self.lent - self._waiting(pool))
        self.lent -= excess
        if pool.started:
            pool.adjustPoolsize(maxthreads=max(pool.min, pool.max - excess))
            for thread in list(pool.threads):
                # The pool itself forgets none, and joins them all in the end.
                if thread.ident is not None and not thread.is_alive():
                    pool.threads.remove(thread)
