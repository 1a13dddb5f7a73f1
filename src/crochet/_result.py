"""
An answer that is still to come, and those who wait for it.

What must always hold:

1. A call is answered once, and then every waiter is released, whenever it came.
2. A call that was withdrawn before it started never starts.
3. Nothing here holds a lock, and the reactor thread waits for nobody.

``_work`` holds what is to be run. Taking it out is what starts or withdraws a call, and whoever
deletes the slot has it: ``del`` on a slot is one step of the interpreter, and the second to try
gets an AttributeError. So the reactor thread, which starts calls, and any thread that withdraws
one need no lock between them. (test_result.py steps it.)

The answer is stored first, the waiters are released after it:

1. A waiter puts its own locked lock into ``_wakers``, then looks at ``_outcome`` again.
2. The answering thread stores ``_outcome``, then pops and calls everything in ``_wakers``.

Verdict: if the waiter's second look is too early to see the answer, its lock is in the list by
the time the answering thread gets there. A waiter is a raw lock of its own, and no
threading.Event or Condition: those are Python code, which a raising signal handler can leave
locked, and then it is the reactor thread that blocks, for ever, in ``set()``.

Threads: a call is answered in the reactor thread. Only one that was withdrawn is answered by the
thread that withdrew it, so that its waiters need not wait for a busy reactor; should a signal end
that half-way, the reactor thread, which still has the call in its queue, does it again. A
Deferred is touched in the reactor thread only. Everything else may be called from any thread,
from a signal handler and from a ``__del__``, which may come between any two steps of this file.
"""

from __future__ import annotations

import math
from _thread import LockType, allocate_lock, get_ident
from collections.abc import Callable, Mapping
from contextvars import Context
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar, cast, final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from . import _errors
from ._coroutines import PLAIN, as_deferred, explained
from ._faults import Fault, Uncollected, is_cancellation
from ._timeouts import Seconds, acquire, seconds

T_co = TypeVar("T_co", covariant=True)

# What is to be run: the function, its arguments, and the caller's context variables.
Work = tuple[Callable[..., object], tuple[object, ...], Mapping[str, object], Context]

_log = Logger(namespace="crochet")


class _Pending(Enum):
    """
    The outcome of a call before it has one.
    """

    PENDING = "pending"


_PENDING: Final = _Pending.PENDING

# How long a wait that was given up waits for the reactor thread to look up from what it does and
# pass the cancellation on, and then for the operation to clean up behind itself, in seconds.
_NOTICE = 0.02
_GRACE = 1.0


class Home(Protocol):
    """
    What a result needs of the bridge that carries its call.
    """

    reactor_thread: int | None
    in_flight: set[EventualResult[object]]
    uncollected: Uncollected

    def cancel(self, result: EventualResult[object]) -> None:
        """
        Have the reactor thread cancel a call that has started.
        """

    def nudge(self) -> None:
        """
        Wake the reactor for what is queued, even if that seems to have been done.
        """

    @property
    def stash(self) -> Callable[[EventualResult[object]], int]:
        """
        Keeps a result until it is retrieved by the number returned.
        """
        ...


