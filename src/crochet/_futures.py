"""
A result as a ``concurrent.futures.Future``, for what works with those.

Its own state is the EventualResult's. What ``concurrent.futures.wait()``, ``as_completed()`` and
``asyncio.wrap_future()`` go by, the base class's, follows as soon as a thread of ours has come to
it. Not the reactor thread: the base class and those functions block in conditions and events, which
are Python code, and a signal's exception can leave one locked for ever. Then it is that thread that
hangs, as a worker of an executor would. For the same reason ``result()`` waits as the
EventualResult does.

That thread lives while there are futures to see to, and a second longer:

1. Someone with work appends it to the queue, then looks for the ticket. Who sees it starts a
   thread; who does not wakes the one that runs.
2. A thread takes the ticket, or ends: another has it.
3. Finding nothing for a second, it puts the ticket back, then looks at the queue again, and takes
   the ticket once more if there is something.

Verdict: work that was appended before the thread looked is found by it, and who appends later sees
the ticket. Two may see it, and start a thread each; one of those has nothing to do. The starter
does not take it, for a signal may come before the thread is there.
"""

from __future__ import annotations

import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from twisted.logger import Logger

from ._errors import TimeoutError
from ._faults import is_cancellation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_log = Logger(namespace="crochet")

# Seconds that a future may keep its condition locked, and how often that is tried meanwhile.
_STUCK = 5.0
_TRIES = 100

# Seconds that its starter waits for the thread to take the ticket.
_BEGINS = 0.1

# Seconds that the thread waits for more.
_LINGERS = 1.0


class Source(Protocol[T_co]):
    """
    What is needed of a result.
    """

    def done(self) -> bool: ...
    def wait(self, timeout: float | None) -> T_co: ...
    def cancel(self) -> None: ...
    def add_done_callback(self, callback: Callable[[Any], object]) -> None: ...


class ResultFuture(futures.Future[T]):
    """
    See :meth:`EventualResult.as_future`.
    """

    def __init__(
        self,
        source: Source[T],
        error_of: Callable[[], BaseException | None],
        is_running: Callable[[], bool],
        deliver: Callable[[Callable[[], object]], object],
    ) -> None:
        super().__init__()
        self._source = source
        self._error_of = error_of
        self._is_running = is_running
        self._deliver = deliver
        self._tries = 0
        source.add_done_callback(lambda _: deliver(self._follow))

    def _follow(self) -> None:
        """
        Tell those who go by the base class's state. Blocks: theirs are the callbacks.
        """
        if not self._condition.acquire(timeout=_STUCK / _TRIES):
            # A signal's exception may have left it locked for ever; others are waiting, too.
            self._tries += 1
            if self._tries < _TRIES:
                self._deliver(self._follow)
            return
        try:
            self._follow_now()
        finally:
            self._condition.release()

    def _follow_now(self) -> None:
        error = self._error_of()
        with suppress(futures.InvalidStateError):  # it has been cancelled
            if error is None:
                super().set_result(self._source.wait(0))
            elif is_cancellation(error):
                self._cancel()
            else:
                super().set_exception(error)

    def _cancel(self) -> bool:
        if not super().cancel():
            return False
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        return True

    def cancel(self) -> bool:
        """
        Cancel the operation. The future is cancelled at once, whatever the operation does then.

        Who is blocked in ``result()`` of it gets that when the operation has ended.
        """
        if self._source.done():
            return self.cancelled()
        self._source.cancel()
        return self._cancel()

    def cancelled(self) -> bool:
        """
        Tell whether it was cancelled. Unlike the base class's, it needs no lock.
        """
        return self._state in ("CANCELLED", "CANCELLED_AND_NOTIFIED")

    def done(self) -> bool:
        """
        Tell whether the answer is there, or the future cancelled.
        """
        return self._source.done() or self.cancelled()

    def running(self) -> bool:
        """
        Tell whether the body has started, and nothing come of it yet.
        """
        return not self.done() and self._is_running()

    def result(self, timeout: float | None = None) -> T:
        """
        Return the value, or raise the error, once it is there.
        """
        try:
            if not self.cancelled():
                return self._source.wait(timeout)
        except TimeoutError as error:
            if type(self._error_of()) is type(error):
                raise  # the operation's
            raise futures.TimeoutError(str(error)) from None  # another class on Python 3.10
        except BaseException as error:
            if not self._source.done() or not is_cancellation(error):
                raise
        raise futures.CancelledError

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """
        Return the error, or None for a value, once it is there.
        """
        try:
            self.result(timeout)
        except BaseException as error:
            # What is no answer ended this wait: Ctrl-C, or that the time is over.
            if type(self._error_of()) is not type(error):
                raise
            return error
        return None


class Deliveries:
    """
    Does what may block, in the order given, in a thread that is there while it is needed.

    Args:
        start_thread: starts a daemon thread of that target and name.
    """

    def __init__(
        self, start_thread: Callable[[Callable[[], object], str], threading.Thread]
    ) -> None:
        self._start_thread = start_thread
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """
        Begin anew, without thread or work.
        """
        self._queue: deque[Callable[[], object]] = deque()
        self._ticket = [None]  # whoever takes it runs the thread
        self._wake = allocate_lock()
        self._thread: threading.Thread | None = None
        self._patience = _LINGERS

    def __call__(self, work: Callable[[], object]) -> None:
        """
        Have something done. From any thread; blocks while a thread starts, if at all.
        """
        self._queue.append(work)
        if not self._ticket:
            with suppress(RuntimeError):  # it is awake
                self._wake.release()
            return
        began = allocate_lock()
        began.acquire()
        try:
            self._thread = self._start_thread(lambda: self._run(began), "crochet-futures")
            began.acquire(True, _BEGINS)  # or who comes next would start another
        except RuntimeError:
            # None can be started: CPython 3.12 starts no more as it exits. Do it here.
            self._do_all()

    def _run(self, began: LockType) -> None:
        try:
            self._ticket.pop()
        except IndexError:
            return
        finally:
            began.release()
        while True:
            self._do_all()
            if self._wake.acquire(True, self._patience) or self._queue:
                continue
            self._ticket.append(None)
            # Looked at after that; see the head of this file.
            if not self._queue:
                return
            try:
                self._ticket.pop()
            except IndexError:
                return  # whoever came with it starts another thread

    def _do_all(self) -> None:
        while self._queue:
            try:
                work = self._queue.popleft()
            except IndexError:
                return
            try:
                work()
            except BaseException:
                _log.failure("Error in what follows a future's end")
            del work  # it holds a future, and this thread may have nothing to do for long

    def stop(self, timeout: float) -> None:
        """
        Have the thread end when it has nothing more to do. Blocks up to *timeout* seconds.
        """
        self._patience = 0.0
        with suppress(RuntimeError):
            self._wake.release()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        self._patience = _LINGERS
