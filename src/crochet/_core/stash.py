"""
What every stash is to the rest of the library, and what it needs of that. They are in _stash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from .._threads.threads import StartThread
from .._threads.timeouts import Seconds

if TYPE_CHECKING:
    from .bridge import Bridge, CallFromThread
    from .call import Call
    from .result import EventualResult

# Seconds that a result is kept if stash() is told nothing else.
TTL = 3600.0


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

    def explain(self, call: Call) -> str:
        """
        Tell more of a call that is a wait for another process; or nothing. From any thread; blocks
        never.
        """
        ...

    def drain(self, timeout: float) -> bool:
        """
        Wait until what this process has stashed is answered. Blocks up to *timeout* seconds.
        """
        ...

    def end_in_reactor(self) -> Deferred[None] | None:
        """
        Have all answers told to other processes: the reactor stops. Fires when that is done.
        """
        ...

    def leave(self) -> None:
        """
        Let other processes learn that the reactor has ended. From its thread; blocks never.
        """

    def stop(self, timeout: float) -> bool:
        """
        Have all answers stored, and end our threads. Blocks up to *timeout* seconds.

        Returns:
            Whether that was done.
        """
        ...

    def get_caller(self) -> CallFromThread | None:
        """
        Return what has a thread of ours call something before a fork; None if there is none.
        """
        ...

    def after_fork_in_child(self) -> None:
        """
        Leave to the parent what is the parent's.
        """