@final
class EventualResult(Generic[T_co]):
    """
    The result of a call to a function made by :func:`run_in_reactor`, once it is there.

    All methods may be called from any thread, and by any number of threads at once.
    """

    __slots__ = (
        "__weakref__",
        "_home",
        "_is_cancelled",
        "_is_told",
        "_name",
        "_outcome",
        "_running",
        "_wakers",
        "_work",
    )

    def __init__(
        self, home: Home, name: str, work: Work, wakers: list[Callable[[], object]]
    ) -> None:
        self._home = home
        self._name = name
        self._work = work
        # The answer: a value, or a Fault. Written once, before _wakers are called.
        self._outcome: object = _PENDING
        # What is to be called, once each, when the answer is there.
        self._wakers = wakers
        # The Deferred to cancel, while there is one. Reactor thread only.
        self._running: Deferred[object] | None = None
        # Whether somebody wanted it cancelled: then a CancelledError is no news. Only ever set.
        self._is_cancelled = False
        # Whether the reactor thread has passed that on to the operation. Only ever set.
        self._is_told = False

    def __repr__(self) -> str:
        state = "pending"
        if self.done():
            state = "failed" if type(self._outcome) is Fault else "done"
        return f"<EventualResult of {self._name}(): {state}>"

    def done(self) -> bool:
        """
        Tell whether the answer is there: a value or an error.

        Call it from any thread. Blocks never.
        """
        return self._outcome is not _PENDING

    def wait(self, timeout: Seconds = None) -> T_co:
        """
        Return the value, or raise the error, once it is there.

        A wait that ended without an answer, for lack of time or by a signal's exception, leaves
        the operation as it was; ``wait()`` again, or ``cancel()`` it.

        Call it from any thread but the reactor's; once :meth:`done`, from that one, too.
        Blocks up to *timeout* seconds.

        Args:
            timeout: seconds to wait at most. ``None`` and infinity stand for no limit; zero and
                less only look.

        Raises:
            TimeoutError: the answer was not there in time.
            DeadlockError: this is the reactor thread, and the answer is not there.
            ReactorStopped: the reactor ended before it answered.
            TypeError: *timeout* is no number.
            ValueError: *timeout* is NaN.
            BaseException: whatever the operation raised.
        """
        limit = seconds(timeout)
        if self._outcome is _PENDING:
            self._block(limit)
        outcome = self._outcome
        if type(outcome) is not Fault:
            return cast("T_co", outcome)
        try:
            outcome.throw()
        finally:
            # The traceback holds this frame; do not let it hold the result as well.
            del self, outcome

    def _block(self, limit: float) -> None:
        if get_ident() == self._home.reactor_thread:
            raise _errors.in_reactor_thread(self._name)
        gate = allocate_lock()
        gate.acquire()
        waker = gate.release
        self._wakers.append(waker)
        try:
            # The second look; see the head of this file.
            if self._outcome is _PENDING:
                acquire(gate, limit)
        finally:
            # Somebody who polls must not leave a lock behind each time.
            _remove(self._wakers, waker)
        if self._outcome is _PENDING:
            raise _errors.not_answered(
                self._name, limit, is_running=self._home.reactor_thread is not None
            )

    def cancel(self) -> None:
        """
        Ask the operation to end. What comes of it is seen in :meth:`wait`.

        A call that has not started never will, and is answered with Twisted's CancelledError at
        once. One that has started is told in the reactor thread, by ``cancel()`` of its Deferred;
        it may clean up first, answer something else, or ignore it. One that has been answered
        stays as it is.

        Call it from any thread. Blocks never.
        """
        self._is_cancelled = True
        if withdraw(self):
            _answer_withdrawn(self)
        elif self._outcome is _PENDING:
            self._home.cancel(self)

    def stash(self) -> int:
        """
        Keep the result in this process until :func:`retrieve_result` is called with the number
        that this returns, once; a second ``stash()`` gives a second number.

        The number is random and cannot be guessed: it may be given to a visitor, in a session or
        a hidden form field.

        Call it from any thread. Blocks never.
        """
        return self._home.stash(self)

    def original_failure(self) -> Failure | None:
        """
        Return the error as Twisted's Failure, or None while there is no error.

        Call it from any thread. Blocks never.
        """
        outcome = self._outcome
        return outcome.failure() if type(outcome) is Fault else None

    def add_done_callback(self, callback: Callable[[EventualResult[T_co]], object]) -> None:
        """
        Have *callback* called with this result once the answer is there.

        It is called in the thread that answers, in the order added, and must not block. That is
        the reactor thread, or the one that cancels a call which has not started. If the answer is
        there already, it is called here, before this returns. What it raises is logged.
        Like ``concurrent.futures.Future.add_done_callback``.

        Call it from any thread. Blocks never.
        """
        waker = partial(_call_back, callback, self)
        self._wakers.append(waker)
        # If the answer came before the append, nobody may have seen the callback. Whoever takes
        # it out of the list calls it.
        if self._outcome is not _PENDING and _remove(self._wakers, waker):
            waker()


def _remove(wakers: list[Callable[[], object]], waker: Callable[[], object]) -> bool:
    try:
        wakers.remove(waker)
    except ValueError:
        return False
    return True


def _call_back(
    callback: Callable[[EventualResult[T_co]], object], result: EventualResult[T_co]
) -> None:
    try:
        callback(result)
    except BaseException:  # SystemExit, too: others wait behind this one
        _log.failure("Error in a done callback of {result!r}", result=result)


# What follows belongs to the bridge and the wrappers rather than to users.


def start_in_reactor(result: EventualResult[object]) -> None:
    """
    Run the body, in the caller's context, and answer with what comes of it.
    """
    try:
        function, args, kwargs, context = result._work
        del result._work
    except AttributeError:
        # Withdrawn, and answered by whoever did that, unless a signal kept it from going through
        # with it. Do it again: what is done already stays as it is.
        _answer_withdrawn(result)
        return
    try:
        value = context.run(function, *args, **kwargs)
        deferred = None if type(value) in PLAIN else as_deferred(value, context)
    except BaseException as error:
        # Leave out this frame, the first: it says nothing of the program.
        traceback = error.__traceback__
        fail(result, error, traceback.tb_next if traceback else None)
        # The body's frame leads back to this one, and the result holds the traceback.
        del result, traceback
        return
    finally:
        del function, args, kwargs, context
    if deferred is None:
        answer(result, value)
    else:
        result._running = deferred
        # In a list, to be emptied: the frame of a callback that fails before ours leads back to
        # Twisted's, which has our arguments. And that of a coroutine that has failed, to this one.
        deferred.addBoth(_settle, [result])
        del result, deferred, value


