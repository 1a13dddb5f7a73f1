"""
What the bridge does now, as a value: for a health endpoint, a log, or a person who wonders.

A snapshot is made without a lock, in any thread and in a signal handler, while the reactor thread
goes on. The set of the calls in flight is copied in one step of the interpreter; then each call is
looked at. One that is answered meanwhile is in the snapshot as it was last seen.

Nothing of a call is worked out that nobody may look at: its line in the caller's file, and what it
waits on, are when they are asked for. A snapshot keeps no result alive, for a result that nobody
holds any more is to log its error.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from types import CodeType
from typing import Literal, NamedTuple, final

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Call
from .._core.stash import StashStatus
from .._errors import Place
from .._reactor.reactor import Reactor
from .._threads import clock
from .._threads.primitives import entries_of
from .._threads.threads import known_name
from .explain import is_crash
from .frames import line_of
from .moments import seconds_told
from .waits_on import awaits, told

State = Literal[
    "not set up",
    "not running yet",
    "running",
    "stopping",
    "stopped",
    "shut down",
    "crashed",
    "exiting",
    "forked",
]

_STATES: dict[Callable[[str], object], State] = {
    _errors.not_set_up: "not set up",
    _errors.stopped: "stopped",
    _errors.shut_down: "shut down",
    _errors.exiting: "exiting",
}

# How many calls the readable page shows.
_ROWS = 50

_made = attrgetter("made")


class Lag(NamedTuple):
    """
    How long calls had to wait lately until the reactor thread came to them, in seconds.

    It is measured for the first call of a burst, at most once a millisecond.

    Attributes:
        median: of the last hundred bursts.
        maximum: of the same.
    """

    median: float
    maximum: float


@final
class CallInFlight:
    """
    A call that has not been answered, as :func:`status` saw it.

    ``file`` and ``line``, and ``waits_on``, are worked out when they are looked at.
    """

    __slots__ = ("_age", "_call", "_caller", "_details", "_function", "_offset", "_state")

    def __init__(
        self,
        function: str,
        caller: CodeType | None,
        offset: int,
        age: float,
        state: Literal["queued", "running"],
        call: weakref.ref[Call],
        details: str = "",
    ) -> None:
        self._function = function
        self._caller = caller
        self._offset = offset
        self._age = age
        self._state: Literal["queued", "running"] = state
        self._call = call
        self._details = details

    def __repr__(self) -> str:
        return f"<{self._state} call of {self._function}(), {seconds_told(self._age)} old>"

    @property
    def function(self) -> str:
        """
        The name of the function that was called.
        """
        return self._function

    @property
    def file(self) -> str | None:
        """
        The file in which it was called; None if that was not in Python code.
        """
        return self._caller.co_filename if self._caller is not None else None

    @property
    def line(self) -> int | None:
        """
        The line in that file.
        """
        return line_of(self._caller, self._offset * 2) if self._caller is not None else None

    @property
    def age(self) -> float:
        """
        How many seconds ago it was called.
        """
        return self._age

    @property
    def state(self) -> Literal["queued", "running"]:
        """
        Whether it has started (``"running"``) or waits for the reactor thread (``"queued"``).
        """
        return self._state

    @property
    def details(self) -> str:
        """
        Of a stream, how many items its body has handed over, how many of them are buffered, and who
        waits for whom. Empty for other calls.
        """
        return self._details

    @property
    def waits_on(self) -> tuple[Place, ...]:
        """
        Where the operation waits now, while this is being looked at.

        The outermost function is first, and the Deferred that has not fired is last. Empty if it
        waits on nothing, or has been answered.
        """
        call = self._call()
        return awaits(call.running) if call is not None else ()


@final
@dataclass(frozen=True)
class Status:
    """
    What the bridge to the reactor thread did at one moment. ``str()`` makes a page of it.
    """

    __slots__ = ("calls", "ident", "lag", "reactor", "stash", "state", "thread")

    state: State
    """
    ``"running"`` if calls are answered. ``"not running yet"`` if they are accepted, and the program
    has still to run its reactor. In all other states they are refused.
    """
    reactor: str | None
    """
    The kind of the reactor, such as ``"epoll"`` or ``"asyncio"``; None if there is none yet.
    """
    thread: str | None
    """
    The name of the thread that the reactor runs in.
    """
    ident: int | None
    """
    The ident of that thread, as of ``threading.get_ident()``.
    """
    lag: Lag | None
    """
    How long calls had to wait for the reactor thread lately; None if there were none.
    """
    calls: tuple[CallInFlight, ...]
    """
    The calls in flight, oldest first.
    """
    stash: StashStatus
    """
    Where results are kept, and how many.
    """

    def __str__(self) -> str:
        return "\n".join([*_head(self), *_table(self.calls)])


def snapshot(bridge: Bridge, reactor: Reactor | None) -> Status:
    """
    Look at a bridge. From any thread; blocks never.
    """
    # Before the time is taken: none of them is younger than nothing, then.
    calls = sorted(bridge.calls_in_flight(), key=_made)
    now = clock.monotonic()
    reference = weakref.ref
    ident = bridge.reactor_thread
    return Status(
        _state(bridge),
        _kind(reactor) if reactor is not None else None,
        known_name(ident),
        ident,
        _lag(bridge),
        tuple(
            [
                CallInFlight(
                    call.name,
                    call.caller,
                    call.offset,
                    now - call.made,
                    "queued" if call.started is None else "running",
                    reference(call),
                    call.details,
                )
                for call in calls
            ]
        ),
        bridge.stash.status(),
    )


def _state(bridge: Bridge) -> State:
    refusal = bridge.refusal
    if refusal is None:
        return "running" if bridge.reactor_thread is not None else "not running yet"
    if bridge.reactor_thread is not None:
        return "stopping"
    if is_crash(refusal):
        return "crashed"
    # What else refuses calls is there in a forked child only.
    return _STATES.get(refusal, "forked")


def _kind(reactor: object) -> str:
    name = type(reactor).__name__
    for ending in ("Reactor", "Selector"):
        name = name.removesuffix(ending)
    return name.removeprefix("Fake").lower() or type(reactor).__name__.lower()


def _lag(bridge: Bridge) -> Lag | None:
    lags = sorted(entries_of(bridge.lags))
    if not lags:
        return None
    middle = len(lags) // 2
    # No import of `statistics`, in a function that signal handlers call: it may block, and fail.
    return Lag((lags[middle] + lags[~middle]) / 2, lags[-1])


def _head(status: Status) -> list[str]:
    line = f"crochet: {status.state}"
    if status.reactor is not None:
        line = f"{line}, {status.reactor} reactor"
    if status.ident is not None:
        line = f"{line}, thread {status.thread} ({status.ident})"
    lines = [line]
    if status.lag is not None:
        lines.append(
            f"lag: {seconds_told(status.lag.median)} (median), "
            f"{seconds_told(status.lag.maximum)} (maximum)"
        )
    queued = sum(call.state == "queued" for call in status.calls)
    number = len(status.calls)
    lines.append(f"calls in flight: {number}, {queued} of them queued" if number else "no calls")
    kept = status.stash
    if kept.kind != "memory" or kept.kept:
        line = f"stash ({kept.kind}): {kept.kept} kept, {kept.owned} of ours pending"
        if kept.kind != "memory":
            line = f"{line}, {kept.waiting} of others awaited; {kept.state}"
        lines.append(line)
    return lines


def _table(calls: tuple[CallInFlight, ...]) -> list[str]:
    rows = [("age", "state", "function", "called at", "waits in")] if calls else []
    for call in calls[:_ROWS]:
        place = "-" if call.file is None else str(Place("<module>", call.file, call.line or 0))
        waits = told(call.waits_on) or "-"
        if call.details:
            # A body at a `yield` waits on what its driver does, which says nothing.
            waits = f"{waits}; {call.details}" if len(call.waits_on) > 1 else call.details
        rows.append((seconds_told(call.age), call.state, f"{call.function}()", place, waits))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].rjust(widths[0])]
            + [cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
    if len(calls) > _ROWS:
        lines.append(f"and {len(calls) - _ROWS} more")
    return lines
