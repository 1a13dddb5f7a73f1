"""
What the tests hand in where the library would touch the process around it.

Fakes do what the real thing does as far as the library can tell, and test_fakes.py holds them to
it: there, one contract runs on each fake and on what it stands for. What is slow or left to chance
in the real thing is stepped here: time is virtual, and a lock that would block has the test do
what another thread would have done meanwhile.

Every wait has a bound, BOUND seconds, far beyond what anything here takes; its expiry is a failure.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dis import opmap
from queue import Empty, SimpleQueue
from types import CodeType, FrameType
from typing import Any, Generic, NamedTuple, TypeVar

import pytest
from twisted.internet.base import ReactorBase
from twisted.logger import LogEvent, LogLevel

import crochet
from crochet import (
    _bridge,
    _calls,
    _choice,
    _deadline,
    _errors,
    _patience,
    _relay,
    _result,
    _timeouts,
)
from crochet._bridge import Bridge
from crochet._debug import ThreadCheck
from crochet._loop import EventLoop
from crochet._reactors import release
from crochet._result import EventualResult
from crochet._stash import Stash

T = TypeVar("T")

BOUND = 30.0

SOURCE = os.path.join(os.path.dirname(crochet.__file__), "")


class FakeReactor(ReactorBase):
    """
    Twisted's reactor without anything to poll, and with virtual time.

    Run it like any other, in a thread or, if it has been told to stop, in the test's own. When it
    has nothing to do but to wait for a timer, time jumps there. Or step it: ``start()``, then
    ``turn()`` and ``advance()``.
    """

    _registerAsIOThread = False  # a fact about the process, and this is not its reactor
    _addInternalReader = None  # for it reads no descriptors

    def __init__(self) -> None:
        self._now = 0.0
        self._wakings: SimpleQueue[None] = SimpleQueue()
        super().__init__()

    def seconds(self) -> float:
        return self._now

    def mainLoop(self) -> None:
        """
        Loop by a method of its own: so there is no bell, and all that comes from other threads is
        to be seen in ``threadCallQueue``.
        """
        super().mainLoop()

    def installWaker(self) -> None:
        """
        Need none: waking is putting something into a queue.
        """

    def wakeUp(self) -> None:
        self._wakings.put(None)

    def doIteration(self, delay: float | None) -> None:
        if self._wakings.empty() and delay:
            self._now += delay
        elif delay is None:
            self._wait_to_be_woken()
        while not self._wakings.empty():
            self._wakings.get()

    def _wait_to_be_woken(self) -> None:
        try:
            self._wakings.get(timeout=BOUND)
        except Empty:  # the reactor logs what is raised here, so say it and stop
            self.crash()
            raise AssertionError("nothing has woken this reactor, nor told it to stop") from None

    def removeAll(self) -> list[Any]:
        return []

    def start(self) -> None:
        """
        Begin to run, step by step.
        """
        self.startRunning(installSignalHandlers=False)

    def turn(self) -> None:
        """
        Do what is due.
        """
        self.runUntilCurrent()

    def advance(self, seconds: float) -> None:
        """
        Let time pass, and do what is due then.
        """
        self._now += seconds
        self.turn()

    def number_of_wakings(self) -> int:
        """
        Count the wake-ups that are on their way.
        """
        return self._wakings.qsize()


class FakeClock:
    """
    A monotonic clock that fake locks move. Begins at zero.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Have everything that waits for an answer look at this clock.
        """
        for module in (_bridge, _calls, _patience, _result, _timeouts):
            monkeypatch.setattr(module, "LONGEST", threading.TIMEOUT_MAX)  # each wait is one
        for module in (_calls, _deadline, _patience, _relay, _result, _timeouts):
            monkeypatch.setattr(module, "monotonic", self)


class FakeLock:
    """
    A raw lock. Where a real one would block, *meanwhile* is called once, and time is over.

    Args:
        meanwhile: what another thread does while this one waits, given the seconds it waits.
        clock: is moved by those, unless the lock was released.
    """

    def __init__(
        self,
        meanwhile: Callable[[float], object] = lambda timeout: None,
        clock: FakeClock | None = None,
    ) -> None:
        self._meanwhile = meanwhile
        self._clock = clock
        self._lock = allocate_lock()
        # A real lock's, for what they raise comes out of no Python function.
        self.release = self._lock.release
        self.locked = self._lock.locked
        self.waits: list[float] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.locked() and blocking:
            assert len(self.waits) < 100, "this waits over and over, for nothing"
            self.waits.append(timeout)
            self._meanwhile(timeout)
            if self.locked() and self._clock is not None:
                self._clock.now += timeout
        return self._lock.acquire(False)


class SteppedDict(dict):  # type: ignore[type-arg]
    """
    A dict that calls a hook right before or right after one of its operations, once.
    """

    before_set: Callable[[], object] | None = None
    after_set: Callable[[], object] | None = None

    def __setitem__(self, key: object, value: object) -> None:
        _step(self, "before_set")
        super().__setitem__(key, value)
        _step(self, "after_set")


# Nothing comes at one of those, and those before a `try` are not in it. The second marks a branch,
# from Python 3.14 on.
_IDLE = {opmap.get(name) for name in ("NOP", "NOT_TAKEN")}
# Begins the handling of an exception: the function of C before it has raised that.
_HANDLES = opmap.get("PUSH_EXC_INFO")

# Where Python looks for signals: where a function begins, a loop goes on, and after a function of
# C; up to 3.10 not before what begins a `try`.
_LOOKS = {
    opmap.get(name) for name in ("RESUME", "JUMP_BACKWARD", "JUMP_BACKWARD_QUICK", "JUMP_ABSOLUTE")
}
_IS_OLD = sys.version_info < (3, 11)
_BEGINS_TRY = {opmap.get(name) for name in ("SETUP_FINALLY", "SETUP_WITH")} - {None}
_CALLS = {number for name, number in opmap.items() if name.startswith("CALL")}


class Steps:
    """
    Does something in the middle of something else, right before one of the bytecodes of the
    package's, or of one of its files, that this consists of, counted from 0.
    """

    def __init__(
        self,
        at: int,
        meanwhile: Callable[[], object],
        source: str = SOURCE,
        *,
        is_signal: bool = False,
    ) -> None:
        self._left = at
        self._meanwhile = meanwhile
        self._source = source
        # Only where a signal's handler is run: anywhere else an exception may find the interpreter
        # in the middle of handling another.
        self._is_signal = is_signal
        self._last: int | None = None
        self.is_over = False

    def run(self, stepped: Callable[[], object]) -> None:
        """
        Do both.
        """
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one before it traces them
        sys.settrace(self._trace)
        try:
            stepped()
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._source) or self.is_over:
            return None
        frame.f_trace_opcodes = True
        if event != "opcode":
            return self._trace
        code = frame.f_code.co_code[frame.f_lasti]
        last, self._last = self._last, code
        if code == _HANDLES:
            return self._trace
        is_look = code in _LOOKS or last in _CALLS or (_IS_OLD and frame.f_lasti == 0)
        if code not in _IDLE and (not self._is_signal or (is_look and code not in _BEGINS_TRY)):
            self._left -= 1
            if self._left < 0:
                self.is_over = True
                self._meanwhile()
                return None
        return self._trace


def without_lines(source: str, file: str) -> CodeType:
    """
    Return code none of which is at a line, as any may be for a moment.
    """
    code = compile(source, file, "exec")
    # An entry of its table for 8 instructions, or in Python 3.10 for 254 bytes, that says so.
    entry, size = (b"\xff", 16) if sys.version_info >= (3, 11) else (b"\xfe\x80", 254)
    return code.replace(co_linetable=entry * (len(code.co_code) // size + 1))


def frame_without_line(file: str) -> FrameType:
    """
    Return a frame that is at no line.
    """
    frames: list[FrameType] = []
    exec(without_lines("frames.append(sys._getframe())", file), {"frames": frames, "sys": sys})
    return frames[0]


class SteppedDeque(deque):  # type: ignore[type-arg]
    """
    A deque that calls a hook right before or right after one of its operations, once.
    """

    before_append: Callable[[], object] | None = None
    after_append: Callable[[], object] | None = None
    before_len: Callable[[], object] | None = None

    def append(self, item: object) -> None:
        _step(self, "before_append")
        super().append(item)
        _step(self, "after_append")

    def __len__(self) -> int:
        _step(self, "before_len")
        return super().__len__()


class SteppedSet(set):  # type: ignore[type-arg]
    """
    A set that calls a hook right before or right after one of its operations, once.
    """

    before_add: Callable[[], object] | None = None
    after_add: Callable[[], object] | None = None
    after_copy: Callable[[], object] | None = None

    def add(self, item: object) -> None:
        _step(self, "before_add")
        super().add(item)
        _step(self, "after_add")

    def copy(self) -> Any:
        copied = set(self)
        _step(self, "after_copy")
        return copied


def _step(owner: object, name: str) -> None:
    hook = getattr(owner, name)
    setattr(owner, name, None)
    if hook is not None:
        hook()


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

    def reset_after_fork(self) -> None:
        self._note("reset_after_fork")


class FakeChildren(Recorder):
    """
    A watcher of child processes that watches none.
    """

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def forget_after_fork(self) -> None:
        self._note("forget_after_fork")


class FakeWatch(Recorder):
    """
    A watch over the reactor that sees nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stall_warning = 0.0
        self.caller: Any = None

    def __call__(
        self, reactor: Any, bridge: Bridge, start_thread: Any, stall_warning: float
    ) -> FakeWatch:
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

    def forget_after_fork(self) -> None:
        self._note("forget_after_fork")

    def get_caller(self) -> Any:
        return self.caller


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
        self.watch = FakeWatch()
        self.exit_hooks: list[Callable[[], object]] = []
        self.fork_hooks: dict[str, Callable[[], object]] = {}
        stash = Stash()
        self.retrieve_result = stash.take
        self.bridge = Bridge(_errors.not_set_up, stash)
        self.loop = EventLoop(
            import_reactor=self.import_reactor,
            start_thread=start_thread or self.threads,
            at_exit=self.exit_hooks.append,
            at_fork=self._at_fork,
            logs=self.logs,
            watch_children=lambda reactor: self.children,
            check_threads=self._check_threads,
            watch=self.watch,
            bridge=self.bridge,
            birthplace=os.getpid(),
        )
        self.run_in_reactor: Any = self.loop.calls.run_in_reactor
        self.wait_for: Any = self.loop.calls.wait_for

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
        life: Any = self.loop._life
        thread = self.threads.started[-1]
        thread.run()
        if life is not None and life.thread is threading.current_thread():
            life.thread = thread  # this one cannot wait for itself

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
        life = self.loop._life
        if life is not None and life.has_ended and life._bell is not None:
            life._bell.close()  # this process goes on

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
    bridge = Bridge(_errors.not_set_up, Stash())
    bridge.open(reactor.callFromThread)
    return bridge