def _settle(value: object, handed_over: list[EventualResult[object]]) -> object:
    """
    Answer with what a Deferred fired with, and leave a value to its other callbacks.
    """
    result = handed_over.pop()
    if isinstance(value, Failure):
        # From here on the result answers for the error: nobody else need log it.
        failure = cast("Any", value)
        fail(result, failure.value, failure.tb)
        return None
    answer(result, value)
    return value


def answer(result: EventualResult[object], outcome: object) -> None:
    """
    Store the answer, unless there is one, and release the waiters.
    """
    if result._outcome is _PENDING:
        result._outcome = outcome
        result._running = None
        result._home.in_flight.discard(result)
    wakers = result._wakers
    if len(wakers) > 1:
        wakers.reverse()  # the first added comes out first
    while wakers:
        # Popped one by one: an interrupted release can be taken up again, and each is called once.
        try:
            waker = wakers.pop()
        except IndexError:
            return  # a waiter has given up, or another thread releases, too, and took the last
        waker()


def fail(
    result: EventualResult[object], error: BaseException, traceback: TracebackType | None
) -> None:
    """
    Answer with an error, to be logged if nobody takes it.
    """
    error = explained(error, result._name)
    fault = Fault(result._name, error, traceback, result._home.uncollected)
    if result._is_cancelled and is_cancellation(error):
        fault.collect()  # as ordered
    answer(result, fault)


def end(result: EventualResult[object], error: BaseException) -> Deferred[object] | None:
    """
    Answer a call that nobody can run to its end any more, and return its Deferred if it has one.

    Its waiters learn of it; that nobody waits is no reason to log it.
    """
    withdraw(result)
    result._is_cancelled = True
    running = result._running
    fault = Fault(result._name, error, None, result._home.uncollected)
    fault.collect()
    answer(result, fault)
    return running


def orphan(result: EventualResult[object], error: BaseException) -> None:
    """
    Answer a call in a forked child: the waiters and callbacks are the parent's.
    """
    result._wakers.clear()
    end(result, error)


def cancel_in_reactor(result: EventualResult[object]) -> None:
    """
    Cancel the Deferred of a call that has started.
    """
    running = result._running
    if running is not None:
        running.cancel()
    result._is_told = True


def withdraw(result: EventualResult[object]) -> bool:
    """
    Tell whether the call had not started. It never will, then.
    """
    try:
        del result._work
    except AttributeError:
        return False
    return True


def abandon(result: EventualResult[object], gate: LockType | None = None) -> None:
    """
    See to it that a call whose caller was interrupted ends, or never starts.

    Blocks as give_up() does, or never without a gate.
    """
    try:
        if gate is None:
            result.cancel()
        elif not result._is_told:
            give_up(result, gate, math.inf)
    except BaseException:
        # A second interruption, before it was told or while waiting for its end.
        if not withdraw(result):
            result._home.cancel(result)
        raise
    finally:
        # The first may have cut a wake-up short.
        result._home.nudge()


def _answer_withdrawn(result: EventualResult[object]) -> None:
    result._is_cancelled = True  # by whoever withdrew it: nobody does so by accident
    fail(result, CancelledError(f"{result._name}() was cancelled before it started"), None)


def outcome_of(result: EventualResult[object]) -> object:
    """
    Return the answer as it is stored: a value, or a Fault.
    """
    return result._outcome


def give_up(result: EventualResult[object], gate: LockType, limit: float) -> TimeoutError | None:
    """
    Cancel an operation whose only waiter has lost patience; wait a moment for it to end.

    Blocks for as long as the reactor thread needs to take notice, 20 ms at most, and if it does,
    for the operation's cleanup, one second at most.

    Returns:
        What to tell the caller, or None: the answer was there before anything was cancelled.
    """
    result._is_cancelled = True
    if withdraw(result):
        # Nobody else has this result. Unlisted, it is as if it had never been; the reactor thread
        # finds it empty when it comes to it.
        result._home.in_flight.discard(result)
        return _errors.never_started(
            result._name, limit, is_running=result._home.reactor_thread is not None
        )
    if result._outcome is not _PENDING:
        return None
    result._home.cancel(result)
    has_ended = gate.acquire(True, _NOTICE) or (result._is_told and gate.acquire(True, _GRACE))
    return _errors.gave_up(result._name, limit, ended=has_ended)


def name_of(result: EventualResult[object]) -> str:
    """
    Return the name of the function called.
    """
    return result._name
