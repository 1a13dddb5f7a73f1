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

from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

# What a waiting thread can be asked to do.
Task = Callable[[], object]


class Waiter(SimpleQueue[Any]):  # None: look for the answer; or a Task
    """
    What one thread blocks on, until it is released or has something to do.

    Any thread, signal handler or destructor may ``put()``: ``None`` to release the waiter, or a
    function that is to be called in it. What is put once the wait is over is dropped with the
    waiter. (A SimpleQueue may be put to anywhere: it is made for that.)

    Attributes:
        call: what is waited for; set while the thread waits.
        outer: the same thread's wait that this one has interrupted, if any.
    """

    __slots__ = ("call", "outer")

    call: Any
    outer: Waiter | None

    def wait(self, seconds: float) -> Task | None:
        """
        Block until something is put, for so many seconds at most. Return the task, if it is one.
        """
        try:
            return self.get(True, seconds)  # type: ignore[no-any-return]
        except Empty as error:
            if is_a_handlers(error):
                raise
            return None

    def clear(self) -> None:
        """
        Drop what has been put. (The destructor of a dropped task may put to other waiters.)
        """
        while not self.empty():
            self.wait(0)


class Latch(SimpleQueue[None]):
    """
    Keeps any number of threads waiting until it is opened, for good.

    Any thread, signal handler or destructor may ``open()`` it. Those who wait go through one after
    the other, each of which lets the next through.
    """

    __slots__ = ()

    def open(self) -> None:
        """
        Let all through, now and later.
        """
        self.put(None)

    def wait(self, seconds: float) -> bool:
        """
        Block until it is open, for so many seconds at most. Tell whether it is.
        """
        try:
            self.get(True, seconds)
        except Empty as error:
            if is_a_handlers(error):
                raise
            return False
        self.put(None)
        return True


class Waits(dict[int, Waiter]):
    """
    Who waits for what: the innermost wait of each thread, by the thread's ident.

    Each thread writes its own entry only, any may read: ``get()`` and ``copy()`` are one step. A
    thread is listed right before it blocks, so what is read says that it is about to, or does.
    """

    def enter(self, ident: int, waiter: Waiter, call: Any) -> None:
        """
        Note that this thread waits at *waiter* for a call.
        """
        waiter.outer = self.get(ident)
        waiter.call = call  # from here on leave() acts
        self[ident] = waiter

    def leave(self, ident: int, waiter: Waiter) -> None:
        """
        Note that it does no more, if it did.
        """
        if getattr(waiter, "call", None) is None:
            return
        outer = waiter.outer
        if outer is None:
            self.pop(ident, None)
        else:
            self[ident] = outer
        waiter.call = None  # which has the waiter

    def release_own(self, ident: int) -> None:
        """
        Release all waits of this thread, should this be a signal handler in the middle of one.
        """
        waiter = self.get(ident)
        while waiter is not None:
            waiter.put(None)
            waiter = waiter.outer


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