def new_real_reactor(name: str | None = None) -> Any:
    """
    Return a reactor of Twisted's that is not the process's; ``close_reactor()`` it.

    Args:
        name: of ``setup()``'s; else it is the one that all tests are run with, see conftest.py.
    """
    name = name or os.environ.get("CROCHET_TEST_REACTOR") or "default"
    kind = _choice._class_of(name)
    reactor = kind(asyncio.new_event_loop()) if name == "asyncio" else kind()
    # That is a fact about the process, and this is not its reactor.
    reactor._registerAsIOThread = False
    return reactor


def close_reactor(reactor: Any) -> None:
    """
    Close what a reactor that has ended keeps open.
    """
    if isinstance(reactor, FakeReactor):
        return
    if reactor.threadpool is not None and reactor.threadpool.started:
        reactor.threadpool.stop()
    release(reactor)


def wait_until(claim: Callable[[], bool], what: str) -> None:
    """
    Look again and again, with BOUND as the limit: for what tells nobody when it is ready.
    """
    deadline = time.monotonic() + BOUND
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Background(Generic[T]):
    """
    A function that runs in a thread of its own, from now on.
    """

    def __init__(self, function: Callable[..., T], *args: object) -> None:
        self._function = function
        self._args = args
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True, name="test's background")
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as error:
            self._error = error

    def outcome(self) -> T:
        """
        Return what the function returned or raise what it raised, once it has. Blocks up to BOUND.
        """
        self.thread.join(BOUND)
        assert not self.thread.is_alive(), "this has not ended"
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        value: T = self._value
        return value


