"""
A daemon thread with an inbox, which is there while there is something to do.

What must always hold:

1. Whoever posts an item never waits: not for the thread, not for its start, and for no lock that a
   signal's exception can leave locked.
2. An item that was posted is done, once, in the order posted, whatever earlier ones raise.
3. One thread is at the inbox; another one only finishes the item that it has, and may take one
   more if it was blocked there. At rest there is none.
4. A forked child begins without thread or items.

Threads: any may post, also in a signal handler or a destructor: a SimpleQueue takes that. The one
that finds nobody at the inbox starts a thread by ``_thread.start_new_thread()``, which does not
wait for it. ``Thread.start()`` does, for as long as busy threads keep the interpreter's lock; so
it is called by that new thread, which ends when the worker's own, one that ``threading`` knows, has
begun, and before that one ends.

``_shift`` says who is at the inbox, and is written without a lock: whoever starts a thread writes
a new shift, and a thread that finds another's ends. One that finds None writes its own again.

1. A poster puts its item, then looks at ``_shift``. If that is None, it starts a thread.
2. A thread that has found nothing for a while writes None, then looks at the inbox again, and if
   there is something, goes on, or leaves it to a thread that was started since.

Verdict: an item put before the last look of 2 is found by it, and who puts one later sees None.
Two that see None start two threads, and the one whose shift was overwritten ends without taking
anything, or after the item that it has. A signal's exception in the poster may come when the new
thread is under way, or before: None is written, so that this thread takes the inbox, or else the
next poster starts one. (test_worker.py steps each of these.)
"""

from __future__ import annotations

import threading
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from twisted.logger import Logger

from .clock import monotonic
from .primitives import is_a_handlers
from .threads import StartThread

T = TypeVar("T")

_log = Logger(namespace="crochet")

# Seconds that a thread without work waits for more before it ends.
_LINGERS = 1.0
# Seconds between two calls of `look`, while there is something to look after.
_INTERVAL = 0.02


def _nothing() -> bool:
    return False


class Worker(Generic[T]):
    """
    Does one thing with each item that is posted, in a thread of its own.

    Args:
        start_thread: starts a daemon thread of that target and name, and may wait for it.
        name: of the thread.
        work: is called with each item. May block; what it raises is logged.
        look: is called before each wait for an item. While it returns True it is called again
            every 20 ms, and the thread does not end.
        begin: calls a function in a new thread, without waiting for it, like
            ``_thread.start_new_thread``.
    """

    def __init__(
        self,
        start_thread: StartThread,
        name: str,
        work: Callable[[T], object],
        look: Callable[[], bool] = _nothing,
        begin: Callable[[Callable[..., object], tuple[Any, ...]], object] = start_new_thread,
    ) -> None:
        self._start_thread = start_thread
        self._name = name
        self._work = work
        self._look = look
        self._begin = begin
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """
        Begin anew, without thread or items.
        """
        self._inbox: SimpleQueue[T | _Stop] = SimpleQueue()
        self._shift: _Shift | None = None  # any thread writes; see the head of this file
        self._thread: threading.Thread | None = None  # the last; written by itself

    def post(self, item: T) -> None:
        """
        Have *item* worked on. From any thread. Blocks never, unless no thread can be started.
        """
        self._put(item)

    def _put(self, item: T | _Stop) -> None:
        self._inbox.put(item)
        if self._shift is None:  # looked at after the former; see the head of this file
            self._start()

    def _start(self) -> None:
        shift = self._shift = _Shift()
        try:
            self._begin(self._start_in_thread, (shift,))
        except BaseException as error:
            self._shift = None
            if not isinstance(error, RuntimeError) or is_a_handlers(error):
                raise
            # There are too many threads, or CPython 3.12 exits, which then starts no more.
            self._do_all()

    def _start_in_thread(self, shift: _Shift) -> None:
        try:
            self._start_thread(partial(self._run, shift), self._name)
        except Exception:
            self._shift = None
            self._do_all()
        finally:
            shift.begun.release()

    def _run(self, shift: _Shift) -> None:
        shift.ident = get_ident()
        self._thread = threading.current_thread()
        stops: list[_Stop] = []
        try:
            while self._is_at_inbox(shift):
                is_needed = self._look()
                wait = _INTERVAL if is_needed else 0.0 if stops else _LINGERS
                try:
                    item = self._inbox.get(True, wait)
                except Empty:
                    if not is_needed and self._has_left(shift):
                        break
                    continue
                if isinstance(item, _Stop):
                    stops.append(item)
                    continue
                shift.since = monotonic()
                self._do(item)
                shift.since = None
                del item  # it may hold much, and this thread have nothing to do for long
        finally:
            if self._shift is shift:  # an error: whoever comes next starts another thread
                self._shift = None
            for stop in stops:
                stop.reached.release()
            shift.begun.acquire()  # the thread that has started this one ends before it

    def _is_at_inbox(self, shift: _Shift) -> bool:
        if self._shift is None:
            self._shift = shift
        return self._shift is shift

    def _has_left(self, shift: _Shift) -> bool:
        if self._shift is shift:
            self._shift = None
        return self._inbox.empty()  # looked at after that; see the head of this file

    def _do(self, item: T) -> None:
        try:
            self._work(item)
        except BaseException:
            _log.failure("Error in the thread {name!r}", name=self._name)

    def _do_all(self) -> None:
        while True:
            try:
                item = self._inbox.get(False)
            except Empty:
                return
            if isinstance(item, _Stop):
                item.reached.release()
            else:
                self._do(item)

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
            self._start()
        return True

    def stop(self, timeout: float) -> bool:
        """
        Have the thread end when it has nothing more to do. Blocks up to *timeout* seconds.

        Returns:
            True if it has ended.
        """
        shift = self._shift
        if shift is not None and shift.ident == get_ident():
            return False  # it would wait for itself
        end = monotonic() + timeout
        if shift is not None or not self._inbox.empty():
            stop = _Stop()
            self._put(stop)
            if not stop.reached.acquire(True, max(timeout, 0.0)):
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

    __slots__ = ("begun", "ident", "since")

    def __init__(self) -> None:
        self.begun = allocate_lock()  # released when the thread that starts it is about to end
        self.begun.acquire()
        self.ident: int | None = None  # written once, by the thread
        self.since: float | None = None  # when it began its item; written by the thread


class _Stop:
    """
    In the inbox: the thread is to end when there is nothing more, and say so.
    """

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = allocate_lock()
        self.reached.acquire()
