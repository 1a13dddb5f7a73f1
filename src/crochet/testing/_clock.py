"""
The event loop of a process without a thread and without a reactor, for tests: time is virtual.

What must always hold:

1. Calls, answers, errors, cancellations, context variables and the stash are those of the real
   code: only what carries a call to the reactor thread, and what a waiter blocks on, is another.
2. When it is over, the process's bridge and event loop are as they were.

The bridge is opened on a reactor of ours, which runs what it is told at once, in the thread that
tells it: the test's. While it does, that thread passes for the reactor's, so a wait in a body is
refused as ever. What is told to it meanwhile comes next, as in the reactor.

A thread that waits would block, and no other is there to release it. So the bridge's waiters are
replaced by such as let the clock advance, from one timed call to the next, until they are released
or the time is over. The time that waits are measured by is the clock's, too.

Threads: all this is for one, the one that made it. Others that wait get real waiters, and their
calls are refused. A reactor that runs in this process goes on: it answers what it carried before,
and is given back its bridge and its queue at the end.
"""

from __future__ import annotations

import _thread
import math
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from twisted.internet import main
from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock
from twisted.logger import Logger

from .. import _errors
from .._core.bridge import Bridge
from .._diagnostics.explain import Diagnosis
from .._lifecycle.lifecycle import EventLoop
from .._threads import clock as _clock
from .._threads import timeouts
from .._threads.primitives import Task, Waiter
from ._leaks import LeakCheck, Watched

_log = Logger(namespace="crochet")

# How many timed calls one wait, or one advance(), runs at most: code that calls itself again and
# again would keep it for ever.
_MOST = 100_000


class CrochetClock(Clock, Watched):
    """
    What the fixture ``crochet_clock`` is: a clock to be given to the code under test.

    It is a :class:`twisted.internet.task.Clock`, so it takes the place of a reactor wherever only
    ``callLater()`` and ``seconds()`` are asked of it.
    """

    rightNow: float  # the base class's

    def __init__(self, leaks: LeakCheck) -> None:
        Clock.__init__(self)
        Watched.__init__(self, leaks)
        self._owner = _thread.get_ident()
        self._orders: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._is_turning = False
        # Has the bridge take this thread for the reactor's, or no more.
        self._on_turn: Callable[[bool], object] = bool

    def advance(self, amount: float) -> None:
        """
        Let time pass, and run what is due meanwhile, each call at its own time.

        What a timed call raises is logged, as by the reactor.

        Call it from the test's thread. Never blocks.

        Args:
            amount: seconds.
        """
        end = self.seconds() + amount
        for _ in self._turns(end):
            pass
        self.rightNow = max(end, self.seconds())

    # What follows is called by the bridge and by waiters.

    def call_at_once(self, function: Callable[..., object], *args: object) -> None:
        """
        Call a function as the reactor thread would: now, or after what it is at.

        Raises:
            RuntimeError: this is not the test's thread.
        """
        if _thread.get_ident() != self._owner:
            raise RuntimeError(
                "crochet_clock runs everything in the test's own thread, and this is another one. "
                "Test code that uses threads with the fixture crochet_reactor"
            )
        self._orders.append((function, args))
        if not self._is_turning:
            self._turn()

    def advance_until(self, is_over: Callable[[], bool], limit: float) -> None:
        """
        Let time pass up to *limit* seconds, or until something has come about.

        Raises:
            DeadlockError: it never will: there is no limit, and nothing is scheduled.
        """
        end = self.seconds() + limit
        if is_over():
            return
        for _ in self._turns(end):
            if is_over():
                return
        if end == math.inf:
            raise _errors.DeadlockError(
                "this wait has no timeout, and nothing is scheduled on crochet_clock: it could "
                "never end. Give it a timeout, or have the code under test schedule its calls on "
                "the fixture, which is a Clock, and not on the reactor, which does not run here"
            )
        self.rightNow = max(end, self.seconds())

    def _turns(self, end: float) -> Iterator[None]:
        """
        Run what is due up to *end*, one timed call for each step.
        """
        for _ in range(_MOST):
            self._sortCalls()
            if not self.calls or self.calls[0].getTime() > end:
                return
            call = self.calls.pop(0)
            self.rightNow = max(self.seconds(), call.getTime())
            self._orders.append((_run, (call,)))
            self._turn()
            yield
        raise RuntimeError(
            f"{_MOST} timed calls were run in one wait: code under test schedules calls again and "
            "again, and what is waited for does not come. Give the wait a timeout"
        )

    def _turn(self) -> None:
        self._is_turning = True
        self._on_turn(True)
        try:
            while self._orders:
                function, args = self._orders.popleft()
                try:
                    function(*args)
                except Exception:
                    _log.failure("Unhandled error in a call made by crochet_clock")
        finally:
            self._is_turning = False
            self._on_turn(False)


