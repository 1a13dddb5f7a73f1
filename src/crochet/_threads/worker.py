"""
A daemon thread with an inbox.

What must always hold:

1. Posting an item never waits: not for the thread, not for its start, and for no lock that an
   exception raised by a signal handler can leave locked.
2. Each posted item is done once, in the order posted, whatever earlier ones raise.
3. One thread is at the inbox. Another one only finishes the item that it has, and may take one
   more if it was blocked there.
4. A forked child begins without thread or items.

There are two kinds. One that *lingers* for a while starts a thread when an item comes and ends it
when none has come for that long. One that lingers for ever has its thread from start() to stop();
before and after that, post() does the work itself.

Threads: any may post, also in a signal handler or a destructor: a SimpleQueue allows that.

``_shift`` says who is at the inbox, and is written without a lock: a thread that finds another's
shift there ends, and one that finds None writes its own again. (test_worker.py steps each race
that is told below.)
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident, start_new_thread
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from twisted.logger import Logger

from .clock import monotonic
from .primitives import Latch, is_a_handlers
from .threads import StartThread

T = TypeVar("T")

_log = Logger(namespace="crochet")


# In a forked child, what the parent's threads wait at. CPython 3.13 and newer know by a queue's
# address who waits there, and forget those threads only if it is Python that forks: after a fork in
# C, another queue at that address would have the child crash.
_inherited: list[object] = []


def _nothing() -> None:
    return None


class Worker(Generic[T]):
    """
    Does one thing with each item that is posted, in a thread of its own.

    Args:
        start_thread: starts a daemon thread of that target and name, and may wait for it.
        name: of the thread.
        work: is called with each item. May block; what it raises is logged.
        look: is called before each wait for an item, and returns after how many seconds it is to
            be called again at the latest. With None the thread may end.
        end: is called by each thread when it ends, to give back what is that thread's own.
        lingers: seconds that a thread without work waits for more before it ends; None for ever.
        begin: calls a function in a new thread, without waiting for it, like
            ``_thread.start_new_thread``.
    """

    def __init__(
        self,
        start_thread: StartThread,
        name: str,
        work: Callable[[T], object],
        look: Callable[[], float | None] = _nothing,
        end: Callable[[], object] = _nothing,
        *,
        lingers: float | None,
        begin: Callable[[Callable[..., object], tuple[Any, ...]], object] = start_new_thread,
    ) -> None:
        self._start_thread = start_thread
        self._name = name
        self._work = work
        self._look = look
        self._end = end
        self._lingers = lingers
        self._begin = begin
        self._shift: _Shift | None = None  # any thread writes; see the head of this file
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """
        Begin anew, without thread or items. If this is in an item, its thread ends after that.
        """
        if self._shift is not None:
            self._shift.is_wanted = False
        self._shift = None
        if hasattr(self, "_inbox"):
            _inherited.append(self._inbox)
        self._inbox: SimpleQueue[T | _Mark] = SimpleQueue()
        self._urgent: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None  # the last; written by itself

    def start(self) -> None:
        """
        Start the thread of a worker that lingers for ever. Blocks until it runs.

        Raises:
            RuntimeError: no thread can be started. Nothing has changed.
        """
        shift = self._shift = _Shift()
        shift.begun.open()
        try:
            self._start_thread(partial(self._run, shift), self._name)
        except BaseException:
            # A signal handler's exception may have come when the thread had been started. Either
            # it finds that it is not wanted when it begins, or this finds that it has begun.
            shift.is_wanted = False
            if shift.ident is None:
                self._shift = None
            else:
                self._inbox.put(_Mark(is_end=True))
            raise

    @property
    def has_thread(self) -> bool:
        """
        Whether there is a thread at the inbox, or on its way to it.
        """
        return self._shift is not None

    def is_current(self) -> bool:
        """
        Tell whether the thread that calls this is the one at the inbox.
        """
        shift = self._shift
        return shift is not None and shift.ident == get_ident()

    def waiting(self) -> int:
        """
        Count the items in the inbox.
        """
        return self._inbox.qsize()

    @property
    def put(self) -> Callable[[T], object]:
        """
        What leaves an item for a thread that is at work, or will be. From any thread; blocks never.

        It is a function of C, for the process that this is asked in: a forked child has another.
        """
        return self._inbox.put

    def post(self, item: T | _Mark) -> None:
        """
        Have *item* worked on. From any thread. Blocks never, unless there is no thread for it.
        """
        if sys.is_finalizing():
            self._post_at_exit(item)
            return
        self._inbox.put(item)
        # After that. A thread that leaves writes None first, and then looks at the inbox: so either
        # it finds the item, or this finds None.
        if self._shift is None:
            self._go_on()

    def _post_at_exit(self, item: T | _Mark) -> None:
        # The interpreter's end has frozen the thread. If that waits for an item, it must not get
        # this one: a SimpleQueue of CPython 3.13 hands it over to the waiting thread at once.
        shift = self._shift
        if shift is None or shift.since is None:
            self._drain()
            self._do_here(item)
        else:
            self._inbox.put(item)  # it may hold locks of what it was at; nobody goes on with that

    def wake(self) -> None:
        """
        Have `look` called soon, if there is a thread. From any thread; blocks never.
        """
        # If there is something in the inbox, the thread has yet to take that, and then looks.
        if self._inbox.empty():
            self._inbox.put(_Mark(is_end=False))

    def caller(self) -> Callable[..., object] | None:
        """
        Return what has the thread call something; None if that is this thread, or there is none.
        """
        return None if self._shift is None or self.is_current() else self._call_from_thread

    def _call_from_thread(self, function: Callable[..., object], /, *args: object) -> None:
        # Between two items, before those that wait.
        self._urgent.append(partial(function, *args))
        self.wake()

    def _go_on(self) -> None:
        if self._lingers is None:
            self._drain()
            return
        # Two that find None both start a thread. The one whose shift is overwritten ends without
        # taking anything, or after the item that it has.
        shift = self._shift = _Shift()
        try:
            # Thread.start() waits until the new thread runs, for as long as busy threads keep the
            # GIL. So it is called by a thread that nobody waits for.
            self._begin(self._start_in_thread, (shift,))
        except BaseException as error:
            # If it is a signal handler's, the thread may be under way. Then it finds None, and
            # takes the inbox all the same; or else the next to post starts one.
            self._shift = None
            if not isinstance(error, RuntimeError) or is_a_handlers(error):
                raise
            # There are too many threads, or CPython 3.12 exits, which then starts no more.
            self._drain()

    def _start_in_thread(self, shift: _Shift) -> None:
        try:
            self._start_thread(partial(self._run, shift), self._name)
        except Exception:
            self._shift = None
            self._drain()
        finally:
            shift.begun.open()

    def _run(self, shift: _Shift) -> None:
        shift.ident = get_ident()
        self._thread = threading.current_thread()
        ends: list[_Mark] = []
        try:
            while self._is_at_inbox(shift):
                wait = self._look()
                is_idle = wait is None
                if wait is None:
                    wait = 0.0 if ends else self._lingers
                try:
                    # Up to CPython 3.12 a timeout of zero may last for ever; PyPy refuses it.
                    item = self._inbox.get(wait != 0, wait or None)
                except Empty:
                    if is_idle and self._has_left(shift):
                        break
                    continue
                except MemoryError:  # for want of a few bytes; there may be some again
                    continue
                while self._urgent:
                    self._urgent.popleft()()
                if not isinstance(item, _Mark):
                    shift.since = monotonic()
                    self._do(item)
                    shift.since = None
                elif item.is_end:
                    ends.append(item)
                else:
                    item.reached.open()
                del item  # it may hold much, and this thread have nothing to do for long
        finally:
            if self._shift is shift:  # an error: the next to post starts another thread
                self._shift = None
            try:
                self._end()
            except BaseException:
                _log.failure("Error at the end of the thread {name!r}", name=self._name)
            for end in ends:
                end.reached.open()
            if shift.is_wanted:
                shift.begun.wait(inf)  # the thread that has started this one ends before it

    def _is_at_inbox(self, shift: _Shift) -> bool:
        if self._shift is None:
            self._shift = shift
        return self._shift is shift and shift.is_wanted

    def _has_left(self, shift: _Shift) -> bool:
        if self._shift is shift:
            self._shift = None
        return self._inbox.empty()  # after that; see post()

    def _do(self, item: T) -> None:
        try:
            self._work(item)
        except BaseException:
            _log.failure("Error in the thread {name!r}", name=self._name)

    def _drain(self) -> None:
        """
        Do in this thread, for want of another, what is in the inbox. Blocks as long as that takes.
        """
        while True:
            try:
                item = self._inbox.get(False)
            except Empty:
                break
            self._do_here(item)
        self._look()

    def _do_here(self, item: T | _Mark) -> None:
        if isinstance(item, _Mark):
            item.reached.open()
            return
        try:
            self._work(item)
        except Exception:  # nothing else: that is a signal handler's, and for this thread
            _log.failure("Error in work of the thread {name!r}", name=self._name)

    def relieve(self, patience: float) -> bool:
        """
        Have another thread go on with the inbox if the one that is at it has been at its item for
        more than *patience* seconds. That one ends when its item is done.

        Returns:
            True if there are items in the inbox: then call this again soon.
        """
        if self._inbox.empty():
            return False
        shift = self._shift
        since = None if shift is None else shift.since
        if shift is None or (since is not None and monotonic() - since > patience):
            self._go_on()
        return True

    def flush(self, timeout: float, *, is_end: bool = False) -> bool:
        """
        Wait until the items that are in the inbox now are done. Blocks up to *timeout* seconds.

        Args:
            timeout: seconds.
            is_end: have the thread end when it has nothing more to do, and wait for that.

        Returns:
            True if all are done.
        """
        mark = _Mark(is_end)
        self.post(mark)
        if self.is_current() or sys.is_finalizing():
            timeout = 0.0  # it would wait for itself, or for a frozen thread
        return mark.reached.wait(max(timeout, 0.0))

    def stop(self, timeout: float) -> bool:
        """
        Have the thread end when it has nothing more to do. Blocks up to *timeout* seconds.

        Returns:
            True if it has ended.
        """
        end = monotonic() + min(timeout, threading.TIMEOUT_MAX)
        is_needed = self._shift is not None or not self._inbox.empty()
        if is_needed and not self.flush(timeout, is_end=True):
            return False
        thread = self._thread  # which may be about to end, also if it had left the inbox
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(end - monotonic(), 0.0))
        return not thread.is_alive()


class _Shift:
    """
    A thread's time at the inbox.
    """

    __slots__ = ("begun", "ident", "is_wanted", "since")

    def __init__(self) -> None:
        self.begun = Latch()  # opened when the thread that starts it is about to end
        self.ident: int | None = None  # written once, by the thread
        self.is_wanted = True  # false if start() has failed, or in a forked child
        self.since: float | None = None  # when it began its item; written by the thread


class _Mark:
    """
    In the inbox: the thread is to say that it has come here, and perhaps to end.
    """

    __slots__ = ("is_end", "reached")

    def __init__(self, is_end: bool) -> None:
        self.is_end = is_end
        self.reached = Latch()
