"""
One bound for many waits.

A deadline is a moment of the monotonic clock in a context variable. So it goes where the context
goes: into the body of a call, a coroutine's whole life, and from there into further calls. Each
wait looks it up when it begins, and ends by the earlier of that moment and its own timeout.

Threads: each has a context of its own, and so has every call. Nothing here is shared.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from time import monotonic
from types import TracebackType

from ._timeouts import Seconds, seconds

# When waits have to end, by time.monotonic(); infinity stands for never.
_end: ContextVar[float] = ContextVar("crochet.deadline", default=math.inf)

# Looks that up. A name of its own: every call of a decorated function uses it.
get_end = _end.get


class deadline:
    """
    Bound every wait inside a ``with`` block, in total, whatever the functions' own timeouts.

    The smaller of the two wins, and an inner deadline can shorten an outer one, never lengthen it.
    When the time is over, a wait under way ends with TimeoutError, as by a timeout of its own, and
    a ``wait_for`` function called later raises that at once and is not started. The deadline
    travels with the context: into the bodies of calls made inside the block, and into the Crochet
    calls that code makes. It counts the monotonic clock's time, from the block's beginning.

        with crochet.deadline(2.0):
            user = fetch_user(name)      # these two take 2 s together,
            orders = fetch_orders(user)  # though each may be given 5

    It bounds what blocks; an ``await`` is bounded by the means of its loop, ``asyncio.timeout()``.
    Use it in any thread, in coroutines too. Blocks never itself; cleanup after a timeout is not
    counted, see ``grace`` of :func:`wait_for`.

    Args:
        timeout: seconds; ``None`` and infinity add no limit. Zero and less are over already.

    Raises:
        TypeError: *timeout* is no number.
        ValueError: *timeout* is NaN.
        RuntimeError: one object is used for two blocks at once. Make one for each block.
    """

    __slots__ = ("_limit", "_outer")

    def __init__(self, timeout: Seconds) -> None:
        self._limit = seconds(timeout)
        self._outer: float | None = None  # in the block: the end that held outside

    def __enter__(self) -> None:
        if self._outer is not None:
            raise RuntimeError(
                "this deadline is in use for another block: write `with crochet.deadline(...)` "
                "anew for each"
            )
        outer = get_end()
        try:
            self._outer = outer
            _end.set(min(outer, monotonic() + self._limit))
        except BaseException:
            # A signal's exception: there will be no block, and so no end of it.
            _end.set(outer)
            self._outer = None
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not ContextVar.reset(): a generator's block may end in another context than it began in.
        if self._outer is not None:
            _end.set(self._outer)
        self._outer = None

    @staticmethod
    def remaining() -> float:
        """
        Return the seconds that are left in this context: never negative, infinity for no limit.

        Call it from any thread; in the body of a call it tells what the caller's deadline leaves.
        Blocks never.
        """
        return max(get_end() - monotonic(), 0.0)