def _run(call: DelayedCall) -> None:
    call.called = 1
    call.func(*call.args, **call.kw)


class ClockedWaiter(Waiter):
    """
    To wait at it lets virtual time pass.
    """

    __slots__ = ("_clock",)

    def __init__(self, clock: CrochetClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, seconds: float) -> Task | None:
        limit = seconds if seconds < timeouts.LONGEST else math.inf  # which is as long as can be
        self._clock.advance_until(lambda: not self.empty(), limit)
        return super().wait(0)


@contextmanager
def clocked(loop: EventLoop, leaks: LeakCheck) -> Generator[CrochetClock, None, None]:
    """
    Have an event loop run on a clock, in this thread, for the length of a ``with`` block.
    """
    clock = CrochetClock(leaks)
    bridge = loop.bridge
    flags = {name: getattr(loop, name) for name in ("_is_set_up", "_reactor_thread", "_has_logs")}

    def on_turn(is_turning: bool) -> None:
        # Not None between turns: that would say that no reactor runs yet.
        bridge.reactor_thread = clock._owner if is_turning else -1

    clock._on_turn = on_turn
    # A reactor that runs is not to start what is not for it.
    borrowed = bridge.borrow()
    try:
        with _waiting_by(clock, bridge), _refusing_the_reactor(clock._owner):
            bridge.reactor_thread = -1
            bridge.diagnosis = Diagnosis(bridge)
            # A reactor that ran before has noted it by its own time.
            bridge.last_drain = clock.seconds()
            bridge.open(clock.call_at_once)
            # setup() and shutdown() in the code under test find nothing to do.
            vars(loop).update(_is_set_up=True, _reactor_thread=None, _has_logs=False)
            yield clock
    finally:
        vars(loop).update(flags)
        bridge.give_back(borrowed)
        _catch_up(loop)


@contextmanager
def _refusing_the_reactor(owner: int) -> Generator[None, None, None]:
    """
    Have the program's reactor take no timed call from the test: it does not run in virtual time,
    or in a thread of its own, by the real clock.

    So does one that is installed in the ``with`` block, as by the first import of
    ``twisted.internet.reactor``.
    """
    with ExitStack() as undo:
        reactor = sys.modules.get("twisted.internet.reactor")
        if reactor is not None:
            undo.enter_context(_refusing(reactor, owner))
        else:
            install = cast("Callable[[Any], None]", main.installReactor)

            def install_refusing(reactor: Any) -> None:
                install(reactor)
                undo.enter_context(_refusing(reactor, owner))

            undo.callback(setattr, main, "installReactor", install)
            main.installReactor = install_refusing
        yield


@contextmanager
def _refusing(reactor: Any, owner: int) -> Generator[None, None, None]:
    attributes = cast("dict[str, object]", vars(reactor))
    own = attributes.get("callLater")  # put there by another, such as CROCHET_DEBUG
    call_later = reactor.callLater

    def refuse(*args: object, **kwargs: object) -> object:
        if _thread.get_ident() != owner:
            return call_later(*args, **kwargs)
        raise RuntimeError(
            "twisted.internet.reactor does not run in a test with crochet_clock, so this call of "
            "callLater() would never be made, or by another clock. Have the code under test take "
            "the reactor as an argument, and give it the fixture"
        )

    attributes["callLater"] = refuse
    try:
        yield
    finally:
        if own is None:
            del attributes["callLater"]
        else:
            attributes["callLater"] = own


def _catch_up(loop: EventLoop) -> None:
    """
    Do what a reactor could not do to its bridge while that was borrowed.
    """
    reactor_thread = loop._reactor_thread
    if reactor_thread is not None and reactor_thread.has_ended:
        loop._is_set_up = False
        loop.bridge.close(_errors.stopped)
        loop.bridge.reactor_thread = None
    loop.bridge.wake()  # a wake-up may have found nothing


@contextmanager
def _waiting_by(clock: CrochetClock, bridge: Bridge) -> Generator[None, None, None]:
    owner = _thread.get_ident()
    new_waiter, real_monotonic, longest = bridge.new_waiter, _clock.monotonic, timeouts.LONGEST

    def monotonic() -> float:
        return clock.seconds() if _thread.get_ident() == owner else real_monotonic()

    def new_clocked_waiter() -> Waiter:
        return ClockedWaiter(clock) if _thread.get_ident() == owner else new_waiter()

    bridge.new_waiter = new_clocked_waiter
    _clock.monotonic = monotonic
    timeouts.LONGEST = _thread.TIMEOUT_MAX  # one wait is one step of virtual time
    try:
        yield
    finally:
        _clock.monotonic = real_monotonic
        timeouts.LONGEST = longest
