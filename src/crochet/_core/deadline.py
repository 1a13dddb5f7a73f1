"""
One bound for many waits.

A deadline is a moment of the monotonic clock in a context variable. So it goes where the context
goes, and each wait looks it up when it begins, and ends by the earlier of that moment and its own
timeout.

What must always hold:

1. Once its block has ended, however it has ended, a deadline bounds nothing there any more.
2. The body of a call made in the block is bounded for its whole life.

A signal's exception may come as the first step of any function in Python, so ``__exit__()`` cannot
be one, or the block would never end, and every later wait of the thread be over before it began. So
the block holds a lock, and ends with a single function of C, that which releases it. Whoever finds
a deadline in the context looks whether its lock is locked. (No thread ever waits for it.) And
whether it is there at all, for it may be that nobody will release it: an ExitStack that a signal
interrupts right after __enter__() never knows of it. For the body of a call the moment is put into
its context without a lock.

Threads: each has a context of its own, and so has every call. A lock may be looked at by any.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import Context, ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import ref

from .._threads import clock
from .._threads.primitives import Hold, new_hold
from .._threads.timeouts import Seconds, seconds


class Bound:
    """
    When waits have to end.
    """

    __slots__ = ("end", "held", "interrupt", "outer")

    def __init__(
        self,
        end: float,
        held: ref[Hold] | None = None,
        outer: Bound | None = None,
        interrupt: Callable[[], object] | None = None,
    ) -> None:
        self.end = end  # by time.monotonic()
        self.held = held  # there and locked while the block lasts; None is for good
        self.outer = outer  # what holds once it has ended
        # Is called by each wait while the block lasts: what it raises ends that.
        self.interrupt = interrupt

    def lasts(self) -> bool:
        """
        Tell whether its block has not ended.
        """
        if self.held is None:
            return True
        held = self.held()
        return held is not None and held.locked()

    def lasting(self) -> Bound | None:
        """
        Return the innermost bound whose block has not ended.
        """
        bound: Bound | None = self
        while bound is not None and not bound.lasts():
            bound = bound.outer
        return bound


_bound: ContextVar[Bound | None] = ContextVar("crochet.deadline", default=None)

# Looks that up. A name of its own: every call of a decorated function uses it.
get_bound = _bound.get


def end_of(bound: Bound | None) -> float:
    """
    Return when waits have to end that find this in their context; infinity stands for never.
    """
    lasting = None if bound is None else bound.lasting()
    return math.inf if lasting is None else lasting.end


def get_end() -> float:
    """
    Return when waits in this context have to end. For waits: what interrupts them raises here.
    """
    innermost = bound = _bound.get()
    while bound is not None:
        if bound.interrupt is not None and bound.lasts():
            bound.interrupt()
        bound = bound.outer
    return end_of(innermost)


def begin_block(held: Hold, interrupt: Callable[[], object]) -> None:
    """
    Have all waits of this context call *interrupt*, from now until *held* is released.
    """
    bound = _bound.get()
    outer = None if bound is None else bound.lasting()
    held.acquire(False)
    _bound.set(Bound(end_of(outer), ref(held), outer, interrupt))


def end_block(held: Hold) -> None:
    """
    Have them call it no more.
    """
    if held.locked():
        held.release()
    bound = _bound.get()
    if bound is not None and bound.held == ref(held):
        # Where nothing is bounded waits are faster; blocks may be left in any order.
        _bound.set(None if bound.outer is None else bound.outer.lasting())


def keep_in(context: Context, end: float) -> None:
    """
    Have a call's context end waits by that moment, also when the caller's block has ended.
    """
    context.run(_bound.set, Bound(end))


class _Exit:
    """
    ``deadline.__exit__``: the function of C that releases the block's lock.
    """

    def __get__(self, instance: deadline | None, owner: type[deadline]) -> Callable[..., object]:
        return _exit if instance is None else instance._begin_or_end().__exit__


def _exit(instance: deadline, *error: Any) -> None:
    """
    Do the same, looked up on the class, as by an ExitStack.
    """
    instance._begin_or_end().__exit__(*error)


class deadline:
    """
    Bound every wait inside a ``with`` block, in total, whatever the functions' own timeouts.

    The smaller of the two wins, and an inner deadline can shorten an outer one, never lengthen it.
    When the time is over, a wait under way ends with TimeoutError, as by a timeout of its own, and
    a ``wait_for`` function called later raises that at once and is not started. The deadline
    travels with the context: into the bodies of calls made inside the block, and into the Crochet
    calls that code makes. It counts the monotonic clock's time, from the block's beginning::

        with crochet.deadline(2.0):
            user = fetch_user(name)      # these two take 2 s together,
            orders = fetch_orders(user)  # though each may be given 5

    It bounds what blocks, and the ``await`` of an EventualResult; bound other awaits by the
    means of their loop, such as ``asyncio.timeout()``. What runs on in a copy of the context after
    the block, such as a task, is bounded while the block lasts. Use it in any thread, in coroutines
    too. It never blocks itself; cleanup after a timeout is not counted, see ``grace`` of
    :func:`wait_for`.

    Args:
        timeout: seconds; ``None`` and infinity add no limit. Zero and less are over already.

    Raises:
        TypeError: *timeout* is not a number.
        ValueError: *timeout* is NaN.
        RuntimeError: one object is used for two blocks at once. Make one for each block.
    """

    __slots__ = ("_held", "_limit")

    def __init__(self, timeout: Seconds) -> None:
        self._limit = seconds(timeout)
        self._held = new_hold()  # locked in the block

    def _begin_or_end(self) -> Hold:
        # `with` looks __exit__ up before it calls __enter__(): each block has a lock of its own, or
        # a task that has the last one's in its context would be bounded by that again.
        if not self._held.locked():
            self._held = new_hold()
        return self._held

    def __enter__(self) -> None:
        held = self._held
        if held.locked():
            raise RuntimeError(
                "this deadline is in use for another block: write `with crochet.deadline(...)` "
                "anew for each"
            )
        bound = _bound.get()
        outer = None if bound is None else bound.lasting()
        end = min(end_of(outer), clock.monotonic() + self._limit)
        _bound.set(Bound(end, ref(held), outer))  # of which nothing is seen before the next step
        try:
            held.acquire(False)
        except BaseException:
            # A signal's exception: there will be no block, and so no end of it.
            if held.locked():
                held.release()
            raise

    if TYPE_CHECKING:

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None: ...

    else:
        __exit__ = _Exit()

    @staticmethod
    def remaining() -> float:
        """
        Return the seconds that are left in this context: never negative, infinity for no limit.

        Call it from any thread; in the body of a call it tells what the caller's deadline leaves.
        Never blocks.
        """
        return max(end_of(_bound.get()) - clock.monotonic(), 0.0)
