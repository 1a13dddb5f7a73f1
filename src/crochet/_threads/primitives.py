"""
Operations that nothing can interrupt halfway, and what a thread blocks on.

CPython runs a signal handler, a garbage collection or another thread between two steps of Python
code, never within one function of C. So what several threads touch is changed here by one such
function each, which tells whether it was the first: no lock is needed, and none can be left held
by an exception, or in a forked child.

A function of C that finds nothing to do raises an exception, of a class that a signal handler may
raise, too, just then. One that comes out of a handler belongs to the program, and goes on.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from operator import attrgetter
from random import random
from typing import Any, TypeVar

from .timeouts import LONGEST

T = TypeVar("T")

# From how many waiting threads on the ends of waits are spread, and by how many seconds for the
# square of those beyond: the more there are, the fewer of them come by themselves in a second.
CROWD = 200
_SPREAD = 2e-6
# Seconds after which a thread that was released is not waited for any more, before the next is.
_MOMENT = 0.05
# Seconds for each thread that waits between two looks which of them is next. A look takes less than
# a hundredth of that.
_BETWEEN_LOOKS = 4e-5

# Says by being locked that something lasts. Whoever ends that calls a single function of C.
Hold = LockType
new_hold = allocate_lock

# What a waiting thread can be asked to do.
Task = Callable[[], object]


class Waiter:
    """
    What one thread blocks on, until it is released or has something to do.

    Any thread, signal handler or destructor may ``put()``: ``None`` to release the waiter, or a
    function that is to be called in it. What is put once the wait is over is dropped with the
    waiter.

    1. Who puts a task appends it, then opens the lock; to release is to open the lock.
    2. The thread that waits takes the lock, then looks at what there is.

    So what was put before 2 is found by it; for what comes later the lock is open, and the
    next wait looks at once, once too often at worst. A signal's exception between the two steps of
    1 leaves it to be found when the wait's time is over, so no wait should be a long one.

    Why not a ``SimpleQueue``? Up to CPython 3.12 its ``get()`` with a timeout waits for ever once a
    signal handler has taken longer than was left of that.
    """

    __slots__ = ("_lock", "_tasks", "end")

    def __init__(self) -> None:
        # When the wait's time is over, by the monotonic clock. Written by the thread that waits,
        # read only where many do.
        self.end: float = inf
        self._tasks: list[Task] = []  # any thread appends, the one that waits takes out
        lock = self._lock = allocate_lock()
        lock.acquire()

    def put(self, item: Task | None) -> None:
        """
        Release the thread, or have it do something. From any thread; blocks never.
        """
        if item is not None:
            self._tasks.append(item)
        try:
            self._lock.release()
        except RuntimeError as error:
            # It is open.
            if is_a_handlers(error):
                raise

    def empty(self) -> bool:
        """
        Tell whether nothing was put that has not been taken.
        """
        return not self._tasks and self._lock.locked()

    def wait(self, seconds: float) -> Task | None:
        """
        Block until something is put, for so many seconds at most. Return the task, if it is one.
        """
        tasks = self._tasks
        self._lock.acquire(True, 0 if tasks else seconds)
        return tasks.pop(0) if tasks else None

    def clear(self) -> None:
        """
        Drop the tasks that were put; a release stays, and has the next wait look at once.
        """
        while self._tasks:  # the destructor of one may put another
            self._tasks.pop()


class Latch:
    """
    Keeps any number of threads waiting until it is opened, for good.

    Any thread, signal handler or destructor may ``open()`` it. Those who wait go through one after
    the other, each of which lets the next through.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def open(self) -> None:
        """
        Let all through, now and later.
        """
        try:
            self._lock.release()
        except RuntimeError as error:
            # It is open.
            if is_a_handlers(error):
                raise

    def wait(self, seconds: float) -> bool:
        """
        Block until it is open, for so many seconds at most. Tell whether it is.
        """
        while not self._lock.acquire(True, min(seconds, LONGEST)):
            seconds -= LONGEST
            if seconds <= 0:
                return False
        self.open()
        return True


