"""
The reactor's thread pool: daemons, and more of them while those that it has wait for us.

The pool has ten threads. If a job in each of them waits for a call of ours whose operation needs
the pool itself, to resolve a name or for ``deferToThread()``, then nothing moves any more. So for
each worker that is in a wait of ours the pool gets a thread more, if there is work that no thread
is left for. When there is none, the pool has its former size again.

Why doesn't a worker do this itself when it starts to wait? Each wait would have to find out whether
its thread is a worker, and each of a worker's to have the reactor do something twice, for what
hardly ever happens. Like this it costs nothing, and jobs that get stuck are stuck for 0.1 s.

Bounds: a thread for each worker that waits, those added included, and MOST in all. Where that is
not enough, calls wait until their timeouts.

Threads: look() is the watchdog's; the pool is touched in the reactor thread only, but for its
numbers.
"""

from __future__ import annotations

import threading
from contextvars import Context
from typing import Any, cast

from twisted.internet.interfaces import IReactorThreads

from .._core.bridge import Bridge
from .._core.decorators import name_of_function
from .._threads.threads import frames_of_threads
from .reactor import Reactor

# How many threads are added at most.
MOST = 100


def use_daemon_threads(reactor: Reactor) -> None:
    """
    Keep idle workers of the reactor's thread pool from holding up the interpreter's exit.

    Python waits for non-daemon threads before it calls exit hooks, so the hook that stops the
    reactor, and with it the pool, would never be reached.
    """
    if IReactorThreads.providedBy(reactor):
        cast("Any", reactor).getThreadPool().threadFactory = _PoolThread


class _PoolThread(threading.Thread):
    """
    A worker of the pool, a daemon.

    From 3.12 on CPython starts no thread any more once the program's own have ended. What a body
    has handed to the pool by then is not run, and is cancelled with the rest by the exit hook. An
    error here would be logged, at an exit that went as it should.
    """

    def __init__(self, **arguments: object) -> None:
        super().__init__(daemon=True, **arguments)  # type: ignore[arg-type]

    def start(self) -> None:
        try:
            # Not in a copy of this one's, which Python 3.14 can be told to make: jobs of any
            # caller run there.
            Context().run(super().start)
        except RuntimeError as error:
            if "interpreter shutdown" not in str(error):
                raise

    def join(self, timeout: float | None = None) -> None:
        if self.ident is not None:  # else it was never started, and there is nobody to wait for
            super().join(timeout)


def is_pool_worker(reactor: Any) -> bool:
    """
    Tell whether this thread is one of the reactor's pool, which its end waits for.
    """
    pool = getattr(reactor, "threadpool", None)
    return threading.current_thread() in getattr(pool, "threads", ())


def work_in_pool(reactor: Any) -> list[str]:
    """
    Return what the reactor's pool has to do: the function of each thread that is at work there,
    which was given to ``deferToThread()`` or the like, and how many more wait for one.

    Call it from any thread.
    """
    pool = getattr(reactor, "threadpool", None)
    if pool is None:
        return []
    frames, work = frames_of_threads(), list[str]()
    for thread in list(pool.threads):
        frame, function = frames.get(thread.ident), cast("object", None)
        while frame is not None:
            # This of twisted.python.context calls what the pool is given. The outermost one, for
            # that may come back to it. (Of a function in C there is no frame.)
            if frame.f_code.co_name == "callWithContext":
                function = cast("object", frame.f_locals.get("func"))
            frame = frame.f_back
        if function is not None:
            work.append(f"{name_of_function(function)}()")
    waiting = pool.q.qsize()
    return [*work, f"{waiting} that had not begun"] if waiting else work


class PoolGrowth:
    """
    Adds threads to the pool of one reactor.
    """

    def __init__(self, reactor: Any, bridge: Bridge) -> None:
        self._reactor = reactor
        self._waits = bridge.waits
        # How many were added. Written in the reactor thread, read by any.
        self.added = 0

    @property
    def has_grown(self) -> bool:
        """
        Whether threads are to be removed when no worker waits any more.
        """
        pool = getattr(self._reactor, "threadpool", None)
        return bool(self.added and pool is not None and pool.started)

    def look(self) -> None:
        """
        Add threads to the pool, or remove them. From any thread but the reactor's.
        """
        pool = getattr(self._reactor, "threadpool", None)
        if pool is None or not pool.started:
            return
        work = pool.q.qsize()
        if work and not pool.waiters:
            missing = min(work, self._waiting(pool) - self.added, MOST - self.added)
            if missing > 0:
                self._reactor.callFromThread(self._grow_in_reactor, pool, missing)
        elif self.added and not work and self.added > self._waiting(pool):
            self._reactor.callFromThread(self._shrink_in_reactor, pool)

    def _waiting(self, pool: Any) -> int:
        """
        Count the workers that are in waits of ours.
        """
        waiting = self._waits.by_thread()
        return sum(thread.ident in waiting for thread in list(pool.threads))

    def _grow_in_reactor(self, pool: Any, number: int) -> None:
        # Another look may have asked for the same before this was called.
        if pool is self._reactor.threadpool and pool.started and pool.q.qsize():
            number = min(number, MOST - self.added)
            self.added += number
            pool.adjustPoolsize(maxthreads=pool.max + number)
            for _ in range(number):
                pool.startAWorker()

    def _shrink_in_reactor(self, pool: Any) -> None:
        excess = max(0, self.added - self._waiting(pool))
        self.added -= excess
        if pool.started:
            pool.adjustPoolsize(maxthreads=max(pool.min, pool.max - excess))
            for thread in list(pool.threads):
                # The pool itself forgets none, and joins them all in the end.
                if thread.ident is not None and not thread.is_alive():
                    pool.threads.remove(thread)
