"""
What every stash is to the rest of the library, and what it needs of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from .. import _errors
from .._threads.timeouts import Seconds, seconds

if TYPE_CHECKING:
    from .._core.bridge import Bridge
    from .._core.result import EventualResult
    from .._threads.threads import StartThread

# Seconds that a result is kept if stash() is told nothing else.
TTL = 3600.0

# How many results are kept, likewise.
MAX_RESULTS = 100_000

# What can have become of a result. A lost one has no answer, and no process that could give one.
State = Literal["pending", "done", "failed", "cancelled", "lost"]


class StashStatus(NamedTuple):
    """
    What a stash does now, as :func:`crochet.status` tells it.

    Attributes:
        kind: where results are kept: ``"memory"``, ``"local"`` or ``"redis"``.
        kept: how many of this process's results wait to be collected.
        owned: how many of this process's stashed results are pending.
        waiting: for how many pending results of other processes this one waits.
        state: how this process is connected to the others; empty if there are none.
    """

    kind: str
    kept: int
    owned: int = 0
    waiting: int = 0
    state: str = ""


class Process(NamedTuple):
    """
    What a stash needs of the process that it is in.

    Attributes:
        bridge: carries calls to the reactor thread.
        start_thread: starts a daemon thread of that target and name.
        get_reactor: returns the reactor, for use in its thread.
    """

    bridge: Bridge
    start_thread: StartThread
    get_reactor: Callable[[], Any]


class Stash(Protocol):
    """
    Keeps results under numbers.
    """

    def bind(self, process: Process) -> None:
        """
        Belong to a process from now on. Opens nothing.
        """

    def put(self, result: EventualResult[Any], ttl: Seconds = TTL) -> int:
        """
        Keep a result for *ttl* seconds and return its number. From any thread.
        """
        ...

    def take(self, result_id: int | str) -> EventualResult[Any]:
        """
        Take out the result of that number: of any number of takers, one does. From any thread.

        Raises:
            KeyError: there is none, or no more.
        """
        ...

    def peek(self, result_id: int | str) -> EventualResult[Any]:
        """
        Return the result of that number, which stays. From any thread.

        Raises:
            KeyError: there is none, or no more.
        """
        ...

    def status(self) -> StashStatus:
        """
        Tell what it does now. From any thread; blocks never.
        """
        ...


def number_of(result_id: object) -> int:
    """
    Return the number that a program means; -1, which no result has, for what is none.

    As an int, or in decimal digits, as it comes out of a form or of JavaScript's JSON.
    """
    if type(result_id) is int:  # True and 1.0 are equal to one, but they are not
        return result_id
    if type(result_id) is str and 0 < len(result_id) < 20 and result_id.isascii():
        return int(result_id) if result_id.isdigit() else -1
    return -1


def ttl_seconds(ttl: Seconds) -> float:
    """
    Return a ttl in seconds; ``math.inf`` stands for no end.

    Raises:
        TypeError: it is no number.
        ValueError: it is NaN or not above zero.
    """
    if type(ttl) is float and 0 < ttl < math.inf:  # as nearly always, and stash() is to be quick
        return ttl
    value = seconds(ttl)
    if value <= 0:
        raise _errors.ttl_not_positive(value)
    return value


def most_results(number: int) -> int:
    """
    Return how many results may be kept.

    Raises:
        ValueError: it is below one.
    """
    if number < 1:
        raise ValueError(
            f"max_results cannot be {number}: nothing could be stashed. Give 1 or more"
        )
    return number
