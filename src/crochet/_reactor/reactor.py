"""
The Twisted reactor: where it comes from, and what is done to it before and after it runs.

Nothing else in the package imports ``twisted.internet.reactor``: the first import anywhere
installs the default one, which is the program's decision and not that of ``import crochet``.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from functools import partial, wraps
from typing import Any, NoReturn, Protocol, cast

from twisted.internet.interfaces import IReactorThreads
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from .._errors import short
from .._threads.threads import frames_of_threads
from .asyncio_loop import LoopFactory, loop_of, new_loop


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
    def crash(self) -> None: ...
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
        RuntimeError: gevent or eventlet has replaced what threads are made of.
    """
    refuse_green_threads()
    from twisted.internet import reactor

    return cast("Reactor", reactor)


def imported_reactor() -> Reactor | None:
    """
    Return the process's reactor if there is one yet.
    """
    return cast("Reactor | None", sys.modules.get("twisted.internet.reactor"))


# Who puts greenlets in the place of threads: the module in which it does, the function there that
# tells so, the modules asked about, and how a program has it leave them alone.
_GREEN = (
    (
        "gevent",
        "gevent.monkey",
        "is_module_patched",
        ("threading", "select"),
        "gevent.monkey.patch_all(thread=False, select=False)",
    ),
    (
        "eventlet",
        "eventlet.patcher",
        "is_monkey_patched",
        ("thread", "select"),
        "eventlet.monkey_patch(thread=False, select=False)",
    ),
)


def refuse_green_threads() -> None:
    """
    Raise RuntimeError if gevent or eventlet has replaced what threads are made of.
    """
    for name, patcher, is_patched, modules, instead in _GREEN:
        tells = getattr(sys.modules.get(patcher), is_patched, None)
        for module in modules:
            if tells is not None and tells(module):
                raise RuntimeError(
                    f"{name}'s monkey-patching has replaced Python's {module!r} module, and the "
                    "reactor needs a real thread and a real poll. Serve this program with threads "
                    f"or processes instead of {name}: with gunicorn, `-k gthread`. A program that "
                    f"does the patching itself may call {instead}, but then each wait stops all "
                    "its greenlets"
                )


def refuse_beyond_select(reactor: Any) -> None:
    """
    Raise RuntimeError if a reactor waits by ``select()``, which does not take its descriptors.

    On POSIX it takes none whose number is FD_SETSIZE or higher, 1,024 as a rule. Twisted drops such
    a one, and if it is its waker, nothing wakes the reactor any more.
    """
    module = sys.modules.get("twisted.internet.selectreactor")  # there, if there is one of its
    if module is None or not isinstance(reactor, module.SelectReactor):
        return
    for number in [each.fileno() for each in (*reactor.getReaders(), *reactor.getWriters())]:
        with suppress(OSError):  # closed
            try:
                select.select([number], [], [], 0)
            except ValueError as error:
                if number < 0:
                    continue  # likewise
                raise RuntimeError(
                    f"the select reactor's descriptor has the number {number}, and select() takes "
                    "only low ones: this process has opened about as many files. Close some, or "
                    "call setup() before they are opened, or choose another reactor, such as "
                    'setup(reactor="default")'
                ) from error


