"""
Where all threads are, for a process that seems to hang.

What must always hold: dump() can be called from a signal handler at any point, in any thread, and
whatever the other threads hold or wait for. So

1. it takes no lock, nor calls what might: not ``logging``, ``print()``, ``linecache``,
   ``threading.enumerate()``, nor the buffer of a file, but ``os.write()``;
2. it looks at copies, each made in one step of the interpreter; a thread that ends meanwhile, or
   a call that is answered, is shown as it was or not at all;
3. its length is bounded, and the reactor and those who wait for it come first.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from types import FrameType
from typing import Protocol, cast

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import PENDING, Call
from .._threads.threads import frames_of_threads, name_of_thread

# How much is shown: calls in flight, threads, frames of each, characters of a line and of it all.
_CALLS = 100
_THREADS = 100
_FRAMES = 100
_LINE = 300
_LENGTH = 100_000

# How often a descriptor is tried that takes nothing more at the moment, and every how many seconds.
_TRIES = 50
_PAUSE = 0.01

# Why calls are refused, by what refuses them. To ask it may have effects.
_REASONS: dict[object, str] = {
    _errors.not_set_up: "setup() has not been called",
    _errors.stopped: "the reactor has stopped",
    _errors.crashed: "the reactor has crashed",
    _errors.shut_down: "shutdown() was called",
    _errors.exiting: "the interpreter is exiting",
    _errors.ended_with: "the reactor thread has ended with an error",
    _errors.not_run_in_child: "this process was forked, and does not run the reactor",
}
# What else does so is there in a forked child only.
_IN_CHILD = "this process was forked; the first call will start the reactor"


class Writable(Protocol):
    """
    A text file, or something like it.
    """

    def write(self, text: str, /) -> object:
        """
        Write a text.
        """


def dump(bridge: Bridge, file: Writable | int | None, caller: FrameType) -> None:
    """
    Write down where all threads are; see :func:`crochet.dump`.

    Args:
        bridge: of which the state and calls in flight are shown.
        file: as it was given.
        caller: the frame of the program that asked for it.
    """
    target = sys.stderr if file is None else file
    # pythonw has no stderr, and a daemon may have closed it.
    if target is None or (file is None and getattr(target, "closed", False)):
        return
    with suppress(RuntimeError):  # a signal handler's, in the middle of that
        bridge.notice_fork()
    page = _Page()
    frames = frames_of_threads()
    try:
        # As if this were not there.
        frames[get_ident()] = caller
        _compose(bridge, page, frames)
    finally:
        frames.clear()  # this frame's own locals hold it
    text = page.text()
    descriptor = _descriptor_of(target)
    if descriptor is None:
        cast("Writable", target).write(text)
    else:
        _write(descriptor, text.encode("utf-8", "backslashreplace"))


def _compose(bridge: Bridge, page: _Page, frames: dict[int, FrameType]) -> None:
    # Copied at once. In a set, so in no order.
    calls = bridge.calls_in_flight()
    reactor_thread = bridge.reactor_thread
    page.add(f"crochet: {_state_of(bridge)}")
    page.add(f"calls in flight: {len(calls)}")
    page.extend(f"  {_describe(call)}" for call in islice(calls, _CALLS))
    if len(calls) > _CALLS:
        page.add(f"  ... and {len(calls) - _CALLS} more")
    waits = bridge.waits.by_thread().items()
    awaited = {ident: call for ident, (_, call) in waits if call.outcome is PENDING}

    def rank(ident: int) -> int:
        return 0 if ident == reactor_thread else 1 if ident in awaited else 2

    idents = sorted(frames, key=rank)
    for ident in idents[:_THREADS]:
        notes = [name_of_thread(ident)]
        if ident == reactor_thread:
            notes.append("the reactor's")
        if ident in awaited:
            notes.append(f"waits for {awaited[ident].name}()")
        if ident == get_ident():
            notes.append("called dump()")
        page.add("")
        page.add(f"Thread {ident:#x}, {', '.join(notes)} (most recent call first):")
        page.extend(_stack(frames[ident]))
    if len(idents) > _THREADS:
        page.add(f"... and {len(idents) - _THREADS} more threads")


class _Page:
    """
    Lines, until there are enough.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._room = _LENGTH

    def add(self, line: str) -> None:
        if self._room < 0:
            return
        line = line[:_LINE]
        self._room -= len(line) + 1
        self._lines.append(line if self._room >= 0 else "... (cut)")

    def extend(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.add(line)

    def text(self) -> str:
        return "\n".join([*self._lines, ""])


def _state_of(bridge: Bridge) -> str:
    ident = bridge.reactor_thread
    where = f"the reactor runs in {name_of_thread(ident)}" if ident else "no reactor runs"
    refusal = bridge.refusal
    if refusal is None:
        return f"{where}, calls are accepted"
    function: object = getattr(refusal, "func", refusal)  # of a partial object
    return f"{where}, calls are refused: {_REASONS.get(function, _IN_CHILD)}"


def _describe(call: Call) -> str:
    """
    Return a line on a call in flight.
    """
    return f"{call.name}(): {'; '.join(filter(None, (call.state, call.details)))}"


def _stack(frame: FrameType | None) -> Iterator[str]:
    for _ in range(_FRAMES):
        if frame is None:
            return
        code = frame.f_code
        yield f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}'
        frame = frame.f_back
    yield "  ..."


def _descriptor_of(file: object) -> int | None:
    if isinstance(file, int):
        return file
    fileno = getattr(file, "fileno", None)
    if fileno is not None:
        try:
            return int(fileno())
        except (OSError, ValueError):
            pass  # a StringIO has none, nor has a closed file; write() will tell
    if not hasattr(file, "write"):
        raise TypeError(f"dump() writes to a file or to a descriptor, not to {file!r}")
    return None


def _write(descriptor: int, data: bytes) -> None:
    tries = _TRIES
    while data and tries:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            tries -= 1
            time.sleep(_PAUSE)
        except OSError:
            return  # closed, or nobody reads it: there is nobody to tell, least so in a handler
