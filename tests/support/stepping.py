"""
What steps an interleaving: clocks, locks and containers that call back in the middle of an
operation, and threads that are waited for with a bound.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dis import opmap
from types import CodeType, FrameType
from typing import Any, Generic, TypeVar

import pytest

import crochet
from crochet._threads import clock, timeouts
from crochet._threads.primitives import Task, Waiter

T = TypeVar("T")


BOUND = 30.0


SOURCE = os.path.join(os.path.dirname(crochet.__file__), "")


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
        monkeypatch.setattr(timeouts, "LONGEST", threading.TIMEOUT_MAX)  # each wait is one
        monkeypatch.setattr(clock, "monotonic", self)


class FakeWaiter(Waiter):
    """
    A waiter. Where a real one would block, *meanwhile* is called once, and time is over.

    Args:
        meanwhile: what another thread does while this one waits, given the seconds it waits.
        clock: is moved by those, unless something was put.
    """

    def __init__(
        self,
        meanwhile: Callable[[float], object] = lambda timeout: None,
        clock: FakeClock | None = None,
    ) -> None:
        super().__init__()
        self._meanwhile = meanwhile
        self._clock = clock
        self.waits: list[float] = []

    def wait(self, seconds: float) -> Task | None:
        if self.empty() and seconds > 0:
            assert len(self.waits) < 100, "this waits over and over, for nothing"
            self.waits.append(seconds)
            self._meanwhile(seconds)
            if self.empty() and self._clock is not None:
                self._clock.now += seconds
        return super().wait(0)


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
        source: str | tuple[str, ...] = SOURCE,
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
