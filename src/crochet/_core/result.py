"""
The public handle of a call: the result that is still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import partial
from math import inf
from reprlib import Repr
from typing import Any, Generic, NoReturn, TypeVar, cast, final

from twisted.python.failure import Failure

from .._coroutines.await_result import awaiting
from .._coroutines.cancellation import is_cancellation
from .._threads.primitives import Waiter
from .._threads.timeouts import Seconds, seconds
from .call import PENDING, Call
from .deadline import get_end
from .failure import StoredError
from .progress import INTERVAL, OnProgress, Progress, progress_of
from .stash import TTL
from .waiting import displayed, onlooker, wait_for_answer, watch_call

T_co = TypeVar("T_co", covariant=True)

# Shows the beginning of a value or an error, whatever it is like.
_beginning = Repr()
_beginning.maxstring = _beginning.maxother = 60


@final
class EventualResult(Generic[T_co]):
    """
    The result of a call to a function made by :func:`run_in_reactor`, once it is there.

    All methods may be called from any thread, and by any number of threads at once.

    Example:
        >>> result = run_in_reactor(asyncio.sleep)(0.01, "tea")
        >>> result.wait(timeout=5.0)
        'tea'
        >>> result.done()
        True
    """

    # __dict__ is for the attributes of programs, which 2.1.1 allowed.
    __slots__ = ("__dict__", "__weakref__", "_call")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __repr__(self) -> str:
        outcome = self._call.outcome
        if outcome is PENDING:
            state = "pending"
        elif type(outcome) is StoredError:
            state = f"failed, {_beginning.repr(outcome.error)}"
        else:
            state = f"done, {_beginning.repr(outcome)}"
        return f"<EventualResult of {self._call.name}(): {state}>"

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be copied or pickled: a copy would be answered by nobody.
        """
        raise TypeError(
            "an EventualResult cannot be copied or pickled: only this one, of "
            f"{self._call.name}(), will be answered. Hand on the object itself, or the number that "
            "stash() returns, for retrieve_result() in this process"
        )

    def done(self) -> bool:
        """
        Tell whether the answer is there: a value or an error.

        Call it from any thread. Never blocks.
        """
        call = self._call
        if call.outcome is PENDING:
            call.bridge.notice_fork()
        return call.outcome is not PENDING

    def wait(self, timeout: Seconds = None, progress: OnProgress | None = None) -> T_co:
        """
        Return the value, or raise the error, once it is there.

        A wait that times out, or is ended by a signal's exception, leaves
        the operation as it was; ``wait()`` again, or ``cancel()`` it. A :class:`deadline` around
        it can make the time shorter.

        Call it from any thread but the reactor's; once :meth:`done`, from that one, too.
        Blocks up to *timeout* seconds.

        Args:
            timeout: seconds to wait at most. ``None`` and infinity stand for no limit; zero and
                less only look.
            progress: is called in this thread with a :class:`Progress`, for what the operation
                reports meanwhile: the newest ten times a second at most, and the last. What it
                raises ends the wait.

        Raises:
            TimeoutError: the answer was not there in time.
            DeadlockError: this is the reactor thread, and the answer is not there.
            ReactorStopped: the reactor ended before it answered.
            TypeError: *timeout* is not a number.
            ValueError: *timeout* is NaN.
            BaseException: whatever the operation raised.
        """
        limit = inf if timeout is None else seconds(timeout)  # no call for what most do
        call = self._call
        if call.outcome is PENDING:
            wait_for_answer(call, limit, progress=progress or displayed(call))
        elif progress is not None and (last := self.progress) is not None:
            progress(last)
        outcome = call.outcome
        if type(outcome) is not StoredError:
            return cast("T_co", outcome)
        try:
            outcome.throw()
        finally:
            # The traceback holds this frame; do not let it hold the result as well.
            __tracebackhide__ = True
            del self, call, outcome

    def result(self, timeout: Seconds = None) -> T_co:
        """
        Do as :meth:`wait` does, under the name that futures use.

        Call it from any thread but the reactor's; once :meth:`done`, from that one, too.
        Blocks up to *timeout* seconds.
        """
        try:
            return self.wait(timeout)
        finally:
            del self  # an error's traceback holds this frame

    def exception(self, timeout: Seconds = None) -> BaseException | None:
        """
        Return the error once the answer is there, or None if that is a value. The error then counts
        as collected: it is not logged.

        Call it from any thread but the reactor's; once :meth:`done`, from that one, too.
        Blocks up to *timeout* seconds.

        Args:
            timeout: as for :meth:`wait`.

        Raises:
            CancelledError: Twisted's: the operation was cancelled.
            BaseException: what a :meth:`wait` that ends without an answer raises.
        """
        limit = seconds(timeout)
        call = self._call
        if call.outcome is PENDING:
            wait_for_answer(call, limit)
        outcome = call.outcome
        if type(outcome) is not StoredError:
            return None
        try:
            outcome.throw()
        except BaseException as error:
            if type(error) is not type(outcome.error) or self.cancelled():
                raise  # the former is a signal handler's
            return error
        finally:
            del self, call, outcome  # the traceback holds this frame

    @property
    def progress(self) -> Progress | None:
        """
        How far the operation is, by its last :func:`report_progress`; None before the first.

        Ask for it in any thread, also once the answer is there. Never blocks.
        """
        return progress_of(self._call.reported)

    def watch(self, interval: Seconds = INTERVAL, heartbeat: Seconds = None) -> Iterator[Progress]:
        """
        Return an iterator over how far the operation is, which ends when the answer is there.

        It yields what was reported last, if that is new, once per *interval* at most; the last
        report comes also if the answer came with it. An operation that fails ends it, too:
        :meth:`wait` then raises the error. It leaves the operation as it is, however it ends.

        Call it from any thread. Never blocks; the iterator does, until there is something new, and
        is for any thread but the reactor's, one at a time.

        Args:
            interval: seconds.
            heartbeat: seconds after which the last one is yielded once more, if none is new;
                before the first report, one with nothing done. ``None`` and infinity for never.

        Raises:
            TypeError: *interval* or *heartbeat* is not a number.
            ValueError: one of them is NaN, or not above zero.

        The iterator raises:
            TimeoutError: a :class:`deadline` around it is over.
            DeadlockError: this is the reactor thread, and the answer is not there.
        """
        every, beat = seconds(interval, "an interval"), seconds(heartbeat, "a heartbeat")
        if min(every, beat) <= 0:
            raise ValueError(
                f"a result cannot be watched every {every:g} s, with a heartbeat of {beat:g} s: "
                "give seconds above zero"
            )
        return watch_call(self._call, every, beat)

    def cancelled(self) -> bool:
        """
        Tell whether the answer is that the operation was cancelled, as it was asked to be.

        Call it from any thread. Never blocks.
        """
        call = self._call
        error = _error_of(call)
        return error is not None and call.cancel_requested and is_cancellation(error)

    def cancel(self) -> None:
        """
        Ask the operation to end. :meth:`wait` shows the outcome.

        A call that has not started never will, and is answered with Twisted's CancelledError at
        once. One that has started is cancelled in the reactor thread, by ``cancel()`` of its
        Deferred; it may clean up first, answer something else, or ignore it. One that has been
        answered stays as it is.

        Call it from any thread. Never blocks.
        """
        self._call.bridge.notice_fork()
        self._call.cancel()

    def stash(self, ttl: Seconds = TTL) -> int:
        """
        Keep the result until :func:`retrieve_result` is called with the number that this returns,
        once; a second ``stash()`` gives a second number.

        The number is random and cannot be guessed: it may be given to a visitor, in a session or
        a hidden form field. It is valid in this process, or in all that share the stash that was
        given to :func:`setup`.

        Call it from any thread. Never blocks, but for a stash that processes share: until that has
        it, 10 s at most. In the reactor thread it never blocks; others may not find it at once.

        Args:
            ttl: seconds that it is kept; ``None`` and infinity for any time. What is pending then,
                and was not taken in this process, is cancelled.

        Raises:
            RuntimeError: as many results are kept as may be.
            OSError: the stash cannot be reached.
            TypeError: *ttl* is not a number.
            ValueError: *ttl* is not above zero.
        """
        return self._call.bridge.stash.put(self, ttl)

    def original_failure(self) -> Failure | None:
        """
        Return the error as Twisted's Failure, or None while there is no error.

        Call it from any thread. Never blocks.
        """
        outcome = self._call.outcome
        return outcome.failure() if type(outcome) is StoredError else None

    def add_done_callback(self, callback: Callable[[EventualResult[T_co]], object]) -> None:
        """
        Have *callback* called with this result once the answer is there.

        It is called in the reactor thread, in the order added, and must not block. If the answer is
        there already, it is called here, before this returns. What it raises is logged. Like
        ``concurrent.futures.Future.add_done_callback``. It is called once; and once more, should
        an exception that a signal handler raises in the reactor thread interrupt it.

        Call it from any thread. Never blocks.
        """
        call = self._call
        call.bridge.notice_fork()  # or it would take this for one of the parent's
        call.add_callback(partial(callback, self))

    def as_future(self) -> Future[T_co]:
        """
        Return a ``concurrent.futures.Future`` of the same answer.

        For ``concurrent.futures.wait`` and ``as_completed``, ``asyncio.wrap_future``, and all that
        takes such futures. ``cancel()`` cancels the operation, and the future at once;
        ``result()`` raises the operation's error, or ``concurrent.futures.CancelledError``. Its
        callbacks are called in a Crochet thread, one after the other; while one blocks, those of
        other futures are called in another thread.

        Call it from any thread. Never blocks.
        """
        from .._coroutines.futures import ResultFuture  # setup() has loaded it

        call = self._call
        return ResultFuture(
            self,
            partial(_error_of, call),
            lambda: not call.is_queued,
            partial(_block_at, call),
            call.bridge.teller,
        )

    def __await__(self) -> Generator[Any, Any, T_co]:
        """
        Await the answer, in an asyncio or trio loop of any thread, or in the reactor thread.

        The loop is free meanwhile, and no thread is used up. An await that ends early, because its
        task is cancelled or its time is over, cancels the operation.

        Call it from any thread that runs such a loop, in a coroutine. Never blocks.

        Raises:
            TimeoutError: a :class:`deadline` around it is over.
            RuntimeError: there is no such loop.
            BaseException: whatever the operation raised, or the loop throws in.
        """
        call = self._call
        bridge = call.bridge
        bridge.notice_fork()
        explain = partial(bridge.explain, call)
        end, looks_on = get_end(), onlooker(call)
        return awaiting(self, call.name, bridge.reactor_thread, bridge.call, explain, end, looks_on)


def call_of(result: EventualResult[object]) -> Call:
    """
    Return the call whose answer a result is.
    """
    return result._call


def _error_of(call: Call) -> BaseException | None:
    outcome = call.outcome
    return outcome.error if type(outcome) is StoredError else None


def _block_at(call: Call, timeout: Seconds, waiter: Waiter) -> None:
    """
    Wait for an answer at a waiter to which another thread may put tasks.
    """
    limit = seconds(timeout)
    if call.outcome is PENDING:
        wait_for_answer(call, limit, waiter)
