"""
Watches the reactor thread while calls are in flight, in a thread of its own.

It finds three things. A deadlock: the reactor thread is blocked in something that only a thread can
end which waits for us (deadlock.py); that thread's wait is ended with DeadlockError. A stall: the
reactor has not turned for ``stall_warning`` seconds; that is logged once, with the stack of the
callback that blocks, and once more when it is over. And a handoff that does not go on (handoff.py).
It also lets the reactor's thread pool grow (pool.py).

What must always hold:

1. At rest, while no call is in flight or the reactor has nothing to do, its thread is blocked, and
   has no reference to a result.
2. It does not sleep while a call is in flight and the reactor has something to do. Some reactors
   do not show whether they have. With such a one it rests for longer and longer between two looks,
   up to 5 s, for as long as no call is made and the reactor turns.
3. The reactor thread and the callers never wait for it.

Threads: start(), stop(), join() and after_fork_in_child() are for those that start and end the
reactor; wake() is for any; all else is the watchdog's own thread.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from functools import partial
from types import FrameType
from typing import Any

from twisted.logger import Logger

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Call
from .._reactor.idle import IdleProbe
from .._reactor.pool import PoolGrowth
from .._threads.clock import monotonic
from .._threads.threads import StartThread, frames_of_threads
from .._threads.worker import Worker
from .deadlock import blocked_in, place_of
from .frames import above_the_reactor, place_of_frame
from .moments import Spell, look_at

_log = Logger(namespace="crochet")

# Seconds between looks, and from the call that woke it to the first: most calls are over before
# that, and a program that makes one call after the other does not wake it for each.
_INTERVAL = 0.1
# The same for each thread that waits, where thousands do: a look at all of them takes 2 us each.
_INTERVAL_EACH = 5e-5
_SHORTEST = 0.01
# Seconds that it rests while a call is in flight; see the head of this file.
_LONGEST_REST = 5.0
# Seconds that the reactor's end waits for this thread, which may be logging something.
_PATIENCE = 1.0

# Returns seconds, monotonic.
Seconds = Callable[[], float]


class Watchdog:
    """
    Watches one run of a reactor.

    Args:
        reactor: what runs in the thread that is watched.
        bridge: carries the calls.
        start_thread: starts a daemon thread of that target and name.
        stall_warning: seconds after which a stall is logged, ``math.inf`` for never.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        reactor: Any,
        bridge: Bridge,
        start_thread: StartThread,
        stall_warning: float,
        clock: Seconds = monotonic,
    ) -> None:
        self._reactor = reactor
        self._bridge = bridge
        self._handoff = bridge.handoff
        self.stall_warning = stall_warning  # written by setup(), in any thread
        self._clock = clock
        self._idle_probe = IdleProbe(reactor, self._on_stir, clock)
        self._pool_growth = PoolGrowth(reactor, bridge)
        self._worker: Worker[None] = Worker(
            start_thread, "crochet-watch", lambda _: None, self._step, lingers=None
        )
        self.start = self._worker.start
        self.get_caller = self._worker.caller
        self._is_stopped = False  # only ever set
        self._is_woken = False  # set by any thread
        # All below are the watchdog's own. When it was woken; when it last asked the reactor to
        # turn, or None if that has been answered; whether the present stall has been logged, and
        # when it began.
        self._waits = self._watch()
        self._woken_at = 0.0
        self._asked_at: float | None = None
        self._has_warned = False
        self._stalled_since = 0.0
        self._rest = _INTERVAL

    def stop(self) -> None:
        """
        Have the thread end. From any thread; blocks never.
        """
        self._is_stopped = True
        self._worker.flush(0.0, is_end=True)

    def join(self) -> None:
        """
        Wait for the thread to end, after stop(). Blocks for 1 s at most.
        """
        self._worker.stop(_PATIENCE)

    def after_fork_in_child(self) -> None:
        """
        Forget the thread, which is the parent's.
        """
        self._is_stopped = True
        self._bridge.wake_watchdog = None
        self._worker.after_fork_in_child()

    def wake(self) -> None:
        """
        Wake the watchdog, if it sleeps. From any thread; blocks never.
        """
        self._is_woken = True
        self._worker.wake()

    def _on_stir(self) -> None:
        # After what it means was written; see _watch().
        wake = self._bridge.wake_watchdog
        if wake is not None:
            wake()

    def _step(self) -> float | None:
        """
        Do what is due, and return after how many seconds there is more; None for when it is woken.
        """
        if self._is_stopped:
            self._waits.close()
            return None
        try:
            return next(self._waits)
        except Exception:
            _log.failure("The watchdog has ended: deadlocks and stalls are not noticed any more")
            self._is_stopped = True
            return None

    def _watch(self) -> Generator[float | None, None, None]:
        bridge, handoff = self._bridge, self._handoff
        handoff.watchdog = self
        try:
            while True:
                # A call is entered, and then ``wake_watchdog`` is read, and called. This is
                # written, and then it is looked whether there are calls. So either the call is
                # seen, or it is its turn to wake this. It is the same with a reactor that has
                # something to do again, which writes ``is_quiet`` first. Only this thread writes
                # ``wake_watchdog``: were it taken away by the thread that calls it, one that was
                # interrupted on the way could take it away from the next sleep. (test_watchdog.py
                # steps it.)
                self._is_woken = False
                bridge.wake_watchdog = self.wake
                seconds = self._rest if self._is_needed() else None
                if seconds is None or self._may_rest():
                    yield seconds
                    self._rest = _INTERVAL if self._is_woken else min(4 * self._rest, _LONGEST_REST)
                    if self._has_turned():
                        self._woken_at = self._clock()
                bridge.wake_watchdog = None
                yield self._pause()
                self._look()
        finally:
            if bridge.wake_watchdog == self.wake:  # and not another's, of the reactor's next run
                bridge.wake_watchdog = None
            if handoff.watchdog is self:
                handoff.watchdog = None
            handoff.release_all()

    def _is_needed(self) -> bool:
        is_carrying = bool(self._bridge.in_flight)  # first: what leaves it may line up
        if self._handoff.is_under_way():
            return True
        if is_carrying:
            return not self._idle_probe.is_quiet
        return self._pool_growth.has_grown or (self._has_warned and self._has_turned())

    def _may_rest(self) -> bool:
        # The reactor has answered, and was not asked again; see _look().
        is_at_work = self._asked_at is not None or self._has_warned or self._pool_growth.has_grown
        return self._idle_probe.is_blind and not is_at_work and not self._handoff.is_under_way()

    def _pause(self) -> float:
        interval = max(_INTERVAL, _INTERVAL_EACH * len(self._bridge.waits))
        wait = min(interval, max(self.stall_warning, _SHORTEST))
        if self._asked_at is not None and not self._has_warned:
            # A look just when it has lasted for long enough.
            due = self._last_turn() + self.stall_warning - self._clock()
            wait = min(wait, max(due, _SHORTEST))
        return wait

    def _look(self) -> None:
        self._handoff.check()
        if self._bridge.handoff is not self._handoff:
            return  # a test's clock plays the reactor's part, and has no time that passes
        has_asked = self._asked_at is not None
        self._check_stall()
        if self._bridge.in_flight:
            self._bridge.look_for_stranded()
            self._check_deadlock()
            is_answered = has_asked and self._idle_probe.is_blind  # rest before asking again
            if self._asked_at is None and not is_answered and not self._idle_probe.is_quiet:
                self._ask()
        self._pool_growth.look()

    def _ask(self) -> None:
        if self._bridge.reactor_thread is not None:
            self._asked_at = self._clock()
            try:
                self._bridge.call(self._answer_in_reactor)
            except RuntimeError:
                # A clock has begun to since this looked; that runs in the test's thread alone. (It
                # may be over by now: the next look asks again.)
                self._asked_at = None

    def _answer_in_reactor(self) -> None:
        self._idle_probe.probe()
        self._on_stir()  # the end of a stall is logged even if nothing is in flight any more

    # Deadlocks.

    def _check_deadlock(self) -> None:
        ident = self._bridge.reactor_thread
        if ident is None or self._idle_probe.is_quiet:
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
        return max(self._idle_probe.turned_at, self._woken_at)

    def _has_turned(self) -> bool:
        return self._asked_at is None or self._idle_probe.turned_at >= self._asked_at

    def _check_stall(self) -> None:
        if self._asked_at is None:
            return
        if self._has_turned():
            if self._has_warned:
                _log.info(
                    "The reactor thread goes on. It was busy for {seconds:.1f} s",
                    seconds=self._idle_probe.turned_at - self._stalled_since,
                )
            self._asked_at, self._has_warned = None, False
            return
        since = self._last_turn()
        ident = self._bridge.reactor_thread
        if ident is None:
            return
        sight = look_at(frames_of_threads().get(ident), self._bridge)
        longest: Spell | None = None
        seconds = 0.0
        # If it has not turned by now, that is what it has been at since it was last looked at.
        if not sight.is_idle and not self._has_turned():
            longest, seconds = self._bridge.diagnosis.note(since, self._clock(), sight)
        del sight  # it has a result
        lasted = self._clock() - since
        if self._has_warned or lasted < self.stall_warning:
            return
        frame = frames_of_threads().get(ident)
        # The frame first: if the reactor has not turned by now, it is that of what blocks it.
        if frame is None or self._has_turned():
            return
        self._has_warned = True
        self._stalled_since = since
        body = self._bridge.body
        if longest is None:
            place, is_here = place_of(frame, body), True
        else:
            place = longest.where
            is_here = look_at(frame, self._bridge).function == longest.function
        is_all = longest is None or f"{seconds:.1f}" == f"{lasted:.1f}"
        _log.warn(
            "The reactor thread has been busy for {seconds:.1f} s{share} in {place}; no call is "
            "answered meanwhile. Move what blocks to a thread, with deferToThread().{here}",
            seconds=lasted,
            share="" if is_all else f", for {seconds:.1f} s of that",
            place=place,
            here=f" It is here:\n{stack_of(frame, body)}" if is_here else "",
        )
        del frame, body


def _raise_deadlock(name: str, text: str) -> None:
    raise _errors.deadlock(name, text)


# The packages whose frames are above the callback: what runs the loop.
_LOOP = ("threading", "contextvars", "crochet", "twisted", "asyncio", "selectors")


def stack_of(frame: FrameType, body: Call | None) -> str:
    """
    Return the stack of a reactor's callback, without the loop's frames and ours above it.
    """
    frames = [each for each, _ in traceback.walk_stack(frame)]
    frames = frames[: len(above_the_reactor(frame))][::-1]
    names = [str(each.f_globals.get("__name__", "")).partition(".")[0] for each in frames]
    first = next((index for index, name in enumerate(names) if name not in _LOOP), None)
    if first is None and body is not None:
        return f"  {body.name}(), which is not written in Python"
    if not frames:
        return "  (no Python code)"
    first = first or 0
    stack = traceback.StackSummary.extract(
        (each, place_of_frame(each).line) for each in frames[first:]
    )
    return "".join(stack.format()).rstrip()
