"""
What ``import crochet`` brings: the way in, by which the rest is loaded when somebody enters.

Most modules that import Crochet only decorate functions, and many a process that does so never
calls one. So the import loads what decorating and refusing a call take, and setup() or no_setup()
load all the rest, before they start anything. What must always hold: after that nothing of ours
is imported any more by what may run then: calls, waits and the ends of both, signal handlers, the
reactor thread, exit, a forked child. For there an import

1. may wait for ever: for the lock of a module that another thread is importing, which waits for
   this one, as where a module calls setup() and a decorated function while it is imported;
2. needs a file descriptor, and the process may have none left;
3. fails while the interpreter shuts down.

What stands in functions as ``from ._room import name`` is found loaded, then, and takes no lock.
Names that are no part of that are loaded where a program first looks them up.

Threads: any may enter, and several at once. Each loads and makes an event loop, which has no effect
by itself. There is no lock, as a fork could copy it locked:

1. A thread that has made one appends it to ``_loops``, then takes the first in that list.

Verdict: all take the same one, and the others are dropped. But Python has locks, one for each
module that is being imported, and a child forked meanwhile would wait for one for ever. So a fork
waits, for a second at most, until no other thread is loading, or is at what it loads that for. A
signal handler or a garbage collection in the middle of it finds modules half loaded. So it is told
that setup() is under way, as in the middle of setup() itself.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar, cast

from . import _errors
from ._core.bridge import Bridge
from ._core.decorators import Decorators
from ._core.stash import Stash
from ._threads.clock import monotonic
from ._threads.fork_mark import at_fork
from ._threads.timeouts import EXIT_PATIENCE, MAX_QUEUED, STALL_WARNING, Seconds, seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType

    from ._diagnostics.status import Status
    from ._lifecycle.lifecycle import EventLoop
    from ._reactor.asyncio_loop import LoopFactory
    from ._reactor.choice import ReactorChoice


T = TypeVar("T")

# Seconds. It is done in a tenth of one, but on a slow disk.
_LOADING_TAKES = 1.0


class Entrance:
    """
    The process's bridge, the decorators for it, and the functions that have its reactor run.

    Args:
        package: the name of the package.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        stash = Stash()
        self.retrieve_result = stash.take
        self.bridge = Bridge(_errors.not_set_up, stash)
        self.calls = Decorators(self.bridge)
        # What ``crochet._main`` is. MAAS sets this to None, for setup() to leave logs alone.
        self.main = SimpleNamespace(_startLoggingWithObserver=True)
        self._birthplace = os.getpid()
        # The first is the process's; see the head of this file.
        self._loops: list[EventLoop] = []
        # The idents of the threads that are loading; None before the first.
        self._loaders: list[int] | None = None

    def setup(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> None:
        """
        Start the reactor in a thread of its own, unless it runs.

        Call it from any thread, as often as you like: while the reactor runs, or after
        :func:`no_setup`, it does nothing, at the cost of a look. Once the reactor has ended, by
        :func:`shutdown` or otherwise, it starts it again. Blocks while another thread is at it.

        Args:
            logging: hand Twisted's log events to the logger named ``twisted``, and have a
                thread of ours write them. False leaves logs alone.
            stall_warning: seconds that the reactor thread may be busy with one thing, while calls
                wait, before that is logged; ``None`` and infinity for never. Where it is given, it
                holds from now on, even if the reactor runs already, and also after ``no_setup()``.
            exit_patience: seconds that the interpreter's exit may wait for the reactor to stop, for
                work that was given to ``deferToThread()``, for callbacks of futures and for logs to
                be written, all together; ``None`` and infinity for as long as they take. What is
                not done by then is cut off, and said on stderr. Where it is given, likewise.
            max_queued: how many calls may wait for the reactor thread. A call beyond that is
                refused at once, with ReactorBusy; ``None`` and infinity for any number. Where it is
                given, likewise.
            reactor: which one it is to be: ``"asyncio"``, ``"epoll"``, ``"poll"``, ``"select"``,
                ``"default"`` or the one that is installed. None is for any.
            loop_factory: makes the event loop of the asyncio reactor, such as
                ``uvloop.new_event_loop``. None is for asyncio's own.

        Raises:
            RuntimeError: the reactor runs already, or cannot be run here; it is not the one asked
                for, or that is not available; or no thread can be started. Nothing was changed,
                and setup() may be called again.
            OSError: no file descriptor is left for the reactor. Likewise.
            TypeError: *stall_warning*, *exit_patience* or *max_queued* is no number, *reactor* is
                no reactor, or *loop_factory* makes no event loops.
            ValueError: *stall_warning* is not above zero, *exit_patience* is below, or *max_queued*
                below one; there is no reactor of that name, or it runs on no event loop.
        """

        def set_up(loop: EventLoop | None) -> None:
            if loop is not None:  # else this has interrupted another that is at it
                loop.setup(
                    logging=self._hands_on_logs(logging),
                    stall_warning=stall_warning,
                    exit_patience=exit_patience,
                    max_queued=max_queued,
                    reactor=reactor,
                    loop_factory=loop_factory,
                )

        self._enter(set_up)

    def no_setup(self) -> None:
        """
        Leave the reactor to the program, which runs it itself; later :func:`setup` calls do
        nothing.

        Call it from any thread, before anything calls ``setup()``. Blocks never. Installs the
        default reactor unless another is installed. In a process that was forked while the
        reactor ran, call it again, and then run the reactor there.

        Raises:
            RuntimeError: ``setup()`` has started the reactor already.
        """
        self._enter(lambda loop: _entered(loop, "no_setup").no_setup())

    def shutdown(self, timeout: Seconds = 10.0) -> None:
        """
        Stop the reactor and give back everything that :func:`setup` took.

        New calls are refused, pending operations are cancelled and have *timeout* seconds to clean
        up, every waiter gets ReactorStopped, what was logged is written, and our threads have
        ended when this returns. ``setup()`` may be called again, any number of times. Without a
        running reactor of ours there is nothing to do.

        Call it from any thread but the reactor's. Blocks up to *timeout* seconds.

        Args:
            timeout: seconds, ``None`` and infinity stand for no limit.

        Raises:
            TimeoutError: the reactor thread, or a log handler, was not done in time. No calls are
                accepted any more; call shutdown() again to go on waiting.
            DeadlockError: this is the reactor thread.
            RuntimeError: the program runs the reactor itself, after :func:`no_setup`; or a signal
                handler called this in the middle of ``setup()``.
        """
        if self._loops or _is_loading(sys._getframe()):
            self.event_loop("shutdown").shutdown(timeout)
        else:
            seconds(timeout)

    def running(
        self,
        *,
        logging: bool = True,
        stall_warning: Seconds = STALL_WARNING,
        exit_patience: Seconds = EXIT_PATIENCE,
        max_queued: float | None = MAX_QUEUED,
        timeout: Seconds = 10.0,
        reactor: ReactorChoice | None = None,
        loop_factory: LoopFactory | None = None,
    ) -> AbstractContextManager[None]:
        """
        Have the reactor run for the length of a ``with`` block, for scripts and tests.

        The same as :func:`setup` before the block and :func:`shutdown` after it.

        Call it from any thread but the reactor's. Blocks up to *timeout* seconds at the end.

        Args:
            logging: as for ``setup()``.
            stall_warning: likewise.
            exit_patience: likewise.
            max_queued: likewise.
            timeout: as for ``shutdown()``.
            reactor: as for ``setup()``.
            loop_factory: as for ``setup()``.

        Raises:
            Exception: what ``setup()`` and ``shutdown()`` raise.
        """
        return self.event_loop("running").running(
            logging=self._hands_on_logs(logging),
            stall_warning=stall_warning,
            exit_patience=exit_patience,
            max_queued=max_queued,
            timeout=timeout,
            reactor=reactor,
            loop_factory=loop_factory,
        )

    def _hands_on_logs(self, logging: bool) -> bool:
        return logging and self.main._startLoggingWithObserver is not None

    def status(self) -> Status:
        """
        Tell what the bridge to the reactor thread does now: its state, and every call in flight.

        ``print(crochet.status())`` shows it. It takes less than a millisecond with a thousand calls
        in flight.

        Call it from any thread, the reactor's included, and from a signal handler. Blocks never.

        Raises:
            RuntimeError: a signal handler called this in the middle of the first ``setup()``.
        """
        if self._loops or _is_loading(sys._getframe()):
            return self.event_loop("status").status()
        from ._diagnostics.status import snapshot

        return snapshot(self.bridge, None)

    def event_loop(self, asked_by: str = "setup") -> EventLoop:
        """
        Return the process's event loop.

        Raises:
            RuntimeError: this has interrupted setup(), in the same thread.
        """
        return self._enter(lambda loop: _entered(loop, asked_by))

    def _enter(self, then: Callable[[EventLoop | None], T]) -> T:
        """
        Have *then* called with the event loop, while forks wait if it has still to be loaded.

        Then setup() is likely to import Twisted's reactor, and forks are to wait for that, too.
        """
        if self._loops:
            return then(self._loops[0])
        if self._loaders is None:
            self._loaders = []
            at_fork(
                before=self._wait_for_loaders,
                after_in_parent=_nothing,
                after_in_child=self._loaders.clear,
            )
        loaders, ident = self._loaders, get_ident()
        try:
            loaders.append(ident)
            return then(self._load())
        finally:
            if ident in loaders:
                loaders.remove(ident)

    def _load(self) -> EventLoop | None:
        """
        Load all that a reactor of ours, its calls and its end need, and make the event loop.

        The one place for that; why, says the head of this file.
        """
        if _is_loading(sys._getframe(1)):
            return None
        import atexit
        from importlib import import_module

        import_module("secrets")  # for the stash
        for name in ("reactor_only", "register", "run_in_caller"):
            self._looked_up(name, {})
        from ._diagnostics.thread_checks import ThreadCheck
        from ._diagnostics.watchdog import Watch
        from ._lifecycle.lifecycle import EventLoop
        from ._logs.observer import LogBridge
        from ._reactor.children import ChildWatcher
        from ._reactor.reactor import import_reactor
        from ._threads.threads import start_thread

        self._loops.append(
            EventLoop(
                import_reactor=import_reactor,
                start_thread=start_thread,
                at_exit=atexit.register,
                at_fork=at_fork,
                logs=LogBridge(start_thread=start_thread),
                watch_children=lambda reactor: ChildWatcher(reactor, start_thread),
                check_threads=ThreadCheck,
                watch=Watch,
                bridge=self.bridge,
                birthplace=self._birthplace,
            )
        )
        return self._loops[0]

    def _wait_for_loaders(self) -> None:
        # Until nobody but this thread is at it.
        end = monotonic() + _LOADING_TAKES
        while {*(self._loaders or ())} - {get_ident()} and monotonic() < end:
            time.sleep(0.001)

    def look_up(self, name: str, names: dict[str, object]) -> object:
        """
        Return what a name of the package stands for that is not there yet, and enter it.

        Args:
            name: the name.
            names: those of the package.

        Raises:
            AttributeError: there is no such name.
        """
        return names.setdefault(name, self._looked_up(name, names))

    def _looked_up(self, name: str, names: dict[str, object]) -> object:
        if name in ("CallInFlight", "Lag", "Status"):
            from ._diagnostics import status as _status

            return getattr(_status, name)
        if name == "reactor_only":
            from ._diagnostics.guards import Guards

            return Guards(self.bridge).reactor_only
        if name == "run_in_caller":
            from ._core.run_in_caller import Callers

            return Callers(self.bridge).run_in_caller
        if name == "register":
            from ._lifecycle.register import register

            return register
        if name in ("EventLoop", "_eventloop"):
            from ._eventloop import EventLoop  # which enters the module, too

            return EventLoop if name == "EventLoop" else names[name]
        if name == "DeferredResult":
            from ._legacy import deferred_result

            return deferred_result(3)
        if name in ("in_reactor", "wait_for_reactor"):
            from ._legacy import Legacy

            return getattr(Legacy(self.calls), name)
        if name == "_event_loop":
            return self.event_loop()
        if name in ("_extension", "load_ipython_extension", "unload_ipython_extension"):
            from ._interactive.ipython import Extension

            extension = Extension(self.event_loop(), self._package, "_extension")
            extension = cast("Extension", names.setdefault("_extension", extension))
            bound = {"load_ipython_extension": extension.load}
            bound["unload_ipython_extension"] = extension.unload
            return bound.get(name, extension)
        raise AttributeError(f"module {self._package!r} has no attribute {name!r}")


def _nothing() -> None:
    """
    Have nothing to do after a fork.
    """


def _entered(loop: EventLoop | None, asked_by: str) -> EventLoop:
    if loop is None:
        raise _errors.interrupted(asked_by, "setup")
    return loop


def _is_loading(frame: FrameType | None) -> bool:
    """
    Tell whether what is on the stack has interrupted a thread while it loads.

    To note that somewhere would be simpler, but for a signal that comes before it can be undone.
    """
    while frame is not None:
        if frame.f_code is Entrance._load.__code__:
            return True
        frame = frame.f_back
    return False