def together(number: int, function: Callable[[int], T]) -> list[T]:
    """
    Call a function in as many threads as told, which begin at the same moment, and return what
    the calls returned. Blocks up to BOUND.
    """
    barrier = threading.Barrier(number)

    def begin(index: int) -> T:
        barrier.wait(BOUND)
        return function(index)

    return [each.outcome() for each in [Background(begin, index) for index in range(number)]]


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
        taken, self.events = self.events, []
        return [event["log_failure"].value for event in taken if "log_failure" in event]


class Finished(NamedTuple):
    """
    How a program ended, and what it has written.
    """

    status: int
    stdout: str
    stderr: str


def run_python(
    code: str, *args: str, status: int = 0, flags: tuple[str, ...] = ("-W", "error")
) -> Finished:
    """
    Run a program in a new process; fail, with its output, if it ends otherwise than expected.

    The program finds BOUND in ``sys.argv[1]`` and *args* behind it. One that has not ended in twice
    that time shows what all of its threads do.

    Args:
        code: the program, indented as one likes.
        args: for the program.
        status: how it is to end; a negative one is a signal's.
        flags: of the interpreter's.
    """
    command = [sys.executable, "-X", "faulthandler", *flags, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(
        [*command, str(BOUND), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        stdout, stderr = process.communicate(timeout=2 * BOUND)
        has_ended = True
    except subprocess.TimeoutExpired:
        has_ended = False
        process.send_signal(getattr(signal, "SIGABRT", signal.SIGTERM))
        stdout, stderr = process.communicate(timeout=BOUND)
    finally:
        process.kill()
        process.wait()
    if not has_ended or process.returncode != status:
        end = f"ended with status {process.returncode}" if has_ended else "has not ended"
        pytest.fail(
            f"the program {end}.\n--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}",
            pytrace=False,
        )
    return Finished(process.returncode, stdout, stderr)
