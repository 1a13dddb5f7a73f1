"""
How a thread blocks for the answer to a call: how it waits on, gives up, and what it leaves behind.

What must always hold when a wait ends:

1. ``run_and_wait()`` ends, whichever way, with the operation ended, or told to; one that had not
   started never will. ``wait_for_answer()`` leaves the operation as it was.
2. A wait that was given up goes on for a bounded time: ``CANCEL_DELIVERY`` at most, and if the
   reactor thread has passed the cancellation on by then, the grace.
3. A value that comes after that is handed over once, or dropped.
4. The thread that waits is listed in ``bridge.waits`` for as long as only an answer, or a task that
   another thread puts to its waiter, can end its wait.

Threads: all runs in the thread that waits, but for ``_cancel_in_reactor()`` and ``_hand_over()``. A
signal's exception may come between any two steps of this file.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any, NamedTuple, NoReturn, cast
from weakref import ref

from .. import _errors
from .._coroutines.follow import PLAIN
from .._errors import Limit, TimeoutError
from .._threads import clock, timeouts
from .._threads.primitives import CROWD, Task, Waiter
from .call import ABANDONED, PENDING, Call
from .deadline import get_end
from .failure import StoredError
from .progress import INTERVAL, OnProgress, Progress, Reported, Shown, display, progress_of

# How long a wait that was given up waits for the reactor thread to look up from what it does and
# pass the cancellation on, in seconds. Only then is it worth waiting for the operation's cleanup.
CANCEL_DELIVERY = 0.02

# What is called, in the reactor thread, with a value that nobody waits for any more.
OnLate = Callable[[Any], object]


class WaitOptions(NamedTuple):
    """
    How a ``wait_for`` function waits.
    """

    limit: float  # seconds for the operation
    grace: float = 1.0  # seconds for its cleanup, after it was cancelled
    on_late: OnLate | None = None
    progress: OnProgress | None = None  # what is called in the thread that waits
    # Makes of a value what is returned, likewise, unless that is of a type in PLAIN.
    adopt: Callable[[Any], object] | None = None


class TimedOut:
    """
    What a wait ends with that has no answer. Like a StoredError, but raised once.
    """

    __slots__ = ("_error",)

    def __init__(self, error: TimeoutError) -> None:
        self._error = error

    def throw(self, *, is_last: bool) -> NoReturn:
        """
        Raise it.
        """
        error = self._error
        try:
            raise error
        finally:
            # Its traceback holds this frame. (Of arguments that are missing IPython complains.)
            __tracebackhide__ = True
            del error
            self = cast("Any", None)


def run_and_wait(call: Call, waiter: Waiter, patience: float, options: WaitOptions) -> object:
    """
    Have a new call run, and return its value or raise its error. The call has this waiter only.

    Args:
        call: has not been queued.
        waiter: this thread's.
        patience: seconds to the first look at anything else, see ``LONGEST``.
        options: what the wait ends by.
    """
    bridge = call.bridge
    waits = bridge.waits
    try:
        bridge.submit(call)
        waits[waiter] = get_ident(), call
        if len(waits) > CROWD:
            end = min(call.made + options.limit, get_end())
            patience = bridge.look_up(waiter, end, call.made)
        task = waiter.wait(patience)
        outcome = call.outcome  # before it is released; see handoff.py
        if waits.is_crowd:
            waits.pass_on(waiter, clock.monotonic())
        handoff = bridge.handoff
        if handoff.turns:
            handoff.wake_next(waiter)
        if outcome is PENDING or options.progress is not None:
            outcome = _wait_on(call, waiter, options, task)
            handoff.wake_next(waiter)
        waits.pop(waiter, None)  # in the try: if a signal interrupts it, what is below does it
    except BaseException:
        call.cancel_requested = True  # so that it never starts, were there no stack left to do more
        try:
            cancel_interrupted(call, waiter, options)
        except BaseException:
            # Interrupted before it had begun to guard itself, or by a lack of stack.
            try:
                cancel_interrupted(call, waiter, options)
            finally:
                call.cancel_requested = ABANDONED
                waits.pop(waiter, None)
            raise
        raise
    finally:
        # An error's traceback holds this frame; do not let it hold the call as well.
        __tracebackhide__ = True
        del call, waiter
    if type(outcome) is not StoredError and type(outcome) is not TimedOut:
        adopt = options.adopt
        return outcome if adopt is None or id(type(outcome)) in PLAIN else adopt(outcome)
    try:
        outcome.throw(is_last=True)
    finally:
        del outcome


def _wait_on(call: Call, waiter: Waiter, options: WaitOptions, task: Task | None) -> object:
    """
    Wait on for the answer, or give up when the time is over; return what the wait ends with.
    """
    end = call.made + options.limit
    limit = Limit(options.limit)
    deadline = get_end()
    if deadline < end:
        end, limit = deadline, Limit(deadline - call.made, by_deadline=True)
    warns_at = call.made + timeouts.LONGEST
    progress = options.progress or displayed(call)
    if progress is None:
        _block(call, waiter, end, warns_at, task)
    else:
        _block_and_tell(call, waiter, end, warns_at, progress, task)
    while call.outcome is PENDING:
        error = _give_up(call, waiter, options, limit)
        if error is not None:
            return TimedOut(error)
    return call.outcome


def displayed(call: Call) -> OnProgress | None:
    """
    Return what is to be called with the progress of a call that is waited for here, if anything.
    """
    begin = display.get()
    shown = None if begin is None else begin(call.name)
    return None if shown is None else shown.show


class Onlooker:
    """
    Shows the progress of a call that is awaited.
    """

    every: float = INTERVAL

    def __init__(self, call: Call, shown: Shown) -> None:
        self._call = call
        self._shown = shown
        self._told: Reported | None = None

    def look(self) -> None:
        """
        Show what is new.
        """
        reported = self._call.reported
        if reported is not self._told:
            self._told = reported
            self._shown.show(progress_of(reported) or Progress())

    def close(self) -> None:
        """
        Show no more.
        """
        self._shown.close()


def onlooker(call: Call) -> Onlooker | None:
    """
    Return what looks on while a call is awaited here, if anything does.
    """
    begin = display.get()
    shown = None if begin is None else begin(call.name, blocks=False)
    return None if shown is None else Onlooker(call, shown)


def wait_for_answer(
    call: Call, limit: float, waiter: Waiter | None = None, progress: OnProgress | None = None
) -> None:
    """
    Wait for the answer to any call, and leave its operation as it is.

    Blocks up to *limit* seconds, or until a deadline.

    Args:
        call: whose answer.
        limit: seconds.
        waiter: a new one, to which other threads may put tasks.
        progress: is called with each report that is seen meanwhile, and with the last.

    Raises:
        TimeoutError: the answer was not there in time.
        DeadlockError: this is the reactor thread.
    """
    bridge = call.bridge
    bridge.notice_fork()
    now = clock.monotonic()
    end = get_end()
    by_deadline = end < now + limit
    if not by_deadline:
        end = now + limit
    warns_at = now + timeouts.LONGEST
    if waiter is None:
        waiter = bridge.new_waiter()
    try:
        if progress is None:
            _entered(call, waiter, partial(_block, call, waiter, end, warns_at))
        else:
            tell = partial(_block_and_tell, call, waiter, end, warns_at, progress)
            _entered(call, waiter, tell)
    finally:
        del waiter  # an error's traceback holds this frame
    if call.outcome is PENDING:
        reason = bridge.explain(call)
        raise _errors.not_answered(call.name, Limit(max(end - now, 0.0), by_deadline), reason)


def watch_call(call: Call, interval: float, heartbeat: float) -> Iterator[Progress]:
    """
    Yield how far an operation is, until the answer to its call is there; leave it as it is.

    Blocks until a deadline at most.

    Args:
        call: any.
        interval: seconds between two looks for a new report.
        heartbeat: seconds after which the last one is yielded once more.

    Raises:
        TimeoutError: a deadline is over.
        DeadlockError: this is the reactor thread.
    """
    call.bridge.notice_fork()
    began = now = clock.monotonic()
    waiter = call.bridge.new_waiter()
    told, beat = None, now + heartbeat
    while True:
        is_over = call.outcome is not PENDING  # before the last report is read
        reported, now = call.reported, clock.monotonic()
        if reported is not told or (now >= beat and not is_over):
            told, beat = reported, now + heartbeat
            yield progress_of(reported) or Progress()
            now = clock.monotonic()
        if is_over:
            return
        end = get_end()
        if now >= end:
            reason = call.bridge.explain(call)
            raise _errors.not_answered(call.name, Limit(end - began, by_deadline=True), reason)
        look = partial(_block_for_report, call, waiter, min(beat, end), interval, told)
        _entered(call, waiter, look)


def _entered(call: Call, waiter: Waiter, block: Callable[[], object]) -> None:
    """
    Block by *block*, with the waiter among those that the answer releases.

    Raises:
        DeadlockError: this is the reactor thread.
    """
    bridge, ident = call.bridge, get_ident()
    if ident == bridge.reactor_thread:
        raise _errors.in_reactor_thread(call.name)
    waits = bridge.waits
    handoff = bridge.handoff
    call.callbacks[waiter] = None
    try:
        waits[waiter] = ident, call
        block()
        # A thread that polls must not leave a waiter behind each time.
        call.callbacks.pop(waiter, None)
        if handoff.turns:
            handoff.wake_next(waiter)
        waits.pop(waiter, None)  # in here, as above
    except BaseException:
        waits.pop(waiter, None)
        call.callbacks.pop(waiter, None)
        handoff.release_all()  # others may wait for this one to wake them
        raise
    finally:
        del waiter, block  # an error's traceback holds this frame


def _block_and_tell(
    call: Call,
    waiter: Waiter,
    end: float,
    warns_at: float,
    progress: OnProgress,
    task: Task | None = None,
) -> None:
    """
    Block as ``_block()`` does, and call *progress* meanwhile whenever there is a new report. The
    last one is told before this returns, be it for the answer or for lack of time.
    """
    told = None
    while True:
        now = clock.monotonic()
        is_over = call.outcome is not PENDING or now >= end  # before the last report is read
        reported = call.reported
        if reported is not told:
            told = reported
            call.bridge.waits.pop(waiter, None)  # it is at work for a while
            progress(progress_of(reported) or Progress())
            call.bridge.waits[waiter] = get_ident(), call
        if is_over:
            return
        _block(call, waiter, min(end, now + INTERVAL), warns_at, task)
        task = None
        if clock.monotonic() >= warns_at:
            warns_at = inf


def _block_for_report(
    call: Call, waiter: Waiter, end: float, interval: float, told: object
) -> None:
    """
    Block until the answer is there, or a report other than *told* once *interval* is over, or it is
    *end*.
    """
    warns_at = clock.monotonic() + timeouts.LONGEST
    while True:
        now = clock.monotonic()
        _block(call, waiter, min(end, now + interval), warns_at)
        if call.outcome is not PENDING or call.reported is not told:
            return
        now = clock.monotonic()
        if now >= end:
            return
        if now >= warns_at:
            warns_at = inf


def _block(
    call: Call, waiter: Waiter, end: float, warns_at: float, task: Task | None = None
) -> None:
    """
    Block until the answer is there, or it is *end*, and run the tasks that come meanwhile.

    Args:
        call: whose answer.
        waiter: is among its callbacks. The answer is looked for after that was entered.
        end: a moment of the monotonic clock, or infinity.
        warns_at: likewise; from then on it is felt if this is in an asyncio loop.
        task: one that has come already.
    """
    bridge = call.bridge
    while call.outcome is PENDING:
        if task is not None:
            bridge.waits.pop(waiter, None)  # it is at work for a while
            task()
            task = None
            bridge.waits[waiter] = get_ident(), call
        now = clock.monotonic()
        if now >= warns_at:
            warns_at = inf
            bridge.diagnosis.warn_if_in_loop(call.name)
        if now >= end:
            return
        # In slices: see LONGEST.
        task = waiter.wait(bridge.look_up(waiter, end, now))
        if bridge.waits.is_crowd:
            bridge.waits.pass_on(waiter, clock.monotonic())
        if call.is_stranded:  # the watch sleeps while the reactor has nothing to do
            bridge.call(call.answer_stranded)


def _give_up(call: Call, waiter: Waiter, options: WaitOptions, limit: Limit) -> TimeoutError | None:
    """
    Cancel the operation, and return the error that says so, or None: the answer has come.

    It may come at any step. It is looked for once more after the reason has been asked for and the
    call could not be withdrawn: then it is the answer that counts.
    """
    bridge = call.bridge
    was_queued = call.is_queued
    reason = bridge.explain(call)  # before it is cancelled: then it waits on nothing
    bridge.waits.pop(waiter, None)
    if _withdrawn(call):
        return _errors.never_started(call.name, limit, reason)
    if was_queued:
        reason = bridge.explain(call)
    if call.outcome is not PENDING:
        return None
    has_ended = _cancelled(call, waiter, options)
    return _errors.gave_up(call.name, limit, reason, ended=has_ended)


def _withdrawn(call: Call) -> bool:
    if not call.withdraw():
        call.cancel_requested = True  # not before: it would not be started
        return False
    # There is no handle of it. Unlisted, it is as if it had never been; the reactor thread finds it
    # empty when it comes to it.
    call.bridge.in_flight.discard(ref(call))
    return True


def _cancelled(call: Call, waiter: Waiter, options: WaitOptions) -> bool:
    """
    Have an operation cancelled, wait a moment for its end, and tell whether that came.
    """
    call.bridge.call(_cancel_in_reactor, call, options)
    waiter.clear()  # it is too late for tasks
    if not ends(call, waiter, min(CANCEL_DELIVERY, options.grace)) and call.cancel_delivered:
        ends(call, waiter, options.grace)
    call.callbacks.pop(waiter, None)  # no task is to be sent here any more
    waiter.clear()
    return call.outcome is not PENDING


def ends(call: Call, waiter: Waiter, patience: float) -> bool:
    """
    Wait for the end of a call for so many seconds at most, and tell whether it has come.
    """
    end = clock.monotonic() + patience
    while call.outcome is PENDING and (left := end - clock.monotonic()) > 0:
        waiter.wait(min(left, timeouts.LONGEST))
    return call.outcome is not PENDING


def cancel_interrupted(
    call: Call, waiter: Waiter | None = None, options: WaitOptions | None = None
) -> None:
    """
    See to it that a call whose caller was interrupted ends, or never starts.

    To be called while that exception is handled, which gets a note of what became of the call.
    Blocks as after a timeout, or never without a waiter. A second interruption has the operation
    cancelled without waiting for its end.
    """
    bridge = call.bridge
    try:
        if waiter is None or options is None:
            call.cancel()
        elif not call.cancel_delivered:
            bridge.waits.pop(waiter, None)
            is_accepted = ref(call) in bridge.in_flight  # or else it was refused, or answered
            was_running = not _withdrawn(call)
            started = call.started is not None
            ended = _cancelled(call, waiter, options) if was_running else True
            if is_accepted:
                _annotate(_errors.how_it_ended(call.name, started=started, ended=ended))
    except BaseException:
        # A second interruption, before the cancellation or while waiting for the end.
        if not call.withdraw():
            bridge.call(_cancel_in_reactor, call, options)
        raise
    finally:
        # The first may have cut a wake-up short, or kept others waiting; see handoff.py.
        bridge.handoff.release_all()
        bridge.wake()


def _annotate(text: str) -> None:
    error = sys.exc_info()[1]
    add_note = getattr(error, "add_note", None)
    if add_note is not None:  # from Python 3.11 on
        add_note(text)


def _cancel_in_reactor(call: Call, options: WaitOptions | None) -> None:
    """
    Cancel the Deferred of a call that has started.

    Args:
        call: the call.
        options: those of its only waiter, which has given up.
    """
    if options is not None:
        if call.cancel_delivered:
            return  # a thread that is interrupted while giving up says it twice
        if options.on_late is not None:
            call.add_callback(partial(_hand_over, options.on_late, call))
    call.cancel_in_reactor()


def _hand_over(on_late: OnLate, call: Call) -> None:
    if type(call.outcome) is not StoredError:
        on_late(call.outcome)
