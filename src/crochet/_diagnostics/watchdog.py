"""
Watches the reactor thread while calls are in flight, in a thread of its own.

It finds three things. A deadlock: the reactor thread is blocked in something that only a thread can
end which waits for us (deadlock.py); that thread's wait is ended with DeadlockError. And a stall:
the reactor has not turned for ``stall_warning`` seconds; that is logged once, with the stack of the
callback that blocks, and once more when it is over. And a relay that does not go on (handoff.py). It
has the pool lent threads, too (pool.py).

What must always hold:

1. Nothing runs at rest: while no call is in flight, or the reactor has nothing to do, this thread
   sleeps on a raw lock, and has no reference to a result.
2. It does not sleep while a call is in flight and the reactor has something to do. Of some reactors
   it cannot be told whether they have. With such a one it rests for longer and longer between two
   looks, up to 5 s, for as long as no call is made and the reactor turns.
3. It is in nobody's way: the reactor thread and the callers never wait for it.

The looks are 0.1 s apart, the first comes 0.1 s after the call that woke it. So most calls are over
before anything is looked at; and a program that makes calls one after the other does not wake it
for each, for it goes to sleep only when a look finds nothing in flight.

Going to sleep, and a call that comes at that moment:

1. The watch writes ``Bridge.rouse``, then looks whether it is needed, and if not, sleeps.
2. The caller enters its call, then reads ``Bridge.rouse``, and if it is there, calls it.

Verdict: if the watch's look is too early to see the call, then the caller's comes after ``rouse``
was written, and wakes it. The same for the reactor that comes to have something to do, which writes
``Turns.is_quiet`` first. To rouse is to release the lock on which the watch sleeps; it is released
also if the watch is just about to sleep, and then the watch does not. Only the watch writes
``rouse``: were it taken away by whoever calls it, one that was interrupted on the way could take it
away from the next sleep. Two at once release it twice, of which the second is told that it was open
already. (test_watch.py steps it.)

Whether the reactor turns is asked of the reactor: the watch has it call ``Turns.ask_in_reactor()``,
and looks how long that takes. Why not count turns by what the bridge does anyway? A reactor that is
busy with other things, and turns, need not come to the bridge.

Threads: start(), stop(), join() and forget_after_fork() are the life's; rouse() is anybody's; all
else the watch's own. A fork finds it parked, as it finds the reactor thread, lest a child inherit
the lock of a stream that it was writing to.
"""

from __future__ import annotations

import threading
import traceback
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from types import FrameType
from typing import Any

from twisted.logger import Logger

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Call
from .._reactor.idle import Turns
from .._reactor.pool import Lender
from .._threads.clock import monotonic
from .._threads.threads import frames_of_threads
from .deadlock import blocked_in, is_loop, place_of
from .frames import line_in
from .moments import see

_log = Logger(namespace="crochet")

# Seconds between looks.
_INTERVAL = 0.1
_SHORTEST = 0.01
# Seconds that it rests while a call is in flight; see the head of this file.
_LONGEST_REST = 5.0
# Seconds that a life's end waits for this thread, which may be logging something.
_PATIENCE = 1.0

StartThread = Callable[[Callable[[], object], str], threading.Thread]
# Returns seconds, monotonic.
Seconds = Callable[[], float]


