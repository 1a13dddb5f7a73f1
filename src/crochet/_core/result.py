"""
An answer that is still to come, and those who wait for it.

What must always hold:

1. A call is answered once, and then every waiter is released, whenever it came.
2. A call that was withdrawn before it started never starts.
3. Nothing here holds a lock, and the reactor thread waits for nobody.

``_work`` holds what is to be run. Taking it out is what starts or withdraws a call, and whoever
deletes the slot has it: ``del`` on a slot is one step of the interpreter, and the second to try
gets an AttributeError. So the reactor thread, which starts calls (_core/call.py), and any thread
that withdraws one need no lock between them. (test_result.py steps it.)

The answer is stored first, the waiters are released after it:

1. A waiter puts what opens its own locked lock into ``_waiters``, then looks at ``_outcome`` again.
2. The answering thread stores ``_outcome``, then calls everything in ``_waiters``.

Verdict: if the waiter's second look is too early to see the answer, its lock is among them by
the time the answering thread gets there. A waiter is a raw lock of its own, and no
threading.Event or Condition: those are Python code, which a raising signal handler can leave
locked, and then it is the reactor thread that blocks, for ever, in ``set()``.

Threads: a call is answered in the reactor thread. One that was withdrawn is answered by the thread
that withdrew it, so that those blocked in wait() need not wait for a busy reactor; its done
callbacks are called in the reactor thread, which still has the call in its queue. For in the main
thread a signal's exception can end anything half-way, and a callback that was begun would be lost.
The reactor thread goes on with whatever that exception kept the other from, too.
A Deferred is touched in the reactor thread only. Everything else may be called from any thread,
from a signal handler and from a ``__del__``, which may come between any two steps of this file.

What a ``wait_for`` function does when its time is over is told in _core/waiting.py.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock, get_ident
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextvars import Context
from enum import Enum
from functools import partial
from sys import _getframe
from types import CodeType, TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    NoReturn,
    Protocol,
    TypeVar,
    cast,
    final,
)
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import _errors
from .._coroutines.await_result import awaiting
from .._coroutines.follow import explained
from .._errors import Limit, Reason
from .._threads.clock import monotonic
from .._threads.handoff import Relay, entries, is_a_handlers, open_gate, took
from .._threads.primitives import drop_errands, run_errands
from .deadline import get_end
from .failure import Fault, Uncollected, is_cancellation
from .timeouts import LONGEST, Seconds, acquire_until, seconds

if TYPE_CHECKING:
    from .._coroutines.futures import Teller

T_co = TypeVar("T_co", covariant=True)

# What is to be run: the function, its arguments, and the caller's context variables.
Work = tuple[Callable[..., object], tuple[object, ...], Mapping[str, object], Context]

_log = Logger(namespace="crochet")


class _Pending(Enum):
    """
    The outcome of a call before it has one.
    """

    PENDING = "pending"


PENDING: Final = _Pending.PENDING


class Home(Protocol):
    """
    What a result needs of the bridge that carries its call.
    """

    reactor_thread: int | None
    flights: set[ref[EventualResult[object]]]
    watched: set[EventualResult[object]]
    gates: set[LockType]
    looked_at: float
    uncollected: Uncollected
    teller: Teller

    def call(self, function: Callable[..., object], /, *args: object) -> None:
        """
        Have the reactor thread call something.
        """

    def cancel(self, result: EventualResult[object]) -> None:
        """
        Have the reactor thread cancel a call that has started.
        """

    def explain(self, result: EventualResult[object]) -> Reason:
        """
        Tell why a call has no answer yet.
        """
        ...

    def look_up(self) -> float:
        """
        Do what a thread that waits does now and then; return how long it may wait until then.
        """
        ...

    @property
    def relay(self) -> Relay:
        """
        Lets waiters through whose answers came together.
        """
        ...

    def notice_fork(self) -> None:
        """
        Disown what is a parent's, should this be a child that was forked behind Python's back.
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
        "__dict__",  # for the attributes of programs, which 2.1.1 allowed
        "__weakref__",
        "_caller",
        "_home",
        "_is_cancelled",
        "_is_told",
        "_made",
        "_name",
        "_offset",
        "_outcome",
        "_running",
        "_started",
        "_waiters",
        "_work",
    )

    def __init__(
        self,
        home: Home,
        name: str,
        work: Work,
        waiters: dict[Callable[[], object], None],
    ) -> None:
        self._home = home
        self._name = name
        self._work: Any = work
        # The answer: a value, or a Fault. Written once, before _waiters are called.
        self._outcome: object = PENDING
        # What is to be called when the answer is there, in this order: what opens the locks of
        # those who wait, and the done callbacks, which are partial. A dict, for each takes out its
        # own. Single operations only.
        self._waiters = waiters
        # The Deferred to cancel, while there is one. Reactor thread only.
        self._running: Deferred[object] | None = None
        # Whether somebody wanted it cancelled: then a CancelledError is no news. Only ever set.
        self._is_cancelled = False
        # Whether the reactor thread has passed that on to the operation. Only ever set.
        self._is_told = False
        # For status() and for the texts of errors; by time.monotonic(), in seconds. _started is
        # not there before the call has started, and then written once, in the reactor thread.
        self._made = monotonic()
        self._started: float
        # The code that called the decorated function, and where in it, in units of two bytes, for
        # small numbers take no memory. No frame: that would keep its locals alive. And no line:
        # to find it takes longer, and nobody may ever ask.
        try:
            frame = _getframe(2)
        except ValueError:  # called by no Python code, but as a thread or an exit hook
            self._caller: CodeType | None = None
            self._offset = 0
        else:
            self._caller = frame.f_code
            self._offset = frame.f_lasti >> 1

    def __repr__(self) -> str:
        state = "pending"
        if self.done():
            state = "failed" if type(self._outcome) is Fault else "done"
        return f"<EventualResult of {self._name}(): {state}>"

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be copied or pickled: a copy would be answered by nobody.
        """
        raise TypeError(
            f"an EventualResult cannot be copied or pickled: only this one, of {self._name}(), "
            "will be answered. Hand on the object itself, or the number that stash() returns, for "
            "retrieve_result() in this process"
        )

    def done(self) -> bool:
        """
        Tell whether the answer is there: a value or an error.

        Call it from any thread. Blocks never.
        """
        if self._outcome is PENDING:
            self._home.notice_fork()
        return self._outcome is not PENDING

    def wait(self, timeout: Seconds = None) -> T_co:
        """
        Return the value, or raise the error, once it is there.

        A wait that ended without an answer, for lack of time or by a signal's exception, leaves
        the operation as it was; ``wait()`` again, or ``cancel()`` it. A :class:`deadline` around
        it can make the time shorter.

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
        if self._outcome is PENDING:
            self._block(limit)
        outcome = self._outcome
        if type(outcome) is not Fault:
            return cast("T_co", outcome)
        try:
            outcome.throw()
        finally:
            # The traceback holds this frame; do not let it hold the result as well.
            del self, outcome

    def _block(self, limit: float, gate: LockType | None = None) -> None:
        self._home.notice_fork()
        if get_ident() == self._home.reactor_thread:
            raise _errors.in_reactor_thread(self._name)
        now = monotonic()
        end = get_end()
        by_deadline = end < now + limit
        if not by_deadline:
            end = now + limit
        relay = self._home.relay
        if gate is None:
            gate = allocate_lock()
            gate.acquire()
        waker = gate.release
        gates = self._home.gates
        self._waiters[waker] = None
        try:
            gates.add(gate)
            # The second look; see the head of this file. And a gate may open for an errand.
            look_up = self._home.look_up
            until = min(end, now + LONGEST)
            while self._outcome is PENDING:
                if acquire_until(gate, until, look_up):
                    if self._outcome is PENDING:
                        run_errands(gate)
                elif until < end:
                    from .._diagnostics.in_loop import warn_if_in_loop  # setup() has loaded it

                    until = end
                    warn_if_in_loop(self._name)
                else:
                    break
            # Somebody who polls must not leave a lock behind each time.
            self._waiters.pop(waker, None)
            if relay.turns:
                relay.pass_on(waker)
        except BaseException:
            self._waiters.pop(waker, None)
            relay.open_all()  # this may be the one for whom others wait
            raise
        finally:
            gates.discard(gate)
            drop_errands(gate)
            del gate, waker  # the traceback of an error holds this frame
        if self._outcome is PENDING:
            reason = self._home.explain(self)
            raise _errors.not_answered(self._name, Limit(max(end - now, 0.0), by_deadline), reason)

    def cancel(self) -> None:
        """
        Ask the operation to end. What comes of it is seen in :meth:`wait`.

        A call that has not started never will, and is answered with Twisted's CancelledError at
        once. One that has started is told in the reactor thread, by ``cancel()`` of its Deferred;
        it may clean up first, answer something else, or ignore it. One that has been answered
        stays as it is.

        Call it from any thread. Blocks never.
        """
        self._home.notice_fork()
        self._is_cancelled = True
        if withdraw(self):
            answer_withdrawn(self, calls_back=False)
        elif self._outcome is PENDING:
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

        It is called in the reactor thread, in the order added, and must not block. If the answer is
        there already, it is called here, before this returns. What it raises is logged. Like
        ``concurrent.futures.Future.add_done_callback``. It is called once; and once more, should
        an exception that a signal handler raises in the reactor thread interrupt it.

        Call it from any thread. Blocks never.
        """
        self._home.notice_fork()  # or it would take this for one of the parent's
        waiter: Callable[[], object] = partial(_call_back, callback, self)
        watched = self._home.watched
        watched.add(self)  # somebody is to be told, even if nobody holds this; see Bridge.flights
        self._waiters[waiter] = None
        if self._outcome is PENDING:
            return
        # The answer came before, or just now, and nobody may have seen the callback. Whoever takes
        # it out calls it.
        watched.discard(self)
        if took(self._waiters, waiter):
            try:
                callback(self)
            except Exception:  # Ctrl-C is meant for this thread
                _log.failure("Error in a done callback of {result!r}", result=self)

    def as_future(self) -> Future[T_co]:
        """
        Return a ``concurrent.futures.Future`` of the same answer.

        For ``concurrent.futures.wait`` and ``as_completed``, ``asyncio.wrap_future``, and all that
        takes such futures. ``cancel()`` cancels the operation, and the future at once;
        ``result()`` raises the operation's error, or ``concurrent.futures.CancelledError``. Its
        callbacks are called in a thread of ours, one after the other; while one blocks, those of
        other futures are called in another thread.

        Call it from any thread. Blocks never.
        """
        from .._coroutines.futures import ResultFuture  # setup() has loaded it

        return ResultFuture(
            self,
            partial(_error_of, self),
            partial(has_started, self),
            partial(_block_at, self),
            self._home.teller,
        )

    def __await__(self) -> Generator[Any, Any, T_co]:
        """
        Await the answer, in an asyncio or trio loop of any thread, or in the reactor thread.

        The loop is free meanwhile, and no thread is used up. An await that ends early, because its
        task is cancelled or its time is over, cancels the operation.

        Call it from any thread that runs such a loop, in a coroutine. Blocks never.

        Raises:
            TimeoutError: a :class:`deadline` around it is over.
            RuntimeError: there is no such loop.
            BaseException: whatever the operation raised, or the loop throws in.
        """
        home = self._home
        home.notice_fork()
        explain = partial(home.explain, self)
        return awaiting(self, self._name, home.reactor_thread, home.call, explain)


def _error_of(result: EventualResult[object]) -> BaseException | None:
    outcome = result._outcome
    return outcome.error if type(outcome) is Fault else None


def _block_at(result: EventualResult[object], timeout: Seconds, gate: LockType) -> None:
    """
    Wait for an answer at a gate that somebody else may send errands to.
    """
    limit = seconds(timeout)
    if result._outcome is PENDING:
        result._block(limit, gate)


def _call_back(
    callback: Callable[[EventualResult[T_co]], object], result: EventualResult[T_co]
) -> None:
    """
    Call a done callback, in the thread that answers. Nothing is raised: others are behind it.
    """
    try:
        try:
            callback(result)
        except Exception:
            raise
        except BaseException:
            # More likely a signal handler's than its own: what it was to do may not be done.
            callback(result)
    except BaseException:  # SystemExit, too
        _log.failure("Error in a done callback of {result!r}", result=result)


# What follows belongs to the bridge and the wrappers rather than to users.


def answer(
    result: EventualResult[object],
    outcome: object,
    relay: Relay | None = None,
    *,
    calls_back: bool = True,
) -> None:
    """
    Store the answer, unless there is one, and release the waiters.

    Args:
        result: the call.
        outcome: the answer.
        relay: is where waiters line up; without it they are let through at once.
        calls_back: call the done callbacks, too; else somebody else has to.
    """
    try:
        if result._outcome is PENDING:
            result._outcome = outcome
            result._running = None
            result._home.flights.discard(ref(result))
        waiters = result._waiters
        if not waiters:
            return
        # Whoever comes later sees the answer. Each is taken out after it was called: should an
        # exception come in between it is called twice, but not forgotten.
        for waiter in entries(waiters):
            if type(waiter) is partial:
                if not calls_back:
                    continue
                waiter()
                result._home.watched.discard(result)
            elif relay is not None:
                relay.line_up(waiter)
            else:
                open_gate(waiter)
            waiters.pop(waiter, None)  # unless the waiter has done that
    except BaseException:
        # Thrown into this thread from outside. Nobody is to wait for ever because of it.
        answer(result, outcome, calls_back=calls_back)
        raise


def fail(
    result: EventualResult[object],
    error: BaseException,
    traceback: TracebackType | None,
    *,
    calls_back: bool = True,
) -> None:
    """
    Answer with an error, to be logged if nobody takes it.

    There is an answer, whatever the error is like, and whatever is thrown in meanwhile.
    """
    try:
        error = explained(error, result._name)
        as_ordered = _is_as_ordered(result, error)
        uncollected = result._home.uncollected
        fault = Fault(result._name, error, traceback, uncollected, is_collected=as_ordered)
    except Exception as problem:
        # Something about the error, or there is no memory.
        error = _errors.not_handed_over(result._name, type(error), problem)
        fault = Fault(result._name, error, traceback, result._home.uncollected)
    except BaseException:
        # A signal handler's. It does not come at each attempt.
        fail(result, error, traceback, calls_back=calls_back)
        raise
    answer(result, fault, calls_back=calls_back)


def _is_as_ordered(result: EventualResult[object], error: BaseException) -> bool:
    """
    Tell whether an error is no news: it comes of a cancellation, or of the reactor's end, of which
    whoever waited has been told.
    """
    before = result._outcome
    by_end = type(before) is Fault and isinstance(before.error, _errors.ReactorStopped)
    return result._is_cancelled and is_cancellation(error, of_reactor=by_end)


def end(result: EventualResult[object], error: BaseException) -> Deferred[object] | None:
    """
    Answer a call that nobody can run to its end any more, and return its Deferred if it has one.

    Its waiters learn of it; that nobody waits is no reason to log it.
    """
    withdraw(result)
    result._is_cancelled = True
    running = result._running
    answer(result, _told(result, error))
    return running


def orphan(result: EventualResult[object], error: BaseException) -> None:
    """
    Answer a call in a forked child: the waiters and callbacks are the parent's.
    """
    result._waiters.clear()
    end(result, error)


def cancel_in_reactor(result: EventualResult[object]) -> None:
    """
    Cancel the Deferred of a call that has started.

    A canceller that raises has answered the call: what it was to cancel may never fire.
    """
    running = result._running
    try:
        if running is not None:
            running.cancel()
    except BaseException as error:
        if result._outcome is not PENDING:
            raise
        traceback = error.__traceback__
        fail(result, error, traceback.tb_next if traceback else None)
        del traceback
    finally:
        result._is_told = True


def expect_cancellation(reference: ref[EventualResult[object]]) -> None:
    """
    Note that a CancelledError will be no news, if there still is such a call.
    """
    result = reference()
    if result is not None:
        result._is_cancelled = True


def withdraw(result: EventualResult[object]) -> bool:
    """
    Tell whether the call had not started. It never will, then.
    """
    try:
        del result._work
    except AttributeError as error:
        if is_a_handlers(error):
            raise
        return False
    return True


def has_started(result: EventualResult[object]) -> bool:
    """
    Tell whether the call has started, or was withdrawn.
    """
    return not hasattr(result, "_work")


def answer_withdrawn(result: EventualResult[object], *, calls_back: bool = True) -> None:
    """
    Answer a call that was withdrawn, or go on with that.
    """
    result._is_cancelled = True  # by whoever withdrew it: nobody does so by accident
    if result._outcome is PENDING:
        error = CancelledError(f"{result._name}() was cancelled before it started")
        fail(result, error, None, calls_back=calls_back)
    else:
        answer(result, result._outcome, calls_back=calls_back)


def _told(result: EventualResult[object], error: BaseException) -> Fault:
    return Fault(result._name, error, None, result._home.uncollected, is_collected=True)


def waiters_of(result: EventualResult[object]) -> list[Callable[[], object]]:
    """
    Return what is to be called when the answer is there.
    """
    return entries(result._waiters)


def state_of(result: EventualResult[object]) -> str:
    """
    Return what has become of a call, as a phrase. From any thread; blocks never.
    """
    if result._outcome is not PENDING:
        return "answered"
    if hasattr(result, "_work"):
        return "queued"
    return "runs" if result._running is None else "started, and waits for its Deferred"


def name_of(result: EventualResult[object]) -> str:
    """
    Return the name of the function called.
    """
    return result._name


def reactor_thread_of(result: EventualResult[object]) -> int | None:
    """
    Return the ident of the thread that has to answer.
    """
    return result._home.reactor_thread
