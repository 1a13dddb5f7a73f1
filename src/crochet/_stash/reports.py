"""
How far stashed operations are, for those that look from other processes.

What must always hold:

1. A report wakes nobody but the first after a pause: then all that is new is told, and it is
   listened for the next. While nothing is reported there is no timer, and no wake-up.
2. There is one job of ours in the worker at most, of a bounded number of reports: a slow store
   makes them fewer, not the queue longer.

Threads: an operation reports in any. follow() and forget() are the worker's; the rest is the
reactor thread's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core.call import PENDING
from .._core.progress import Reported
from .._core.stash import Process
from .._threads import clock
from .._threads.primitives import entries_of

if TYPE_CHECKING:
    from .._core.call import Call

# Seconds between two looks at what is new.
PAUSE = 0.2

# How many operations' reports are told at once. Others have to wait for the next time.
MOST = 100

# Characters of a message that travel.
_MESSAGE = 1000

# How far the clocks are apart, once that was looked at.
_offsets: list[float] = []

# Is called in the reactor thread, with what is to be told of each number, and with what is to be
# called, in any thread, when it has been stored.
Tell = Callable[[list[tuple[int, bytes]], Callable[[], object]], object]


def _offset() -> float:
    """
    Return how far the wall clock is ahead of the monotonic one. The same each time, unless it is
    set: a thread may be kept waiting between the two looks, and reports are to stay in their order.
    """
    found = time.time() - clock.monotonic()
    if not _offsets or abs(found - _offsets[-1]) > 1.0:
        _offsets[:] = [found]
    return _offsets[-1]


def pack_report(reported: Reported | None) -> bytes:
    """
    Make bytes of a report; none of none, or of one that is of no plain numbers.
    """
    if reported is None:
        return b""
    done, total, message, at, first, began = reported
    # By the wall clock, for the monotonic one is another on another machine.
    when = at + _offset()
    text = None if message is None else str(message)[:_MESSAGE]
    with suppress(TypeError, ValueError):
        return json.dumps([done, total, text, when, first, at - began], default=float).encode()
    return b""


def unpack_report(data: bytes) -> Reported | None:
    """
    Return the report again; none of none, or of bytes that are no report.
    """
    if not data:
        return None
    with suppress(TypeError, ValueError, RecursionError):  # of another version, say
        done, total, message, when, first, span = json.loads(data)
        at = min(when - _offset(), clock.monotonic())
        return done, total, message, at, first, at - span
    return None


class Reports:
    """
    Tells what this process's stashed operations report.

    Args:
        process: in which they run.
        tell: tells it, and has it stored.
    """

    def __init__(self, process: Process, tell: Tell) -> None:
        self._process = process
        self._tell = tell
        self._uids: dict[Call, tuple[int, ...]] = {}  # the worker writes
        self.begin()

    def begin(self) -> None:
        """
        Forget what another reactor, or a parent, had to tell.
        """
        self._news: dict[Call, None] = {}  # any thread adds, the reactor thread takes out
        self._timer: Any = None
        self._is_busy = False
        self._next = -math.inf

    def follow(self, uid: int, call: Call, told: Reported | None) -> None:
        """
        Tell what the operation reports from now on, beyond what was *told*.
        """
        self._uids[call] = (*self._uids.get(call, ()), uid)
        self._listen(call, told)

    def forget(self, call: Call) -> None:
        """
        Tell nothing more of it: it has its answer.
        """
        self._uids.pop(call, None)
        self._process.bridge.on_report.pop(call, None)
        self._news.pop(call, None)

    def _listen(self, call: Call, told: Reported | None) -> None:
        # 1. An operation reports: it writes what, and then takes out who listens. 2. This has it
        # listened for, and then looks for what was reported. So it is heard by one of the two; and
        # by no more, for one takes it out.
        on_report = self._process.bridge.on_report
        on_report[call] = partial(self._hear, call)
        if call.reported is not told and on_report.pop(call, None) is not None:
            self._hear(call)

    def _hear(self, call: Call) -> None:
        self._news[call] = None
        self._process.bridge.call(self._tell_soon_in_reactor)

    def _tell_soon_in_reactor(self) -> None:
        if self._timer is not None or self._is_busy or not self._news:
            return
        left = self._next - clock.monotonic()
        if left <= 0:
            self._tell_in_reactor()
        else:
            self._timer = self._process.get_reactor().callLater(left, self._tell_in_reactor)

    def _tell_in_reactor(self) -> None:
        self._timer = None
        self._next = clock.monotonic() + PAUSE
        told: list[tuple[Call, Reported | None]] = []
        reports: list[tuple[int, bytes]] = []
        for call, _ in entries_of(self._news.items())[:MOST]:
            self._news.pop(call, None)
            if call.outcome is PENDING:  # else the answer brings it
                told.append((call, call.reported))
                report = pack_report(call.reported)
                reports += ((uid, report) for uid in self._uids.get(call, ()))
        if not reports:
            self._tell_soon_in_reactor()
            return
        self._is_busy = True
        call_in_reactor = self._process.bridge.call
        self._tell(reports, lambda: call_in_reactor(self._listen_in_reactor, told))

    def _listen_in_reactor(self, told: list[tuple[Call, Reported | None]]) -> None:
        self._is_busy = False
        for call, report in told:
            if call.outcome is PENDING:  # one that gets its answer now is forgotten by the worker
                self._listen(call, report)
        self._tell_soon_in_reactor()
