"""
The Twisted reactor: where it comes from, and what is done to it before Crochet runs it.

Nothing else in the package imports ``twisted.internet.reactor``: the first import anywhere
installs the default one, which is the program's decision and not that of ``import crochet``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.interfaces import IReactorThreads


class Timer(Protocol):
    """
    What ``callLater()`` returns.
    """

    def active(self) -> bool: ...
    def cancel(self) -> None: ...


class Reactor(Protocol):
    """
    As much of Twisted's reactor as Crochet uses. Its names are Twisted's.
    """

    running: bool

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Timer: ...
    def run(self, installSignalHandlers: bool = True) -> None: ...
    def stop(self) -> None: ...
    def callFromThread(self, callable: Callable[..., object], *args: object) -> None: ...
    def callWhenRunning(self, callable: Callable[..., object], *args: object) -> object: ...
    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., object], *args: object
    ) -> object: ...
    def removeSystemEventTrigger(self, triggerID: object) -> None: ...


class Pool(Protocol):
    """
    The reactor's thread pool, in which ``deferToThread()`` runs things.
    """

    threadFactory: Callable[..., threading.Thread]


class ThreadedReactor(Protocol):
    """
    A reactor that has such a pool.
    """

    def getThreadPool(self) -> Pool: ...


def import_reactor() -> Reactor:
    """
    Return the process's reactor, installing the default one if the program has installed none.

    Raises:
        RuntimeError: gevent has replaced what threads are made of.
    """
    _refuse_gevent()
    from twisted.internet import reactor

    return cast("Reactor", reactor)


def _refuse_gevent() -> None:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return
    for module in ("threading", "select"):
        if monkey.is_module_patched(module):
            raise RuntimeError(
                f"gevent's monkey-patching has replaced Python's {module!r} module, and the "
                "reactor needs a real thread and a real poll. Call "
                "gevent.monkey.patch_all(thread=False, select=False), or serve this program with "
                "threads or processes instead of gevent"
            )


def refuse_to_run(reactor: Reactor) -> None:
    """
    Raise, with what to do, if the reactor cannot be run by Crochet.

    Raises:
        RuntimeError: it runs already, or did and cannot be started again.
    """
    if reactor.running:
        raise RuntimeError(
            "this process's reactor is running already, so crochet.setup() cannot run it in a "
            "thread of its own. If the program runs the reactor itself, call crochet.no_setup() "
            "before anything calls setup()"
        )
    if getattr(reactor, "_startedBefore", False):
        raise RuntimeError(
            "this process's reactor has run and was stopped, and Twisted cannot start it again. "
            "Let crochet.setup() run it from the beginning, and do not call reactor.stop()"
        )


def use_daemon_threads(reactor: Reactor) -> None:
    """
    Keep idle workers of the reactor's thread pool from holding up the interpreter's exit.

    Python waits for non-daemon threads before it calls exit hooks, so the hook that stops the
    reactor, and with it the pool, would never be reached.
    """
    if IReactorThreads.providedBy(reactor):
        pool = cast("ThreadedReactor", reactor).getThreadPool()
        pool.threadFactory = _Worker


class _Worker(threading.Thread):
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
            super().start()
        except RuntimeError as error:
            if "interpreter shutdown" not in str(error):
                raise

    def join(self, timeout: float | None = None) -> None:
        if self.ident is not None:  # else it was never started, and there is nobody to wait for
            super().join(timeout)
