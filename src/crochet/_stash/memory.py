"""
Results that wait to be collected in the process that they are in.

What must always hold:

1. A number is beyond guessing, and a failed retrieval does not tell whether it ever was one.
2. Of any number of threads that take an entry, one gets it.
3. A result is not to be had after its time. If it is pending then, and nobody has taken it, it is
   cancelled.
4. There is a timer in the reactor only while a stashed result is pending, and no other wake-up.

Threads: any may put, take and peek, also in a signal handler or a destructor. The timer is the
reactor thread's. No lock: each change of a dict is one step of the interpreter.

Answered results that are past their time go when something is put, at most once a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from os import urandom
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from .. import _errors
from .._core.stash import TTL, Process, StashStatus
from .._threads import clock
from .._threads.fork_mark import wiped_like
from .._threads.primitives import entries_of
from .numbers import MAX_RESULTS, most_results, number_of, ttl_seconds

if TYPE_CHECKING:
    from .._core.bridge import CallFromThread
    from .._core.result import EventualResult
    from .._threads.timeouts import Seconds

_log = Logger(namespace="crochet")


def new_uid() -> int:
    """
    Return a number beyond guessing: 63 bits of the system's source for secrets.

    That fits the signed 64-bit columns and fields into which programs put it.
    """
    return int.from_bytes(urandom(8), "big") >> 1


# A pending result that somebody has taken is not cancelled at any time.
_TAKEN = 0.0

# What there is under any other number, and when its time is over.
_NOTHING = (None, -math.inf)


class MemoryStash:
    """
    Keeps results in this process.

    Args:
        max_results: how many; one more is refused.
        evict: drop the oldest answered result instead, and log that.
        on_evict: is called with the number of each that was dropped.
    """

    def __init__(
        self,
        *,
        max_results: int = MAX_RESULTS,
        evict: bool = False,
        on_evict: Callable[[int], object] | None = None,
    ) -> None:
        self._max_results = most_results(max_results)
        self._evict = evict
        self._on_evict = on_evict
        # The results and when their time is over, by the monotonic clock.
        self._entries: dict[int, tuple[EventualResult[Any], float]] = {}
        # When those that were pending as they were stashed are to be cancelled.
        self._pending: dict[EventualResult[Any], float] = {}
        # Random numbers that are still to be given out. In a forked child they are zeros.
        self._drawn: Iterator[int] = iter(())
        self._next_sweep = 0.0
        self._due = math.inf  # when the timer is; any thread lowers it, the reactor's sets it
        self._timer: Any = None  # reactor thread only
        self._process: Process | None = None

    def bind(self, process: Process) -> None:
        """
        Belong to a process from now on, whose reactor has the timer.
        """
        self._process = process

    def put(self, result: EventualResult[Any], ttl: Seconds = TTL) -> int:
        """
        Keep a result and return its number. From any thread; blocks never.

        Raises:
            RuntimeError: there are as many as may be.
            TypeError: *ttl* is no number.
            ValueError: *ttl* is not above zero.
        """
        # Everything a call of its own would cost is here: programs call this for each request.
        now = clock.monotonic()
        expires = now + (TTL if ttl is TTL else ttl_seconds(ttl))
        entries = self._entries
        if now >= self._next_sweep or len(entries) >= self._max_results:
            self._make_room(now)
        entry = (result, expires)
        uid = next(self._drawn, 0) >> 1 or self._draw()
        while entries.setdefault(uid, entry) is not entry:
            uid = new_uid()
        if not result.done():
            self._expect(result, expires)
        return uid

    def take(self, result_id: int | str) -> EventualResult[Any]:
        """
        Take out the result of that number. From any thread; blocks never.

        Raises:
            KeyError: there is none, or no more.
        """
        uid = result_id if type(result_id) is int else number_of(result_id)
        result, expires = self._entries.pop(uid, _NOTHING)
        if result is not None and expires > clock.monotonic():
            if self._pending and result in self._pending:
                self._pending[result] = _TAKEN
            return result
        if result is None:
            _log.debug("no result is stashed under the number asked for: unknown or taken")
        else:
            _log.debug("the result asked for has outlived its ttl")
            self._cancel(result)
        raise _errors.no_result()

    def pop(self, uid: int) -> EventualResult[Any] | None:
        """
        Take out a result, or return None.
        """
        try:
            return self.take(uid)
        except KeyError:
            return None

    def peek(self, result_id: int | str) -> EventualResult[Any]:
        """
        Return the result of that number, which stays. From any thread; blocks never.

        Raises:
            KeyError: there is none, or no more.
        """
        result = self.get(number_of(result_id))
        if result is None:
            raise _errors.no_result()
        return result

    def get(self, uid: int) -> EventualResult[Any] | None:
        """
        Return a result that is kept, or None.
        """
        result, expires = self._entries.get(uid, _NOTHING)
        return result if expires > clock.monotonic() else None

    def uids(self) -> list[int]:
        """
        Return the numbers of what is kept.
        """
        return [uid for uid, _ in entries_of(self._entries.items())]

    def clear(self) -> None:
        """
        Forget all of them, in a forked child whose parent goes on keeping them.
        """
        self._entries.clear()
        self.after_fork_in_child()

    def explain(self, call: object) -> str:
        """
        Tell nothing: no call waits for another process.
        """
        return ""

    def drain(self, timeout: float) -> bool:
        """
        Wait for nothing: what is kept here ends with the process.
        """
        return True

    def end_in_reactor(self) -> None:
        """
        Have nothing to tell to others.
        """

    def leave(self) -> None:
        """
        Have nobody to leave.
        """

    def stop(self, timeout: float) -> bool:
        """
        Have no thread to end.
        """
        return True

    def get_caller(self) -> CallFromThread | None:
        """
        Return nothing: there is no thread.
        """
        return None

    def after_fork_in_child(self) -> None:
        """
        Keep what the parent has stashed: its results say that they are the parent's.
        """
        self._pending.clear()  # no answer comes, and no timer
        self._timer, self._due = None, math.inf

    def status(self) -> StashStatus:
        """
        Tell what it keeps. From any thread; blocks never.
        """
        return StashStatus("memory", len(self._entries), len(self._pending))

    def _draw(self) -> int:
        # A system call takes as long as all else here, so there is one for 512 numbers, where those
        # can be kept so that no forked child finds what its parent is to give out.
        page = self._process and wiped_like(self._process.bridge.mark)
        if page:
            page[:] = urandom(len(page))
            self._drawn = iter(memoryview(page).cast("Q"))
        return new_uid()

    def _make_room(self, now: float) -> None:
        # First, for the destructors of what is dropped may stash something. To look at 100,000
        # takes 10 ms, so it is done less often where there are many.
        self._next_sweep = now + 1.0 + len(self._entries) * 1e-5
        for uid, (result, expires) in entries_of(self._entries.items()):
            if expires <= now and self._entries.pop(uid, None) is not None:
                self._cancel(result)
        while len(self._entries) >= self._max_results:
            if not self._evict:
                raise _errors.stash_full(self._max_results)
            oldest = (
                uid for uid, (result, _) in entries_of(self._entries.items()) if result.done()
            )
            found = next(oldest, None)
            if found is None:
                raise _errors.stash_full(self._max_results, "none of them is answered")
            evicted = self._entries.pop(found, None)
            if evicted is not None:
                _log.warn(
                    "the stash is full: {result!r}, the oldest answered, was dropped for a new one",
                    result=evicted[0],
                )
                if self._on_evict is not None:
                    self._on_evict(found)

    def _cancel(self, result: EventualResult[Any]) -> None:
        # Unless it is answered, stashed under another number as well, or was taken by one.
        if _TAKEN < self._pending.get(result, _TAKEN) <= clock.monotonic():
            result.cancel()

    # The timer, and a result that is put meanwhile:
    #
    # 1. A thread enters the result in `_pending`, then looks at `_due`. If that is later, it
    #    lowers it, and has the reactor thread look at `_pending`.
    # 2. The reactor thread sets `_due` to never, then looks at `_pending`, then sets `_due`.
    #
    # Verdict: a result entered before the look of 2 is found by it. One entered later sees a
    # `_due` of never, or that which 2 has set, and has the timer set if that is too late for it.

    def _expect(self, result: EventualResult[Any], expires: float) -> None:
        known = self._pending.get(result)
        self._pending[result] = expires if known is None or known < expires else known
        if known is None:
            result.add_done_callback(self._forget)
        if expires < self._due and self._process is not None:
            self._due = expires
            self._process.bridge.call(self._look_in_reactor)

    def _forget(self, result: EventualResult[Any]) -> None:
        self._pending.pop(result, None)
        if not self._pending and self._process is not None and self._due != math.inf:
            self._due = math.inf  # here: a reactor that has ended will not look any more
            self._process.bridge.call(self._look_in_reactor)

    def _look_in_reactor(self) -> None:
        """
        Cancel what is past its time, and set the timer for what comes next, if anything does.
        """
        timer, self._timer, self._due = self._timer, None, math.inf
        if timer is not None and timer.active():
            timer.cancel()
        now, due = clock.monotonic(), math.inf
        for result, expires in entries_of(self._pending.items()):
            if _TAKEN < expires <= now:
                self._pending[result] = _TAKEN  # once
                result.cancel()
            elif expires != _TAKEN:
                due = min(due, expires)
        if due < math.inf and self._process is not None:
            self._due = due
            self._timer = self._process.get_reactor().callLater(due - now, self._look_in_reactor)