class Watch:
    """
    Watches one life of a reactor.

    Args:
        reactor: what runs in the thread that is watched.
        bridge: carries the calls.
        start_thread: starts a daemon thread of that target and name.
        stall_warning: seconds after which a stall is logged, ``math.inf`` for never.
        clock: seconds, monotonic.
        lock: made locked; what the watch sleeps on.
    """

    def __init__(
        self,
        reactor: Any,
        bridge: Bridge,
        start_thread: StartThread,
        stall_warning: float,
        clock: Seconds = monotonic,
        lock: LockType | None = None,
    ) -> None:
        self._reactor = reactor
        self._bridge = bridge
        self._handoff = bridge.handoff
        self._start_thread = start_thread
        self.stall_warning = stall_warning  # written by setup(), in any thread
        self._clock = clock
        self._lock = lock or allocate_lock()
        self._lock.acquire()
        self._turns = Turns(reactor, self._on_stir, clock)
        self._lender = Lender(reactor, bridge)
        self._thread: threading.Thread | None = None
        self._is_stopped = False  # only ever set
        self._errands: deque[Callable[[], object]] = deque()
        # The watch's own. When it was roused; when it last asked the reactor to turn, or None if
        # that has been answered; whether the present stall has been logged, and when it began.
        self._roused_at = 0.0
        self._asked_at: float | None = None
        self._has_warned = False
        self._stalled_since = 0.0
        self._rest = _INTERVAL

    def start(self) -> None:
        """
        Start watching, in a new thread.

        Raises:
            RuntimeError: no thread can be started.
        """
        # In a context of its own, or it would hold whatever the caller's holds.
        self._thread = self._start_thread(lambda: Context().run(self._run), "crochet-watch")

    def stop(self) -> None:
        """
        Have the thread end. From any thread, before start() has returned, too; blocks never.
        """
        self._is_stopped = True
        self.rouse()

    def join(self) -> None:
        """
        Wait for the thread to end, once it was told to. Blocks for 1 s at most.
        """
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def forget_after_fork(self) -> None:
        """
        Take notice that there is no thread, in a forked child.
        """
        self._is_stopped = True
        self._bridge.rouse = self._thread = None

    def get_caller(self) -> Callable[..., object] | None:
        """
        Return what has the thread call something, if it is there.
        """
        thread = self._thread
        is_there = thread is not None and thread.is_alive() and not self._is_stopped
        return self._call_from_thread if is_there else None

    def _call_from_thread(self, function: Callable[..., object], /, *args: object) -> None:
        self._errands.append(partial(function, *args))
        self.rouse()

    def rouse(self) -> None:
        """
        Wake the watch, if it sleeps. From any thread; blocks never.
        """
        if self._lock.locked():
            with suppress(RuntimeError):  # another has just done it
                self._lock.release()

    def _on_stir(self) -> None:
        # After what it means was written; see the head of this file.
        rouse = self._bridge.rouse
        if rouse is not None:
            rouse()

    def _run(self) -> None:
        handoff = self._handoff
        handoff.watchdog = self
        try:
            while not self._is_stopped:
                self._sleep()
                self._pause()
                if not self._is_stopped:
                    self._look()
        except Exception:
            _log.failure("The watch has ended: deadlocks and stalls are not noticed any more")
        finally:
            if self._bridge.rouse == self.rouse:  # and not another's, of the reactor's next run
                self._bridge.rouse = None
            if handoff.watchdog is self:
                handoff.watchdog = None
            handoff.release_all()

    def _is_needed(self) -> bool:
        is_carrying = bool(self._bridge.in_flight)  # first: what leaves it may line up
        if self._handoff.is_under_way():
            return True
        if is_carrying:
            return not self._turns.is_quiet
        return self._lender.is_owed or (self._has_warned and self._has_turned())

    def _may_rest(self) -> bool:
        # The reactor has answered, and was not asked again; see _look().
        is_at_work = self._asked_at is not None or self._has_warned or self._lender.is_owed
        return self._turns.is_blind and not is_at_work and not self._handoff.is_under_way()

    def _sleep(self) -> None:
        """
        Sleep until there is something to look at. Blocks for as long.
        """
        self._bridge.rouse = self.rouse  # before looking; see the head of this file
        seconds = self._rest if self._is_needed() else -1.0
        if (seconds < 0 or self._may_rest()) and not self._is_stopped:
            is_roused = self._lock.acquire(True, seconds)
            self._rest = _INTERVAL if is_roused else min(4 * self._rest, _LONGEST_REST)
            if self._has_turned():
                self._roused_at = self._clock()
        self._bridge.rouse = None
        self._run_errands()

    def _pause(self) -> None:
        wait = min(_INTERVAL, max(self.stall_warning, _SHORTEST))
        if self._asked_at is not None and not self._has_warned:
            # A look just when it has lasted for long enough.
            due = self._last_turn() + self.stall_warning - self._clock()
            wait = min(wait, max(due, _SHORTEST))
        self._lock.acquire(True, wait)
        self._run_errands()

    def _run_errands(self) -> None:
        while self._errands:
            self._errands.popleft()()

    def _look(self) -> None:
        self._handoff.check()
        has_asked = self._asked_at is not None
        self._check_stall()
        if self._bridge.in_flight:
            self._bridge.look_for_stranded()
            self._check_deadlock()
            is_answered = has_asked and self._turns.is_blind  # rest before asking again
            if self._asked_at is None and not is_answered and not self._turns.is_quiet:
                self._ask()
        self._lender.look()

    def _ask(self) -> None:
        if self._bridge.reactor_thread is not None:
            self._asked_at = self._clock()
            self._bridge.call(self._answer_in_reactor)

    def _answer_in_reactor(self) -> None:
        self._turns.ask_in_reactor()
        self._on_stir()  # the end of a stall is logged even if nothing is in flight any more

    # Deadlocks.

    def _check_deadlock(self) -> None:
        ident = self._bridge.reactor_thread
        if ident is None or self._turns.is_quiet:
            return
        # What does not turn is worth a closer look.
        blocked = blocked_in(ident, self._bridge, reads_source=not self._has_turned())
        if blocked is None or not blocked.is_certain:
            return
        for wait in blocked.waits:
            if wait.reactor_thread == ident and wait.waiter.empty():
                wait.waiter.put(partial(_raise_deadlock, wait.name, blocked.text))

    # Stalls.

    def _last_turn(self) -> float:
        """
        Return the last moment at which the reactor is known to have been between two callbacks.
        """
        return max(self._turns.turned_at, self._roused_at)

    def _has_turned(self) -> bool:
        return self._asked_at is None or self._turns.turned_at >= self._asked_at

    def _check_stall(self) -> None:
        if self._asked_at is None:
            return
        if self._has_turned():
            if self._has_warned:
                _log.info(
                    "The reactor thread goes on. It was busy for {seconds:.1f} s",
                    seconds=self._turns.turned_at - self._stalled_since,
                )
            self._asked_at, self._has_warned = None, False
            return
        since = self._last_turn()
        ident = self._bridge.reactor_thread
        if ident is None:
            return
        sight = see(frames_of_threads().get(ident), self._bridge.body)
        # If it has not turned by now, that is what it has been at since.
        if not sight.is_idle and not self._has_turned():
            self._bridge.diagnosis.note(since, self._clock(), sight)
        del sight  # it has a result
        if self._has_warned or self._clock() - since < self.stall_warning:
            return
        frame = frames_of_threads().get(ident)
        # The frame first: if the reactor has not turned by now, it is that of what blocks it.
        if frame is None or self._has_turned():
            return
        self._has_warned = True
        self._stalled_since = since
        _log.warn(
            "The reactor thread has been busy for {seconds:.1f} s in {place}; no call is answered "
            "meanwhile. Move what blocks to a thread, with deferToThread(). It is here:\n{stack}",
            seconds=self._clock() - since,
            place=place_of(frame, self._bridge.body),
            stack=stack_of(frame, self._bridge.body),
        )
        del frame


def _raise_deadlock(name: str, text: str) -> None:
    raise _errors.deadlock(name, text)


# The packages whose frames are above the callback: what runs the loop.
_LOOP = ("threading", "contextvars", "crochet", "twisted", "asyncio", "selectors")


def stack_of(frame: FrameType, body: Call | None) -> str:
    """
    Return the stack of a reactor's callback, without the loop's frames and ours above it.
    """
    frames = [each for each, _ in traceback.walk_stack(frame)]
    # A program that runs the reactor itself is above the loop, too.
    frames = frames[: next((index for index, each in enumerate(frames) if is_loop(each)), None)]
    frames.reverse()
    names = [str(each.f_globals.get("__name__", "")).partition(".")[0] for each in frames]
    first = next((index for index, name in enumerate(names) if name not in _LOOP), None)
    if first is None and body is not None:
        return f"  {body.name}(), which is not written in Python"
    if not frames:
        return "  (no Python code)"
    first = first or 0
    stack = traceback.StackSummary.extract((each, line_in(each)) for each in frames[first:])
    return "".join(stack.format()).rstrip()
