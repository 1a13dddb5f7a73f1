"""
Running the same reactor again: making it ready before it runs, and ending it properly.

Twisted starts a reactor only once (ReactorNotRestartable). But to initialize the object again, in
place, gives it a new poller, waker and thread pool and new lists of triggers and timers, and every
``from twisted.internet import reactor`` in the program goes on referring to it.
"""

from __future__ import annotations

import select
import sys
from asyncio import BaseEventLoop
from collections.abc import Callable
from functools import wraps
from typing import Any

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from .asyncio_loop import LoopFactory, loop_of, new_loop
from .reactor import Reactor


def waits_by_select(reactor: object) -> bool:
    """
    Tell whether a reactor is of the kind that waits by ``select()``.
    """
    module = sys.modules.get("twisted.internet.selectreactor")  # there, if there is one of its
    return module is not None and isinstance(reactor, module.SelectReactor)


def is_beyond_select(number: int) -> bool:
    """
    Tell whether ``select()`` does not take a descriptor.

    On POSIX it takes none whose number is FD_SETSIZE or higher, 1,024 as a rule. Twisted drops such
    a one, and if it is its waker, nothing wakes the reactor any more.
    """
    try:
        select.select([number], [], [], 0)
    except ValueError:
        return number >= 0  # else it is closed
    except OSError:
        pass  # likewise
    return False


def refuse_beyond_select(reactor: Any) -> None:
    """
    Raise RuntimeError if a reactor waits by ``select()``, which does not take its descriptors.
    """
    if not waits_by_select(reactor):
        return
    for number in [each.fileno() for each in (*reactor.getReaders(), *reactor.getWriters())]:
        if is_beyond_select(number):
            raise RuntimeError(
                f"the select reactor's descriptor has the number {number}, and select() takes "
                "only low ones: this process has opened about as many files. Close some, or "
                "call setup() before they are opened, or choose another reactor, such as "
                'setup(reactor="default")'
            )


def make_runnable(reactor: Reactor, loop_factory: LoopFactory | None = None) -> None:
    """
    Revive a reactor that has run before, so that it can run again, or raise and say what to do.

    Args:
        reactor: does not run.
        loop_factory: makes a new event loop for an asyncio reactor, if need be.

    Raises:
        RuntimeError: it runs already, or is of a kind that cannot be revived; or its event loop
            runs, for something else; or it cannot wait for its own descriptors.
        OSError: no descriptor is left.
    """
    if reactor.running:
        raise RuntimeError(
            "this process's reactor is running already, so crochet.setup() cannot run it in a "
            "thread of its own. If the program runs the reactor itself, call crochet.no_setup() "
            "before anything calls setup()"
        )
    if getattr(reactor, "_startedBefore", False):
        release(reactor)
        initialize(reactor, loop_factory)
        try:
            refuse_beyond_select(reactor)
        except RuntimeError:
            release(reactor)
            raise
    refuse_beyond_select(reactor)
    loop = loop_of(reactor)
    if loop is not None and loop.is_running():
        raise RuntimeError(
            "this process's asyncio reactor was installed with an event loop that runs already, "
            "and the reactor thread needs one of its own. Do not install it within a coroutine; "
            'call crochet.setup(reactor="asyncio") instead, at the top of the program'
        )


def initialize(reactor: Any, loop_factory: LoopFactory | None) -> None:
    # Its own choice of an event loop would be the one that runs in this thread, or a new one set
    # as this thread's: either is the program's business.
    arguments = [new_loop(loop_factory)] if hasattr(reactor, "_asyncioEventloop") else []
    # The workers of the last life's pool have ended, or were left behind by a fork.
    reactor.threadpool = None
    try:
        type(reactor).__init__(reactor, *arguments)
    except TypeError as error:
        raise RuntimeError(
            f"this process's reactor, a {type(reactor).__name__}, has run and was stopped, and "
            "cannot be started again. Keep it running: do not call reactor.stop() or shutdown()"
        ) from error
    except BaseException:
        reactor._startedBefore = True  # half of it is done, and the next attempt begins anew
        raise


def release(reactor: Any) -> None:
    """
    Close a reactor's own descriptors, once it has run. Closed already, they stay so.
    """
    reactor._startedBefore = True  # to be revived before it runs again
    close_waker(reactor)
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is not None:
        try:
            loop.close()
        except (AttributeError, ValueError):
            # A signal has interrupted that once, and what it had closed it cannot close again. The
            # rest is closed with the loop itself, when that is collected.
            BaseEventLoop.close(loop)


def close_waker(reactor: Any) -> None:
    if getattr(reactor, "waker", None) is not None:
        reactor.waker.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]
        reactor.waker = None


def finish_crash(reactor: Any) -> None:
    """
    Do, in its thread, what a reactor leaves undone that was not stopped but has crashed.

    Its connections are closed and its thread pool is ended. Blocks until the pool's workers are
    done with what they do. After a proper stop there is nothing left to do.
    """
    if reactor.running or getattr(reactor, "_stopped", True):
        return
    reactor.disconnectAll()
    pool = getattr(reactor, "threadpool", None)
    if pool is not None:
        pool.stop()
        reactor.threadpool = None
    reactor._startedBefore = True  # to be revived before it runs again


def watch_runs(reactor: Any, on_run: Callable[[], object], on_end: Callable[[], object]) -> None:
    """
    Notice the end of a reactor that the program runs, where no trigger is fired.

    That is ``crash()``, and whatever is raised through ``run()``. Both are looked up in the reactor
    object, so that they can be wrapped there; to look at the thread now and then would wake up a
    process at rest.

    Args:
        reactor: has not been watched yet.
        on_run: called when the program is about to run it.
        on_end: called in the reactor thread when it has ended; perhaps twice.
    """
    run, crash = reactor.run, reactor.crash

    @wraps(run)
    def watched_run(*args: object, **kwargs: object) -> None:
        if reactor.running:
            run(*args, **kwargs)  # which refuses
            return
        on_run()
        try:
            run(*args, **kwargs)
        finally:
            on_end()

    @wraps(crash)
    def watched_crash() -> None:
        try:
            crash()
        finally:
            on_end()

    reactor.run, reactor.crash = watched_run, watched_crash
