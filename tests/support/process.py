"""
A process for tests: a whole library of its own on a fake or a real reactor, with every process-wide
effect handed in.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

from twisted.logger import LogEvent, LogLevel

from crochet import _errors
from crochet._core.bridge import Bridge
from crochet._core.result import EventualResult
from crochet._diagnostics.thread_checks import ThreadCheck
from crochet._lifecycle.lifecycle import EventLoop
from crochet._stash.memory import MemoryStash
from crochet._threads.finalizer import FinalizerThread, at_once
from support.reactor import FakeReactor
from support.stepping import BOUND


class FakeThread:
    """
    A thread that does not run until it is told to, and then in the thread that tells it.
    """

    daemon = True

    def __init__(self, target: Callable[[], object], name: str) -> None:
        self._target = target
        self.name = name
        self.ident: int | None = None
        self._has_run = False

    def run(self) -> None:
        self.ident = threading.get_ident()
        try:
            self._target()
        finally:
            self._has_run = True

    def is_alive(self) -> bool:
        return not self._has_run

    def join(self, timeout: float | None = None) -> None:
        """
        Wait in vain: who would run the thread, while this one waits?
        """
        assert self._has_run or timeout is not None, "this would wait for ever"


class FakeThreads:
    """
    Starts threads that do not run until they are told to.
    """

    def __init__(self) -> None:
        self.started: list[FakeThread] = []
        self.error: BaseException | None = None

    def __call__(self, target: Callable[[], object], name: str) -> Any:
        if self.error is not None:
            raise self.error
        thread = FakeThread(target, name)
        self.started.append(thread)
        return thread


class Recorder:
    """
    Notes what is called, in order, and raises what it is told to.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, BaseException] = {}

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.errors:
            raise self.errors[name]


class FakeLogs(Recorder):
    """
    A log bridge that bridges nothing.
    """

    patience: float | None = None  # that finish() was given

    def start(self) -> None:
        self._note("start")

    def stop(self, timeout: float) -> bool:
        self._note("stop")
        return True

    def finish(self, timeout: float) -> bool:
        self.patience = timeout
        self._note("finish")
        return True

    def get_caller(self) -> None:
        return None

    def after_fork_in_child(self) -> None:
        self._note("after_fork_in_child")


class FakeChildren(Recorder):
    """
    A watcher of child processes that watches none.
    """

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def after_fork_in_child(self) -> None:
        self._note("after_fork_in_child")


