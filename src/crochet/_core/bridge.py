"""
How calls reach the reactor thread.

What must always hold:

1. What one thread asks of the reactor starts in the order asked: calls of decorated functions, and
   ``reactor.callFromThread()`` among them.
2. A call that was accepted is answered, whatever happens to the reactor.
3. A call that could not be answered is refused before anything is queued.
4. At rest the reactor holds nothing of ours.

A call is put on a deque, and a wake-up has the reactor thread take what is there (see wakeup.py).
Waking the reactor is by far the dearest step of a call, so all calls that come before a wake-up is
heeded share it. (``reactor.callFromThread()`` per call would make a burst ten times slower.)

Threads: callers submit and cancel; the reactor thread drains and closes. No locks, but a deque, a
set and lists: each of their operations is one step. A lock would deadlock when a garbage collection
or a signal handler calls back into us, and in a child forked while it is held.
"""

from __future__ import annotations

import threading
from _thread import TIMEOUT_MAX, get_ident
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .. import _errors
from .._errors import Reason
from .._threads import clock, timeouts
from .._threads.finalizer import WhenDropped, at_once
from .._threads.handoff import Handoff
from .._threads.primitives import Waiter, Waits, discard, first_of, pop_first
from .call import PENDING, Call
from .deadline import get_end
from .failure import Uncollected

if TYPE_CHECKING:
    from .._coroutines.futures import ResultFuture, Teller
    from .._threads.fork_mark import Mark
    from .stash import Stash

_log = Logger(namespace="crochet")

try:
    import ctypes as _ctypes  # here: a forked child is to import nothing
except ImportError:  # Python was built without it
    _ctypes = None  # type: ignore[assignment]

# Builds the error by which a call to the function of that name is refused.
Refusal = Callable[[str], Exception]
# The same, or makes it possible to accept the call, and returns None.
Gatekeeper = Callable[[str], Exception | None]


class CallFromThread(Protocol):
    """
    How a reactor lets other threads have it call something.
    """

    def __call__(self, function: Callable[..., object], /, *args: object) -> object:
        """
        Have *function* called in the reactor thread, soon. From any thread; blocks never.
        """


# Puts something else where the reactor's callFromThread is looked up; see _reactor/reactor.py.
Route = Callable[[Callable[..., object] | None], object]