class Waits(dict[Waiter, tuple[int, Any]]):
    """
    Who waits for what: the ident of a thread, and the call, by the thread's waiter.

    A thread enters its own waiter right before it blocks, and takes it out after that; so what is
    read says that it is about to, or does. A thread that waits in the middle of a wait, in a signal
    handler, has two: entered later, the innermost is behind the other. To enter, to take out and to
    copy are one step each, so any thread may read a copy.

    A thread that waits for the GIL wakes each 5 ms to ask for it. Thousands whose time is over at
    once do nothing else: 3,000 took 90 s to say so. So where many wait, each sleeps for longer than
    its time, and is released when that is over by a thread that has come through, one at a time.

    Attributes:
        is_crowd: whether some may sleep for longer. Then who comes through calls ``pass_on()``.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_crowd: bool = False
        # Those whose time is over next, the first one first, as of a look at that moment.
        self._line: deque[Waiter] = deque()
        self._looked = 0.0
        # The last that was released and has not come through, and when it was.
        self._turn: Waiter | None = None
        self._released = -inf

    def by_thread(self) -> dict[int, tuple[Waiter, Any]]:
        """
        Return the innermost wait of each thread, by its ident: the waiter, and the call.
        """
        return {ident: (waiter, call) for waiter, (ident, call) in self.copy().items()}

    def spread(self) -> float:
        """
        Return by how many seconds a wait is to be longer for there are so many, at random: should
        no thread come through to release them, they come one by one.
        """
        beyond = len(self) - CROWD
        if beyond <= 0:
            return 0.0
        self.is_crowd = True
        return beyond * beyond * _SPREAD * random()

    def pass_on(self, waiter: Waiter, now: float) -> None:
        """
        Release the next thread whose time is over, where many wait. Blocks never.

        Args:
            waiter: that of this thread, which has woken.
            now: by the monotonic clock.
        """
        if len(self) <= CROWD:
            # What is left is few, each of which may sleep for long. They look up, and sleep anew.
            self.is_crowd = False  # before the look: one that comes later says so again
            self._line.clear()
            for each in self.copy():
                each.put(None)
            return
        if waiter.end <= now:
            waiter.end = inf  # nobody is to choose it, and wait for it to come
        if self._turn is not waiter and now - self._released < _MOMENT:
            return  # another comes, and goes on with it
        while True:
            # Several threads may be here at once: each takes another.
            following = pop_first(self._line)
            if following is None or now < following.end < inf:
                if now - self._looked < len(self) * _BETWEEN_LOOKS:
                    break
                self._looked = now
                self._line = deque(sorted(self.copy(), key=_end_of))
            elif following.end < inf and following in self:
                # Should it not come, for it has its answer or was interrupted, any goes on that
                # comes a moment later.
                self._turn, self._released = following, now
                following.put(None)
                return
        if following is not None:
            self._line.appendleft(following)
        self._turn, self._released = None, -inf

    def after_fork_in_child(self, ident: int) -> None:
        """
        Release all waits of this thread, should this be a signal handler in the middle of one, and
        forget the others: there are none of those threads.
        """
        for waiter, (owner, _) in self.copy().items():
            if owner == ident:
                waiter.put(None)
            else:
                self.pop(waiter, None)


_end_of = attrgetter("end")


def claim(owner: object, slot: str) -> bool:
    """
    Empty a slot of an object, and tell whether it was this that did so.
    """
    try:
        delattr(owner, slot)
    except AttributeError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def take(entries: dict[T, Any], entry: T) -> bool:
    """
    Take something out of a dict, and tell whether it was still there.
    """
    try:
        del entries[entry]
    except KeyError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def discard(items: list[T] | deque[T], item: T) -> bool:
    """
    Take something out of a list or deque, and tell whether it was still there.
    """
    try:
        items.remove(item)
    except ValueError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def first_of(items: deque[T]) -> T | None:
    """
    Return what comes first, if there is anything.
    """
    try:
        return items[0]
    except IndexError as error:
        if is_a_handlers(error):
            raise
        return None


def pop_first(items: deque[T]) -> T | None:
    """
    Take out what comes first, if there is anything.
    """
    try:
        return items.popleft()
    except IndexError as error:
        if is_a_handlers(error):
            raise
        return None


def entries_of(entries: Iterable[T]) -> list[T]:
    """
    Return what is there now, in its order, while others change it.
    """
    while True:
        try:
            return list(entries)
        except RuntimeError as error:
            # A garbage collection came in between, and a destructor has changed it.
            if is_a_handlers(error):
                raise


def is_a_handlers(error: BaseException) -> bool:
    """
    Tell whether an exception comes out of a function that interrupted us, as a signal handler does,
    rather than out of a function of C that we called.
    """
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is not None