class FakeWatchdog(Recorder):
    """
    A watch over the reactor that sees nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stall_warning = 0.0
        self.caller: Any = None

    def __call__(
        self, reactor: Any, bridge: Bridge, start_thread: Any, stall_warning: float
    ) -> FakeWatchdog:
        """
        Be the watch of the next life, too.
        """
        self.stall_warning = stall_warning
        return self

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def join(self) -> None:
        self._note("join")

    def after_fork_in_child(self) -> None:
        self._note("after_fork_in_child")

    def get_caller(self) -> Any:
        return self.caller


class AtOnce(FinalizerThread):
    """
    Does what is to be done for a dropped object right where that is dropped.
    """

    put = staticmethod(at_once)  # type: ignore[assignment]

    def begin(self) -> None:
        """
        Start no thread.
        """


# Those that there are.
_processes: WeakSet[FakeProcess] = WeakSet()


def flush_dropped() -> None:
    """
    Have all that was dropped so far do what it does then, log an error, say.
    """
    for process in list(_processes):
        finalizers = process.loop._finalizers
        if finalizers.has_thread:
            assert finalizers.flush(BOUND), "the finalizer thread is stuck"


class FakeProcess:
    """
    What an event loop sees of the process around it, and the loop.

    Its threads are fake, too, unless others are given; ``run_reactor()`` runs the reactor's.
    """

    def __init__(self, reactor: Any = None, start_thread: Any = None) -> None:
        self.reactor = FakeReactor() if reactor is None else reactor
        self.threads = FakeThreads()
        self.logs = FakeLogs()
        self.children = FakeChildren()
        self.wants_debug = False
        self.watchdog = FakeWatchdog()
        self.exit_hooks: list[Callable[[], object]] = []
        self.fork_hooks: dict[str, Callable[[], object]] = {}
        self.bridge = Bridge(_errors.not_set_up, MemoryStash())
        self.loop = EventLoop(
            import_reactor=self.import_reactor,
            start_thread=start_thread or self.threads,
            at_exit=self.exit_hooks.append,
            at_fork=self._at_fork,
            logs=self.logs,
            watch_children=lambda *_: self.children,
            check_threads=self._check_threads,
            watchdog=self.watchdog,
            finalizers=FinalizerThread if start_thread else AtOnce,
            bridge=self.bridge,
            birthplace=os.getpid(),
        )
        _processes.add(self)
        self.run_in_reactor: Any = self.loop.calls.run_in_reactor
        self.wait_for: Any = self.loop.calls.wait_for

    def retrieve_result(self, result_id: int | str) -> EventualResult[Any]:
        """
        Do what :func:`crochet.retrieve_result` does.
        """
        return self.bridge.stash.take(result_id)

    def running(self, timeout: float | None = 10.0, **options: Any) -> AbstractContextManager[None]:
        """
        Do what :func:`crochet.running` does.
        """
        return self.loop.running(partial(self.loop.setup, **options), timeout)

    def _check_threads(self, bridge: Bridge) -> ThreadCheck:
        return ThreadCheck(bridge, lambda: self.wants_debug)

    def import_reactor(self) -> Any:
        return self.reactor

    def _at_fork(self, **hooks: Callable[[], object]) -> None:
        self.fork_hooks = hooks

    def run_reactor(self) -> None:
        """
        Run the thread that was started last, in this one, until it ends.
        """
        reactor_thread: Any = self.loop._reactor_thread
        thread = self.threads.started[-1]
        thread.run()
        if reactor_thread is not None and reactor_thread.thread is threading.current_thread():
            reactor_thread.thread = thread  # this one cannot wait for itself

    def will_run_reactor(self) -> None:
        """
        Run the reactor when somebody waits for its thread.
        """
        thread: Any = self.threads.started[-1]
        thread.join = lambda timeout=None: None if thread.ident else self.run_reactor()

    def exit(self) -> None:
        """
        Do what the interpreter does when the program has ended.
        """
        for hook in reversed(self.exit_hooks):
            hook()
        reactor_thread = self.loop._reactor_thread
        if (
            reactor_thread is not None
            and reactor_thread.has_ended
            and reactor_thread._wakeup is not None
        ):
            reactor_thread._wakeup.close()  # this process goes on

    def fork(self) -> None:
        """
        Do what the interpreter does in a forked child.
        """
        if self.fork_hooks:
            self.fork_hooks["after_in_child"]()

    def stay_parent(self) -> None:
        """
        Do what the interpreter does around a fork, in the parent.
        """
        self.fork_hooks["before"]()
        self.fork_hooks["after_in_parent"]()


def call_for(process: FakeProcess, value: object = None) -> EventualResult[Any]:
    """
    Call a body that returns a value, which may be a Deferred.
    """
    return process.run_in_reactor(lambda: value)()


def failing_call(process: FakeProcess, error: BaseException) -> EventualResult[Any]:
    """
    Call a body that raises an error.
    """

    def body() -> None:
        raise error

    return process.run_in_reactor(body)()


def stepped_process() -> FakeProcess:
    """
    Return a process whose program runs the reactor itself, step by step.

    The test's thread plays both parts. The loop takes it for another than the reactor's, except
    within ``in_reactor_thread()``.
    """
    process = FakeProcess()
    process.loop.no_setup()
    process.reactor.start()
    process.bridge.reactor_thread = -1
    return process


@contextmanager
def in_reactor_thread(bridge: Bridge) -> Iterator[None]:
    """
    Have the bridge take this thread for the reactor's.
    """
    before = bridge.reactor_thread
    bridge.reactor_thread = threading.get_ident()
    try:
        yield
    finally:
        bridge.reactor_thread = before


def open_bridge(reactor: Any) -> Bridge:
    """
    Return a bridge to a reactor, with nothing else around it.
    """
    bridge = Bridge(_errors.not_set_up, MemoryStash())
    bridge.open(reactor.callFromThread)
    return bridge


class LoggedFailures:
    """
    Observes Twisted's log, and keeps the failures and errors logged until a test takes them.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if event.get("isError") or level >= LogLevel.error:
            self.events.append(event)

    def take(self) -> list[BaseException]:
        """
        Return the exceptions logged so far, in order. They, and what was said of them, are
        expected, then.
        """
        flush_dropped()
        taken, self.events = self.events, []
        return [event["log_failure"].value for event in taken if "log_failure" in event]