class _Posted:
    """
    What was given to ``reactor.callFromThread()``.
    """

    __slots__ = ("args", "bridge", "function", "kwargs", "made")

    def __init__(
        self,
        bridge: Bridge,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> None:
        self.made = clock.monotonic()
        self.bridge = bridge
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def start(self, queue: deque[Any], handoff: Handoff | None = None) -> None:
        """
        Call the function, as the reactor does: an error of any kind is logged.

        Args:
            queue: this is the first in it, and is taken out.
            handoff: of no use here.
        """
        bridge = self.bridge
        try:
            queue.popleft()
            bridge.posted = self.function
            self.function(*self.args, **self.kwargs)
        except BaseException:
            _log.failure("while calling from thread")
        finally:
            bridge.posted = None


class _AtOnce:
    """
    Tells of futures that are done in the thread that has the answer.
    """

    def __init__(self) -> None:
        self.inherited = threading.Condition()

    def post(self, future: ResultFuture[Any]) -> None:
        while future.follow():
            pass

    def call_back(self, future: ResultFuture[Any]) -> None:
        future.call_callbacks()


# Has the reactor thread drain the queue. Holds one item until that thread has heeded it.
WakeRequest = list[None]


def _nobody(wakeup: WakeRequest) -> None:
    """
    Wake no reactor, for there is none.
    """


class Diagnosis(Protocol):
    """
    Tells what is the matter with calls.
    """

    def begin(self) -> None:
        """
        Forget what it knows of an earlier reactor.
        """

    def explain(self, call: Call, since: float | None = None) -> Reason:
        """
        Tell why a call has no answer yet, or not given what was waited for *since* a moment of the
        monotonic clock. From any thread; blocks never.
        """
        ...

    def is_stranded(self, operation: Deferred[Any]) -> bool:
        """
        Tell whether an operation waits for what has fired, and so may never go on. From any thread.
        """
        ...

    def go_on(self, operation: Deferred[Any], name: str, settle: Callable[[], object]) -> None:
        """
        Have such an operation go on, or fail, if it is still so in the reactor's next turn. Reactor
        thread only. If all that is left is to answer the call, *settle* is called.
        """

    def note(self, since: float, until: float, sight: Any) -> tuple[Any, float]:
        """
        Note what has kept the reactor thread for a while that has passed, which may not be all that
        did. Return what has kept it for longest, and for how many seconds.
        """
        ...

    def warn_if_in_loop(self, name: str) -> None:
        """
        Warn of a wait in this thread that has lasted for 0.1 s, if its asyncio loop is running.
        """


class NoDiagnosis:
    """
    Knows nothing.
    """

    def begin(self) -> None: ...

    def explain(self, call: Call, since: float | None = None) -> Reason:
        return Reason("queued" if call.is_queued else "waiting", "")

    def is_stranded(self, operation: Deferred[Any]) -> bool:
        return False

    def go_on(self, operation: Deferred[Any], name: str, settle: Callable[[], object]) -> None: ...

    def note(self, since: float, until: float, sight: Any) -> tuple[Any, float]:
        return None, 0.0

    def warn_if_in_loop(self, name: str) -> None: ...


# How many calls the reactor thread starts before it looks at anything else.
_BATCH = 100

# As many waiters are let through at once, if their answers come together: to line up takes time.
_FEW = 3

# How many threads that wait look up as often as one does.
_LOOKING = 50

# How many calls in flight one look_for_stranded() examines.
_LOOKED_FOR = 250

# Attributes that borrow() saves, while a test's clock stands in for the reactor.
_BORROWED = (
    *("refusal", "reactor_thread", "last_drain", "diagnosis", "new_waiter", "handoff"),
    "when_dropped",
    *("_queue", "_turns", "_wakeup", "_call_from_thread", "_wake_reactor", "_first_wake", "_route"),
)

# How exactly the start of a call is noted, in seconds, and how many lags are remembered.
_TICK = 0.001
_LAGS = 100


class Bridge:
    """
    Carries calls to the reactor thread, a burst per wake-up.

    Begins closed, for want of a reactor.
    """

    def __init__(self, refusal: Refusal, stash: Stash) -> None:
        # Why calls are refused; None while they are accepted.
        self.refusal: Gatekeeper | None = refusal
        # The ident of the thread the reactor runs in, while it runs.
        self.reactor_thread: int | None = None
        # Every call accepted and not yet answered, queued ones included. Weak references: a thread
        # that waits for a call holds it, the queue does, and the Deferred that will answer it; and
        # where none of those is left, nobody can. To drop one runs no Python code. It is iterated
        # over in copies, for others may change it.
        self.in_flight: set[ref[Call]] = set()
        self._forget = self.in_flight.discard  # one method object for all
        # Those of them that have done callbacks, which hold nothing by that.
        self.watched: set[Call] = set()
        # Who waits for what.
        self.waits: Waits = Waits()
        # Makes what a thread waits at.
        self.new_waiter: Callable[[], Waiter] = Waiter
        # The call whose body is on the reactor thread's stack, the innermost, which writes it.
        self.body_of: Call | None = None
        # What was given to ``reactor.callFromThread()`` and is on its stack; likewise.
        self.posted: Callable[..., object] | None = None
        # Is shown each call before it is entered, where tests look for what is left behind.
        self.on_submit: Callable[[Call], object] | None = None
        self.uncollected: Uncollected = {}
        # Takes what is to be done for an object that is dropped. Does it at once where no thread of
        # ours can: in a test that has a clock instead of a reactor.
        self.when_dropped: WhenDropped = at_once
        self.stash = stash  # keeps results; setup(stash=...) hands in another
        # Tells of futures that are done, at once. The lifecycle hands in one with threads for it.
        self.teller: Teller = _AtOnce()
        # What is called with the next report of an operation's progress, once: who reports takes it
        # out. Few have one, so this stands here, and takes no room in each call.
        self.on_report: dict[Call, Callable[[], object]] = {}
        # When the reactor thread last came to a call, by the monotonic clock, within a _TICK. Calls
        # share the number: one of its own would take each 24 bytes.
        self.last_drain: float = 0.0  # reactor thread writes, others read
        # How many seconds the calls that it then came to had waited. Likewise.
        self.lags: deque[float] = deque(maxlen=_LAGS)
        # Tells why a call has no answer. The lifecycle hands in one that looks.
        self.diagnosis: Diagnosis = NoDiagnosis()
        # Wakes what watches the reactor, while that sleeps. Written by it alone; see watchdog.py.
        self.wake_watchdog: Callable[[], object] | None = None
        # Wiped by a fork; then on_fork() is to be called. The lifecycle hands in both; see
        # fork_mark.py.
        self.mark: Mark = [1]
        self.on_fork: Callable[[], object] = int
        # One more in each forked child: an object with a lower number is a parent's.
        self.generation: int = 0
        # What the parent's operations are held by, in a forked child. They end in the parent: one
        # that is dropped is closed, and its `finally` blocks would run in the child, too.
        self._inherited: list[object] = []
        # The calls, and what was posted: Call and _Posted.
        self._queue: deque[Any] = deque()
        # How many of those may wait before further calls are refused; None for any number.
        self.max_queued: int | None = None
        # Which of those in flight look_for_stranded() is to look at next, in a set's order.
        self._looked_for = 0
        self._looks = 0  # since it last did
        # The last wake-up; emptied once that was heeded.
        self._wakeup: WakeRequest = []
        # Releases waiters whose answers came together.
        self.handoff: Handoff = Handoff(self._queue, self._wake_for_calls)
        self._turns = self.handoff.turns
        # The reactor's own callFromThread(); None while there is no reactor.
        self._call_from_thread: Callable[..., object] | None = None
        # Has `reactor.callFromThread` look up ours instead; None while it does not.
        self._route: Route | None = None
        self._wake_reactor: Callable[[WakeRequest], object] = _nobody
        # What that is from open() to use_wakeup(), which may come in the middle of _wake().
        self._first_wake: Callable[[WakeRequest], object] = _nobody

    @property
    def body(self) -> Call | None:
        """
        The call in whose body the reactor thread is, if it is in one. From any thread.
        """
        call = self.body_of
        if call is None or call.outcome is not PENDING or call.running is not None:
            return None
        return call

    def calls_in_flight(self) -> set[Call]:
        """
        Return the calls accepted and not yet answered. From any thread; blocks never.
        """
        found: set[Call] = set()
        for reference in self.in_flight.copy():
            call = reference()
            if call is not None:
                found.add(call)
        return found

    def first_queued(self, most: int) -> tuple[list[Call], bool]:
        """
        Return the first calls that have not been started, and whether there are more. From any
        thread; blocks never.
        """
        for _ in range(5):
            try:
                entries = [*islice(self._queue, most)]
            except RuntimeError:
                # Another thread has changed it: before CPython 3.12 a garbage collection may come
                # in the middle of a copy, and let other threads run.
                continue
            is_longer = len(self._queue) > len(entries)
            return [entry for entry in entries if type(entry) is not _Posted], is_longer
        return [], False

    @property
    def oldest(self) -> float | None:
        """
        When what is first in the queue was made, by the monotonic clock. From any thread.
        """
        entry = first_of(self._queue)
        return None if entry is None else entry.made

    def open(
        self,
        call_from_thread: Callable[..., object],
        wake_reactor: Callable[[WakeRequest], object] | None = None,
        route: Route | None = None,
    ) -> None:
        """
        Accept calls from now on.

        Args:
            call_from_thread: the reactor's.
            wake_reactor: has the reactor thread call ``drain_in_reactor()``, from any thread. It is
                used once the reactor has done what it was given before. Without it,
                *call_from_thread* does.
            route: puts ``call_from_thread()`` where the program looks up the reactor's.
        """
        self.diagnosis.begin()
        self._call_from_thread = call_from_thread
        self.lags.clear()
        self._first_wake = partial(call_from_thread, self.drain_in_reactor)
        self._wake_reactor = self._first_wake
        self._wakeup = []
        if wake_reactor is not None:
            # After what the program has given it before.
            call_from_thread(self.use_wakeup, wake_reactor)
        self.refusal = None
        if route is not None:
            self._route = route  # before it is used
            route(self.call_from_thread)
        # An earlier life may have left waiters, and calls: of a thread that found the bridge open
        # then, and may have woken that reactor.
        self.handoff.release_all()

    def use_wakeup(self, wake_reactor: Callable[[WakeRequest], object]) -> None:
        """
        Wake the reactor in another way from now on, in its thread.
        """
        has_ended = self._call_from_thread is None or self._wake_reactor is _nobody
        if not has_ended:
            self._wake_reactor = wake_reactor
            self._wake()  # should the last one have been lost

    def call_from_thread(
        self, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> None:
        """
        Have the reactor thread call something, in its turn among the calls. From any thread, and
        from a signal handler; blocks never.

        This is what ``reactor.callFromThread`` is while the bridge carries calls: the order of two
        queues would be lost. (A bound method that a program has looked up before uses Twisted's.)
        """
        self.notice_fork()
        posted = _Posted(self, function, args, kwargs)
        self._queue.append(posted)
        if self._route is None:
            # The reactor has ended, or is about to: close() may have looked at the queue before
            # this was in it. The one that takes it out hands it to Twisted.
            if discard(self._queue, posted):
                self._give_to_twisted(posted)
        elif not self._wakeup and not self._turns:
            self._wake()

    def _give_to_twisted(self, posted: _Posted) -> None:
        if self._call_from_thread is not None:
            self._call_from_thread(posted.function, *posted.args, **posted.kwargs)

    def _unroute(self) -> None:
        """
        Leave the reactor its own ``callFromThread`` again.
        """
        route, self._route = self._route, None
        if route is not None:
            route(None)

    def borrow(self) -> dict[str, Any]:
        """
        Let somebody else play the reactor's part, who opens the bridge anew, with nothing queued.

        A reactor that runs meanwhile has its own ``callFromThread`` back, and is given nothing of
        ours.

        Returns:
            What ``give_back()`` takes.
        """
        borrowed = {name: getattr(self, name) for name in _BORROWED}
        self._unroute()
        self._queue = deque()
        self.handoff = Handoff(self._queue, self._wake_for_calls)
        self._turns = self.handoff.turns
        self.when_dropped = at_once
        return borrowed

    def give_back(self, borrowed: dict[str, Any]) -> None:
        """
        Have all be as it was before it was borrowed.
        """
        for name, value in borrowed.items():
            setattr(self, name, value)
        if self._route is not None:
            self._route(self.call_from_thread)

    def refuse(self, refusal: Refusal) -> None:
        """
        Accept no more calls; those accepted go on.
        """
        self.refusal = refusal

    def submit(self, call: Call) -> None:
        """
        Have a call run in the reactor thread. From any thread; blocks never.

        Raises:
            Exception: the bridge is closed, or the queue is full; nothing was queued.
        """
        if not self.mark[0]:
            self.on_fork()
        refusal = self.refusal
        if refusal is not None:
            error = refusal(call.name)
            if error is not None:
                raise error
        most = self.max_queued
        if most is not None and len(self._queue) >= most:
            raise _errors.too_many_queued(call.name, most, self.explain(call))
        on_submit = self.on_submit
        if on_submit is not None:
            on_submit(call)
        self.in_flight.add(ref(call, self._forget))
        # Before the look at _wakeup, which the reactor thread empties before it looks here: so a
        # wake-up that is not empty is still on its way, and is for this call, too.
        self._queue.append(call)
        if not self._wakeup and not self._turns:  # or else the last of those does; see handoff.py
            self._wake()
        wake_watchdog = self.wake_watchdog  # after entering; see watchdog.py
        if wake_watchdog is not None:
            wake_watchdog()
        # The bridge may have been closed since the look above. close() sets refusal, then answers
        # what it finds: a call that it has not found sees that here. If it has found it, too, there
        # is no difference, for nobody has the call yet.
        if self.refusal is not None:
            self._take_back(call)

    def _take_back(self, call: Call) -> None:
        refusal = self.refusal
        if refusal is not None and call.withdraw():
            self.in_flight.discard(ref(call))
            raise refusal(call.name) or _errors.stopped(call.name)

    def _wake(self) -> None:
        # It wakes once too often rather than too seldom. While one thread is in here, any other
        # wakes the reactor, too: a signal handler in the middle of this may wait for its own call.
        # And an exception that ends this half-way leaves no wake-up behind that nobody heeds.
        wake_reactor = self._wake_reactor
        wakeup: WakeRequest = [None]
        try:
            wake_reactor(wakeup)
        except Exception:
            # One that has ended meanwhile has closed what it is woken by. Any other error is a
            # signal handler's.
            if wake_reactor in (self._wake_reactor, self._first_wake):
                raise
        # It may have been heeded by now, and is empty then. One of an earlier life, which nobody
        # will heed, does not become the last: open() changes _wake_reactor, and nothing comes
        # between this look and the next step.
        if wake_reactor is self._wake_reactor:
            self._wakeup = wakeup

    def _wake_for_calls(self) -> None:
        if self._queue and not self._wakeup:
            self._wake()

    def drain_in_reactor(self, wakeup: WakeRequest) -> None:
        """
        Start the calls that are queued, in the reactor thread.
        """
        queue = self._queue
        try:
            wakeup.clear()  # before the queue is looked at; see submit()
            # A burst must not keep the reactor from its other work, nor the thread that makes it
            # from making the rest: a thread that is to get the interpreter's lock from a busy one
            # waits for 5 ms, and after each batch the reactor looks for other events without it.
            left = len(queue)
            if left > _BATCH:
                left = _BATCH
            handoff = self.handoff if left > _FEW and self.handoff.begin() else None
            monotonic = clock.monotonic
            # A body that runs the reactor's loop itself may take the rest.
            while left and queue:
                left -= 1
                now = monotonic()
                if now - self.last_drain > _TICK:
                    self.last_drain = now
                    self.lags.append(now - queue[0].made)
                    if self.handoff.line or self._turns:  # the last body may have been a long one
                        self.handoff.check(wakes=False)
                # It is taken out where it is begun. And no name for it here, for a traceback of the
                # body leads back to this frame.
                queue[0].start(queue, handoff)
            if not self.mark[0]:  # the last body has forked: do not poll what is the parent's
                self.on_fork()
            if self._queue and not self._wakeup:  # in a child of a fork this is another queue
                self._wake()
        except BaseException:
            # Only an exception thrown into this thread from outside gets here.
            self.handoff.release_all()
            self._wake()
            raise

    def call(self, function: Callable[..., object], /, *args: object) -> None:
        """
        Have the reactor thread call something. From any thread; blocks never.

        It is called in the reactor's next turn, before the calls that are queued. A reactor that
        has ended calls nothing any more.
        """
        self.notice_fork()
        call_from_thread = self._call_from_thread
        if call_from_thread is None:
            return
        try:
            call_from_thread(function, *args)
        except Exception:
            # One that has ended has closed what it is woken by. Another life may have begun since.
            # Any other error is a signal handler's, as in _wake().
            if self.refusal is None:
                if call_from_thread is self._call_from_thread:
                    raise
                self.call(function, *args)

    def notice_fork(self) -> None:
        """
        Disown what is a parent's, should this be a child that was forked behind Python's back.
        """
        if not self.mark[0]:
            self.on_fork()

    def look_up(self, waiter: Waiter, end: float, now: float) -> float:
        """
        Do what a thread that waits does now and then, and return for how many seconds it may wait
        until it looks up again, or its time is over.

        To look up takes 20 us. Where many wait, each does so less often, so that it comes to a
        hundredth of a processor for all of them.

        Args:
            waiter: that of the thread.
            end: when its time is over, by the monotonic clock.
            now: likewise.
        """
        self.notice_fork()  # a signal handler may have forked, in C
        get_end()  # raises what ends the wait: that may have come before it was listed
        waits = self.waits
        waiter.end = end
        until_next = timeouts.LONGEST * max(1.0, len(waits) / _LOOKING)
        return min(min(end - now, until_next) + waits.spread(), TIMEOUT_MAX)

    def is_reactor_thread(self) -> bool:
        """
        Tell whether this is it. In such a child, another thread may have got the ident of that.
        """
        self.notice_fork()
        return get_ident() == self.reactor_thread

    def explain(self, call: Call, since: float | None = None) -> Reason:
        """
        Tell why a call has no answer yet, or not given what was waited for *since* a moment of the
        monotonic clock. From any thread; blocks never.
        """
        self.notice_fork()
        return self.diagnosis.explain(call, since)

    def look_for_stranded(self) -> None:
        """
        Have calls answered whose Deferreds have fired in vain, and those cancelled whose callers
        had not enough of their stacks left for that, should there be any: a last resort. From any
        thread; blocks never.
        """
        # To copy many takes its time, so it is not done at each look.
        self._looks += 1
        if self._looks <= len(self.in_flight) // (10 * _LOOKED_FOR):
            return
        self._looks = 0
        in_flight = self.in_flight.copy()
        first = self._looked_for if self._looked_for < len(in_flight) else 0
        self._looked_for = first + _LOOKED_FOR
        for reference in islice(in_flight, first, self._looked_for):
            call = reference()
            if call is None:
                continue
            if call.is_stranded:
                self.call(call.answer_stranded)
            if call.is_abandoned:
                self.call(call.cancel_abandoned)

    def wake(self) -> None:
        """
        Wake the reactor for the queue, even if that seems to have been done.
        """
        if self.refusal is None:
            self._wake()

    def after_fork_in_child(self, refusal: Refusal, gatekeeper: Gatekeeper) -> None:
        """
        Answer all that is in flight, in a forked child, and hand later calls to *gatekeeper*.
        """
        self.refusal = gatekeeper
        self.generation += 1
        self._call_from_thread = None
        self._wake_reactor = self._first_wake = _nobody  # what wakes the reactor is the parent's
        self._unroute()
        self.wake_watchdog = None
        self.reactor_thread = None
        self.body_of = None
        self.posted = None
        for reference in self.uncollected.copy():  # the parent logs its errors itself
            stored = reference()
            if stored is not None:
                stored.collect()
        self.uncollected.clear()
        self.watched.clear()  # and calls back itself, and its threads wait there
        # A clone of the reactor thread may be at it, and is not to find what comes later.
        self._queue.clear()
        self._queue = deque()
        self.handoff.after_fork_in_child(self._queue)
        for call in self.calls_in_flight():
            self._inherited.append(call.after_fork_in_child(refusal(call.name)))
        self.waits.after_fork_in_child(get_ident())

    def keep_inherited(self) -> None:
        """
        Have what is the parent's outlive a forked child, for its exit drops all that is held.
        """
        if self._inherited:
            # One reference more than there are, for good. PyPy drops nothing, and counts none.
            with suppress(AttributeError):
                ctypes: Any = _ctypes
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._inherited))

    def close(self, refusal: Refusal) -> list[Deferred[Any]]:
        """
        Accept no more calls and answer all that are in flight.

        Call it in the reactor thread, or where that can no longer run.

        Returns:
            The Deferreds of the operations that had started, to be cancelled.
        """
        self.refusal = refusal  # before the copy is made; see submit()
        # What closes the wake-up waits until no thread has this any more.
        self._wake_reactor = self._first_wake = _nobody
        unfinished: list[Deferred[Any]] = []
        for call in self.calls_in_flight():
            running = call.end(refusal(call.name))
            if running is not None:
                unfinished.append(running)
        # What was entered since the copy was made, and withdrawn calls whose waiters may not all
        # have been released.
        self._end_queued(refusal)
        self._unroute()  # before looking once more; see call_from_thread()
        self._end_queued(refusal)
        self.handoff.release_all()
        return unfinished

    def _end_queued(self, refusal: Refusal) -> None:
        # (Another thread may close, too: one that starts a reactor that ends.)
        while (entry := pop_first(self._queue)) is not None:
            if type(entry) is _Posted:
                self._give_to_twisted(entry)
            else:
                entry.end(refusal(entry.name))