def make_runnable(reactor: Reactor, loop_factory: LoopFactory | None = None) -> None:
    """
    Revive a reactor that has run before, so that it can run again, or raise and say what to do.

    Twisted starts a reactor only once (ReactorNotRestartable). But to initialize the object again,
    in place, gives it a new poller, waker and thread pool and new lists of triggers and timers,
    and every ``from twisted.internet import reactor`` in the program goes on referring to it.

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
        _initialize(reactor, loop_factory)
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


def _initialize(reactor: Any, loop_factory: LoopFactory | None) -> None:
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
    _close_waker(reactor)
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is not None:
        loop.close()


def release_in_child(reactor: Any) -> None:
    """
    Close them in a forked child, where they are the parent's, too.

    To close them there takes nothing from the parent. To unregister anything would, for the two
    processes share one epoll; so an asyncio loop is not closed but gutted.
    """
    reactor.running = False  # what runs it is in the parent
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is None:
        release(reactor)
        return
    reactor._startedBefore = True
    _close_waker(reactor)
    reactor._asyncioEventloop = None
    if loop.is_closed():
        return
    selector = getattr(loop, "_selector", None)
    if selector is None:
        _not_to_be_closed.append(loop)  # uvloop's: nobody knows how to close half of one
        with suppress(RuntimeError):
            loop.stop()  # for a clone of the reactor thread, see disarm_clone()
        return
    loop._ready.clear()  # for a clone of the reactor thread, see disarm_clone()
    loop.stop()
    selector.close()
    for end in (loop._ssock, loop._csock):
        if end is not None:  # else another thread of the parent was closing the loop
            end.close()
    loop._closed = True


# What programs may have told a reactor before it runs.
_ORDERS = "_eventTriggers", "threadpool", "_pendingTimedCalls", "_newTimedCalls"


def make_own(reactor: Any, loop_factory: LoopFactory | None = None) -> None:
    """
    Give a reactor that does not run a poller and a waker of this process's own, in a forked child.

    It has those that it had when it was imported, perhaps in the parent: two processes that share
    them wake each other, and neither knows. What it has been told to do it keeps, unless it was to
    read or write something; then it is left as it is.
    """
    if reactor.running:
        return
    orders = {}
    if not getattr(reactor, "_startedBefore", True) and not getattr(reactor, "_started", True):
        internal = cast("set[object]", getattr(reactor, "_internalReaders", set[object]()))
        if {*reactor.getReaders(), *reactor.getWriters()} - internal:
            return
        orders = {name: getattr(reactor, name) for name in _ORDERS if hasattr(reactor, name)}
    release_in_child(reactor)
    _initialize(reactor, loop_factory)
    vars(reactor).update(orders)
    if orders and hasattr(reactor, "_reschedule"):
        reactor._reschedule()  # the timers that it keeps are those of another event loop


def release_signals_in_child(reactor: Any) -> None:
    """
    Have this forked child's SIGCHLD no longer wake the parent's reactor, whose pipe it shares.
    """
    handling = cast("object", vars(reactor).pop("_signals", None))
    for part in cast("Iterable[Any]", getattr(handling, "_signalHandlings", ())):
        waker = getattr(part, "_childWaker", None)
        if waker is not None:
            waker.uninstall()
            waker.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]


# Where reactors keep what the loop is yet to do in its present turn.
_WORK = (
    "threadCallQueue",
    "_pendingTimedCalls",
    "_newTimedCalls",
    "_selectables",
    "_reads",
    "_writes",
)


def disarm_clone(reactor: Any) -> None:
    """
    Keep a child that was forked in the reactor thread from going on as the parent's reactor.

    Its only thread is a clone of the reactor's, in the middle of a callback. Should it return from
    that, or raise SystemExit (which Twisted logs and drops), it would read from the parent's
    connections, and wait for their events. So it finds nothing left to do, and ends; see
    ``end_clone()``. This holds also if another thread of the child has revived the reactor.
    """
    for name in _WORK:
        work = cast("set[object]", getattr(reactor, name, set[object]()))
        work.clear()
    clone = threading.get_ident()
    iterate = cast("Callable[[object, float | None], object]", type(reactor).doIteration)

    def do_iteration(delay: float | None) -> None:
        if threading.get_ident() == clone:
            end_clone()
        iterate(reactor, delay)

    reactor.doIteration = do_iteration


def end_clone() -> NoReturn:
    """
    End a forked child whose only thread has come back from where it was forked.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # None, or closed by a program that became a daemon
            stream.flush()
    os._exit(0)


# Event loops inherited from a parent: to collect one would close it.
_not_to_be_closed: list[object] = []


def _close_waker(reactor: Any) -> None:
    if getattr(reactor, "waker", None) is not None:
        reactor.waker.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[no-untyped-call]
        reactor.waker = None


def wind_up(reactor: Any) -> None:
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


def call_from_thread_of(reactor: Any) -> Callable[..., object]:
    """
    Return the reactor's ``callFromThread``, also where something else stands in front of it.
    """
    kind = cast("Any", type(reactor))
    if not hasattr(kind, "callFromThread"):
        return cast("Callable[..., object]", reactor.callFromThread)
    return cast("Callable[..., object]", kind.callFromThread.__get__(reactor))


def route_of(reactor: Any) -> Callable[[Callable[..., object] | None], None] | None:
    """
    Return what puts another function where this reactor's ``callFromThread`` is looked up, or takes
    it away again, given None. Return None where the program has put one of its own there.
    """
    names = cast("dict[str, object]", vars(reactor))
    if "callFromThread" in names:
        return None
    placed: list[Callable[..., object]] = []

    def route(call_from_thread: Callable[..., object] | None) -> None:
        if call_from_thread is not None:
            placed.append(call_from_thread)
            reactor.callFromThread = call_from_thread
        elif placed and names.get("callFromThread") == placed[-1]:  # else it was wrapped meanwhile
            del reactor.callFromThread

    return route


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
        while isinstance(function, partial):
            function = cast("object", function.func)
        if function is not None:
            name = getattr(function, "__qualname__", None) or type(function).__qualname__
            work.append(f"{short(str(name))}()")
    waiting = pool.q.qsize()
    return [*work, f"{waiting} that had not begun"] if waiting else work


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
            # Not in a copy of this one's, which Python 3.14 can be told to make: jobs of any
            # caller run there.
            Context().run(super().start)
        except RuntimeError as error:
            if "interpreter shutdown" not in str(error):
                raise

    def join(self, timeout: float | None = None) -> None:
        if self.ident is not None:  # else it was never started, and there is nobody to wait for
            super().join(timeout)
