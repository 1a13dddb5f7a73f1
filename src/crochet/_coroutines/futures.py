"""
A result as a ``concurrent.futures.Future``, for what works with those.

What must always hold:

1. What becomes of a future is decided once, and ``done()``, ``cancelled()``, ``result()`` and
   ``exception()`` go by that, at once, without a lock.
2. The base class's state, by which ``concurrent.futures.wait()`` and ``as_completed()`` go, follows
   soon after, whatever the callbacks of other futures do.
3. The reactor thread waits for nothing here, nor does ``cancel()``.
4. In a forked child the parent's futures are done for those functions, too.

Threads: any may use a future. ``_condition``, which guards the base class's state, is Python code:
a signal's exception can leave it locked for ever. So only one thread of ours takes it, the worker
"crochet-futures", which tries for a bounded time. Callbacks may block, for another future, say, and
are called by a worker of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, cast

from .._errors import TimeoutError
from .._threads import clock
from .._threads.primitives import Waiter
from .._threads.threads import StartThread
from .._threads.timeouts import Seconds
from .._threads.worker import Worker
from .cancellation import is_cancellation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Seconds that a future may keep its condition locked, and how often that is tried meanwhile.
_STUCK = 5.0
_TRIES = 100

# Seconds that a callback may take while others wait, and between two looks at that.
_BLOCKS = 0.02
# Seconds that a thread without work waits for more before it ends.
_LINGERS = 1.0

# What may become of a future.
_ANSWERED: Final = "answered"
_CANCELLED: Final = "cancelled"


class Source(Protocol[T_co]):
    """
    What is needed of a result.
    """

    def done(self) -> bool: ...
    def wait(self, timeout: float | None) -> T_co: ...
    def cancel(self) -> None: ...
    def add_done_callback(self, callback: Callable[[Any], object]) -> None: ...


class Teller(Protocol):
    """
    Tells those of a future who go by the base class's state.
    """

    @property
    def inherited(self) -> threading.Condition:
        """
        The condition of futures made by another process; another one in each process.
        """
        ...

    def post(self, future: ResultFuture[Any]) -> None:
        """
        Have the state follow. From any thread; blocks never.
        """

    def call_back(self, future: ResultFuture[Any]) -> None:
        """
        Have the callbacks called. Where the state follows; blocks never.
        """


class ResultFuture(futures.Future[T]):
    """
    See :meth:`EventualResult.as_future`.

    Args:
        source: the result.
        error_of: returns the error that it was answered with, if any.
        is_running: tells whether its body has started.
        block: waits for the answer, up to a number of seconds, at a waiter.
        teller: tells others.
    """

    def __init__(
        self,
        source: Source[T],
        error_of: Callable[[], BaseException | None],
        is_running: Callable[[], bool],
        block: Callable[[Seconds, Waiter], object],
        teller: Teller,
    ) -> None:
        self._teller = teller
        self._inherited = teller.inherited
        super().__init__()
        self._source = source
        self._error_of = error_of
        self._is_running = is_running
        self._block = block
        # The first counts. To append is one step, so cancel() in one thread and another that first
        # sees the answer need no lock between them.
        self._fates: list[str] = []
        self._at: list[Waiter] = []
        self._is_told = False  # whether the operation has been told to end
        self._tries = 0
        if source.done():
            # Not as a callback: an exception that a signal handler raises would be taken for its.
            teller.post(self)
        else:
            source.add_done_callback(lambda _: teller.post(self))

    def _fate(self) -> str | None:
        """
        Return what has become of it. From any thread; blocks never.
        """
        fates = self._fates
        if not fates and self._source.done():
            error = self._error_of()
            fates.append(_ANSWERED if error is None or not is_cancellation(error) else _CANCELLED)
        return fates[0] if fates else None

    def cancel(self) -> bool:
        """
        Cancel the operation. The future is cancelled at once, whatever the operation does then.

        Who is blocked in ``result()`` of it gets a ``CancelledError`` at once, too. Blocks never.
        """
        if self._fate() is None:
            self._fates.append(_CANCELLED)  # before the operation can answer that it was
        if not self.cancelled():
            return False
        # Even if it was decided before: a signal's exception may have ended that cancel() here.
        if not self._is_told:
            self._source.cancel()
            self._is_told = True
        for waiter in self._at.copy():
            waiter.put(_raise_cancelled)
        self._teller.post(self)
        return True

    def cancelled(self) -> bool:
        """
        Tell whether it was cancelled.
        """
        return self._fate() is _CANCELLED

    def done(self) -> bool:
        """
        Tell whether the answer is there, or the future cancelled.
        """
        return self._fate() is not None

    def running(self) -> bool:
        """
        Tell whether the body has started, and nothing come of it yet.
        """
        return not self.done() and self._is_running()

    def result(self, timeout: float | None = None) -> T:
        """
        Return the value, or raise the error, once it is there.
        """
        self._wait(timeout)
        if not self.cancelled():
            return self._source.wait(0)
        error = self._error_of()
        if error is not None and is_cancellation(error):
            with suppress(type(error)):
                self._source.wait(0)  # which takes it, so that it is not logged
        raise futures.CancelledError

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """
        Return the error, or None for a value, once it is there.
        """
        self._wait(timeout)
        try:
            self.result(0)
        except BaseException as error:
            if type(self._error_of()) is not type(error):
                raise  # cancelled, or a signal's
            return error
        return None

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        waiter = Waiter()
        self._at.append(waiter)
        try:
            # cancel() decides, then puts a task to each waiter. It has found this one, or this
            # sees the decision.
            if not self.cancelled():
                self._block(timeout, waiter)
        except TimeoutError as error:
            raise futures.TimeoutError(str(error)) from None  # another class on Python 3.10
        finally:
            self._at.remove(waiter)

    # What the base class does, and functions that go by its state.

    _done_callbacks: list[Callable[[futures.Future[T]], object]]

    @property
    def _condition(self) -> threading.Condition:
        self.done()  # which takes notice of a fork, should no hook have done that
        inherited = self._teller.inherited
        if self._inherited is inherited:
            return self._own_condition
        # In a forked child. A thread that is not there may have had its own. As it is done there,
        # nobody waits for it, and this one can stand for those of all that were inherited.
        with inherited:
            if self._state == "PENDING" and self.done():
                self._waiters.clear()
                self._done_callbacks.clear()
                is_cancelled = self.cancelled()
                self._exception = None if is_cancelled else self._error_of()
                self._state = "CANCELLED_AND_NOTIFIED" if is_cancelled else "FINISHED"
        return inherited

    @_condition.setter
    def _condition(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, condition: threading.Condition
    ) -> None:
        self._own_condition = condition

    def follow(self) -> bool:
        """
        Have the base class's state follow. In a thread that may block, but for a bounded time.

        Returns:
            True if this is to be called again: somebody else has the condition.
        """
        if not self._condition.acquire(timeout=_STUCK / _TRIES):
            # A signal's exception may have left it locked for ever.
            self._tries += 1
            return self._tries < _TRIES
        try:
            if self._state == "PENDING":
                self._follow()
        finally:
            self._condition.release()
        return False

    def _follow(self) -> None:
        error = self._error_of()
        if self.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is None:
            self.set_result(self._source.wait(0))
        else:
            self.set_exception(error)

    def _invoke_callbacks(self) -> None:
        # The condition is locked here.
        if self._done_callbacks:
            self._teller.call_back(self)

    def call_callbacks(self) -> None:
        """
        Call the callbacks. Blocks as long as they do.
        """
        cast("Any", super())._invoke_callbacks()


def _raise_cancelled() -> None:
    raise futures.CancelledError


class Deliveries:
    """
    Tells of futures that are done, in threads that are there while they are needed.

    Args:
        start_thread: starts a daemon thread of that target and name.
    """

    def __init__(self, start_thread: StartThread) -> None:
        self._futures: Worker[ResultFuture[Any]] = Worker(
            start_thread, "crochet-futures", self._follow, self._look, lingers=_LINGERS
        )
        self._callbacks: Worker[ResultFuture[Any]] = Worker(
            start_thread,
            "crochet-future-callbacks",
            lambda future: future.call_callbacks(),
            lingers=_LINGERS,
        )
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """
        Begin anew, without threads or work.
        """
        self._futures.after_fork_in_child()
        self._callbacks.after_fork_in_child()
        self.inherited = threading.Condition()

    def post(self, future: ResultFuture[Any]) -> None:
        self._futures.post(future)

    def call_back(self, future: ResultFuture[Any]) -> None:
        self._callbacks.post(future)

    def _follow(self, future: ResultFuture[Any]) -> None:
        if future.follow():
            self.post(future)  # behind the others

    def _look(self) -> float | None:
        return _BLOCKS if self._callbacks.relieve(_BLOCKS) else None

    def stop(self, timeout: float) -> None:
        """
        Have the threads end when they have nothing more to do. Blocks up to *timeout* seconds.
        """
        end = clock.monotonic() + timeout
        self._futures.stop(timeout)  # which sees to it that all callbacks begin
        self._callbacks.stop(max(end - clock.monotonic(), 0.0))
