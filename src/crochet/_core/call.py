"""
One call: from the queue through its body to its answer.

What must always hold:

1. A call is answered once, and then every waiter is released and every done callback called.
2. A call that was withdrawn before it started never starts.
3. A call that has started is answered with what its body returns or raises, or what its Deferred
   fires with, or with what was thrown into the reactor thread meanwhile.
4. Nothing here holds a lock, and the reactor thread waits for nobody.
5. Nothing here keeps alive what has run: neither the frame of ``start()``, to which the body's
   traceback leads back, nor a context that somebody has kept.

Threads: a call starts, and is answered, in the reactor thread. One that was withdrawn is answered
by the thread that withdrew it, so that those who wait for it need not wait for a busy reactor; its
done callbacks are called in the reactor thread, which still has the call in its queue. Everything
else may come from any thread, a signal handler or a destructor, between any two steps.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from enum import Enum
from functools import partial
from sys import _getframe
from types import AsyncGeneratorType, CellType, CodeType, CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import _errors
from .._coroutines.cancellation import is_cancellation
from .._coroutines.follow import PLAIN, explained, follow, is_a, pass_on
from .._threads import clock
from .._threads.handoff import Handoff
from .._threads.primitives import Waiter, claim, entries_of, take
from .failure import StoredError
from .progress import Reported, described

if TYPE_CHECKING:
    from .bridge import Bridge

_log = Logger(namespace="crochet")

# So many threads that wait for one result are released before the reactor does anything else.
_AT_ONCE = 100

# What is to be run: the function, its arguments, and the caller's context variables.
Work = tuple[Callable[..., object], tuple[object, ...], Mapping[str, object], Context]

# What is done when the answer is there: a thread is released, or a done callback called.
Callback = Waiter | partial[Any]


class _Pending(Enum):
    """
    The outcome of a call before it has one.
    """

    PENDING = "pending"


PENDING: Final = _Pending.PENDING


class _Abandoned(Enum):
    """
    What stands for True in ``Call.cancel_requested``.
    """

    ABANDONED = "abandoned"


ABANDONED: Final = _Abandoned.ABANDONED

# The call in whose body this is, for what goes on later: coroutines, inlineCallbacks. Not for all:
# to set it costs a short call a tenth of its time. See current_call(). Weak, for a context may be
# kept by anybody, and must not keep an answer.
_current_call: ContextVar[ref[Call] | None] = ContextVar("crochet.current_call", default=None)


class Call:
    """
    A call of a decorated function, and its answer.

    Attributes:
        bridge: carries it.
        name: of the function called, for texts.
        outcome: the answer, a value or a StoredError, or ``PENDING``. Written once, before the
            callbacks are called.
        callbacks: what is to be called when the answer is there, in this order. A dict, for each
            takes out its own; changed by single steps only.
        running: the Deferred to cancel, while there is one. Reactor thread only.
        cancel_requested: whether it was to be cancelled: then a CancelledError is no news. Only
            ever set. ``ABANDONED`` if the thread that was to pass that on could not.
        cancel_delivered: whether the reactor thread has passed that on to the operation. Likewise.
        made: when it was called, by the monotonic clock, in seconds.
        started: when it was started, likewise; None before. Reactor thread writes.
        reported: how far it is, by its last report; None before. Written by any thread that the
            operation reports in, whole.
        caller: the code that called the decorated function; None if that was no Python code. No
            frame: that would keep its locals alive.
        offset: where in it, in units of two bytes, for small numbers take no memory.
    """

    __slots__ = (
        "__weakref__",
        "bridge",
        "callbacks",
        "caller",
        "cancel_delivered",
        "cancel_requested",
        "made",
        "name",
        "offset",
        "outcome",
        "reported",
        "running",
        "started",
        "work",
    )

    # Else an async generator is refused: only the reactor thread could use it.
    is_adopted: ClassVar[bool] = False

    def __init__(
        self, bridge: Bridge, name: str, work: Work, callbacks: dict[Callback, None]
    ) -> None:
        self.bridge: Bridge = bridge
        self.name: str = name
        # The thread that empties this slot starts the call, or withdraws it.
        self.work: Work = work
        self.outcome: object = PENDING
        self.callbacks: dict[Callback, None] = callbacks
        self.running: Deferred[Any] | None = None
        self.cancel_requested: bool | _Abandoned = False
        self.cancel_delivered: bool = False
        self.made: float = clock.monotonic()
        self.started: float | None = None
        self.reported: Reported | None = None
        try:
            frame = _getframe(2)
        except ValueError:  # called by no Python code, but as a thread or an exit hook
            self.caller: CodeType | None = None
            self.offset: int = 0
        else:
            self.caller = frame.f_code
            self.offset = frame.f_lasti >> 1

    @property
    def is_queued(self) -> bool:
        """
        Whether it has neither started nor been withdrawn.
        """
        return hasattr(self, "work")

    @property
    def details(self) -> str:
        """
        How far it is, as a phrase, where that can be told.
        """
        return described(self.reported)

    @property
    def state(self) -> str:
        """
        What has become of it, as a phrase.
        """
        if self.outcome is not PENDING:
            return "answered"
        if self.is_queued:
            return "queued"
        return "runs" if self.running is None else "started, and waits for its Deferred"

    def start(self, queue: deque[Any], handoff: Handoff | None = None) -> None:
        """
        Run the body, in the caller's context, and answer with what comes of it. Reactor thread.

        No exception leaves this but one that was thrown into the thread from outside.

        Args:
            queue: this is the first in it, and taken out once nothing can be lost by that.
            handoff: where the waiter is queued, if there is an answer at once.
        """
        bridge = self.bridge
        outer = bridge.body_of  # a body may run the reactor's loop itself
        try:
            try:
                work = getattr(self, "work", None)
                is_unwanted = self.cancel_requested  # before the claim: one that fails is no start
                if not claim(self, "work") or work is None or is_unwanted:
                    # Withdrawn, and answered by the thread that did it, but for its done
                    # callbacks, and unless a signal kept that thread from going through with it.
                    # Or to be withdrawn by a thread that had not enough of its stack left for that.
                    queue.popleft()
                    self.answer_withdrawn()
                    return
                function, args, kwargs, context = work
                del work  # the body is to hold its arguments alone
                queue.popleft()
                self.started = bridge.last_drain
                if _current_call in context:
                    context.run(_current_call.set, None)  # an outer call's, and not of this one
                bridge.body_of = self
                # To unpack nothing takes as long as to call.
                value: Any = (
                    context.run(function, *args, **kwargs)
                    if args or kwargs
                    else context.run(function)
                )
                kind = type(value)  # pyright: ignore[reportUnknownVariableType]
                if kind is CoroutineType:
                    context.run(_current_call.set, ref(self))
                is_answer = id(kind) in PLAIN  # pyright: ignore[reportUnknownArgumentType]
                if not is_answer:
                    value = follow(value, context)
                    is_answer = not is_a(Deferred, value)
                    if is_answer and not self.is_adopted and is_a(AsyncGeneratorType, value):
                        raise _errors.async_generator_returned(self.name)
                if is_answer:
                    self.answer(value, handoff)
                else:
                    deferred: Any = value
                    self.running = deferred
                    # In a cell, to be emptied: the frame of a callback that fails before ours
                    # leads back to Twisted's, which has our arguments. And that of a coroutine
                    # that has failed, to this.
                    deferred.addBoth(_settle, CellType(self))
            except BaseException as error:
                if not self._fail_started(error):
                    raise
        except BaseException as error:
            # Also one that was thrown in right as another was to be stored, so that none was.
            self._fail_started(error)
            raise
        finally:
            bridge.body_of = outer
            # The body's frame leads back to this one, and the call holds the traceback.
            del self, outer
            function = args = kwargs = context = value = deferred = None

    def _fail_started(self, error: BaseException) -> bool:
        """
        Answer with what the body has raised, or with what was thrown into this thread from outside,
        if the call has started and there is no answer. Tell whether that was so.
        """
        if self.outcome is not PENDING or self.is_queued:
            return False
        # Leave out the first frame, that of start(): it says nothing of the program.
        traceback = error.__traceback__
        self.fail(error, traceback.tb_next if traceback else None)
        return True

    def answer(
        self,
        outcome: object,
        handoff: Handoff | None = None,
        *,
        calls_back: bool = True,
        is_end: bool = False,
    ) -> None:
        """
        Store the answer, unless there is one, and release the waiters.

        Args:
            outcome: the answer.
            handoff: where waiters are queued; without it they are released at once.
            calls_back: call the done callbacks, too; else another thread has to.
            is_end: the reactor has no later turn for what is left.
        """
        try:
            # Stored first. A waiter puts itself into the callbacks, then looks at the outcome: if
            # that look is too early to see the answer, the waiter is found here.
            if self.outcome is PENDING:
                self.outcome = outcome
                self.running = None
            self.bridge.in_flight.discard(ref(self))
            callbacks = self.callbacks
            if not callbacks:
                return
            entries = entries_of(callbacks)
            if len(entries) > _AT_ONCE and calls_back and not is_end:
                # A thread that is released may take the GIL for itself: a thousand of them would
                # keep the reactor from its other work. Its end finds the call in flight.
                del entries[_AT_ONCE:]
                self.bridge.in_flight.add(ref(self))
                self.bridge.call(self.answer, outcome)
            for callback in entries:
                if isinstance(callback, partial):
                    if not calls_back:
                        continue
                    callback()
                    self.bridge.watched.discard(self)
                elif handoff is not None:
                    handoff.enqueue(callback)
                else:
                    callback.put(None)
                # After it was called: should an exception come in between it is called twice, but
                # not forgotten. (The waiter may have taken itself out.)
                callbacks.pop(callback, None)
        except BaseException:
            # Thrown into this thread from outside. Nobody is to wait for ever because of it.
            self.answer(outcome, calls_back=calls_back, is_end=True)
            raise

    def fail(
        self, error: BaseException, traceback: TracebackType | None, *, calls_back: bool = True
    ) -> None:
        """
        Answer with an error, to be logged if nobody takes it.

        There is an answer, whatever the error is like, and whatever is thrown in meanwhile.
        """
        stored: StoredError | None = None
        problems: list[BaseException] = []
        try:
            while stored is None:
                try:
                    stored = self._stored(error, traceback)
                except BaseException as problem:
                    # What a signal handler raises may be of any class, and does not come at each
                    # attempt. It goes on once there is an answer.
                    problems.append(problem)
                    if len(problems) > 1:
                        # Something about the error, or there is no memory.
                        error = _errors.not_handed_over(self.name, type(error), problems[0])
                        bridge = self.bridge
                        stored = StoredError(
                            self.name, error, traceback, bridge.uncollected, bridge.when_dropped
                        )
                        problems.clear()
            self.answer(stored, calls_back=calls_back)
            if problems:
                raise problems.pop()
        finally:
            del problems  # the traceback of one leads back to this frame

    def _stored(self, error: BaseException, traceback: TracebackType | None) -> StoredError:
        error = explained(error, self.name)
        is_expected = self.cancel_requested and self._is_expected(error)
        bridge = self.bridge
        when_dropped = None if is_expected else bridge.when_dropped
        return StoredError(self.name, error, traceback, bridge.uncollected, when_dropped)

    def _is_expected(self, error: BaseException) -> bool:
        """
        Tell whether the error of a call that was cancelled is no news: it comes of that, or of the
        reactor's end, which those who wait have learned of.
        """
        before = self.outcome
        by_end = type(before) is StoredError and isinstance(before.error, _errors.ReactorStopped)
        return is_cancellation(error, of_reactor=by_end)

    def add_callback(self, callback: partial[Any]) -> None:
        """
        Have *callback* called once the answer is there: in the reactor thread, or here if it is
        there already. From any thread. What it raises is logged, but here.
        """
        callbacks, watched = self.callbacks, self.bridge.watched
        watched.add(self)  # it is to be called even if nothing else holds the call
        wrapped = partial(_call_back, callback, self.name)
        callbacks[wrapped] = None
        if self.outcome is PENDING:
            return
        # The answer came before, or just now, and may have missed the callback. The thread that
        # takes it out calls it.
        watched.discard(self)
        if take(callbacks, wrapped):
            try:
                callback()
            except Exception:  # Ctrl-C is meant for this thread
                _log.failure("Error in a done callback of {name}()", name=self.name)

    def end(self, error: BaseException) -> Deferred[Any] | None:
        """
        Answer a call that cannot be run to its end any more; return its Deferred if it has one.

        Its waiters learn of it; that nobody waits is no reason to log it.
        """
        self.withdraw()
        self.cancel_requested = True
        running = self.running
        self.answer(StoredError(self.name, error, None, self.bridge.uncollected, None), is_end=True)
        return running

    def after_fork_in_child(self, error: BaseException) -> Deferred[Any] | None:
        """
        Answer the call in a forked child: the waiters and callbacks are the parent's. Return the
        Deferred, which holds the body.
        """
        self.callbacks.clear()
        return self.end(error)

    def withdraw(self) -> bool:
        """
        Tell whether the call had not started. It never will, then. From any thread.
        """
        return claim(self, "work")

    def answer_withdrawn(self, *, calls_back: bool = True) -> None:
        """
        Answer a call that was withdrawn, or go on with that.
        """
        self.cancel_requested = True  # by the thread that withdrew it
        if self.outcome is PENDING:
            error = CancelledError(f"{self.name}() was cancelled before it started")
            self.fail(error, None, calls_back=calls_back)
        else:
            self.answer(self.outcome, calls_back=calls_back)

    def cancel(self) -> None:
        """
        Withdraw the call, or have its operation cancelled. From any thread; blocks never.
        """
        if self.withdraw():
            self.answer_withdrawn(calls_back=False)
            return
        self.cancel_requested = True
        if self.outcome is PENDING:
            self.bridge.call_from_thread(self.cancel_in_reactor)  # in its turn among the calls

    def cancel_in_reactor(self) -> None:
        """
        Cancel the Deferred of a call that has started.

        A canceller that raises has answered the call: what it was to cancel may never fire.
        """
        running = self.running
        try:
            if running is not None:
                running.cancel()
        except BaseException as error:
            if self.outcome is not PENDING:
                raise
            traceback = error.__traceback__
            self.fail(error, traceback.tb_next if traceback else None)
            del traceback
        finally:
            self.cancel_delivered = True

    @property
    def is_abandoned(self) -> bool:
        """
        Whether it is to be cancelled, and the thread that was to pass that on could not.
        """
        return self.cancel_requested is ABANDONED and not self.cancel_delivered

    def cancel_abandoned(self) -> None:
        """
        Cancel it in place of the thread that could not, in the reactor thread.
        """
        if not self.cancel_delivered:
            self.cancel_in_reactor()

    @property
    def is_stranded(self) -> bool:
        """
        Whether its Deferred has fired, or what that waits for, and there is no answer.

        That is so for a moment as Twisted calls the callbacks; and for good where an exception was
        thrown into the reactor thread just when it called one of those: there was no stack left,
        say, for the Deferred fired deep in a recursion.
        """
        running = self.running
        return (
            running is not None
            and self.outcome is PENDING
            and self.bridge.diagnosis.is_stranded(running)
        )

    def answer_stranded(self) -> None:
        """
        Have such a call answered, in the reactor thread.
        """
        running = self.running
        if running is not None and self.outcome is PENDING:
            settle = partial(pass_on, running, _settle, CellType(self))
            self.bridge.diagnosis.go_on(running, self.name, settle)


def _call_back(callback: partial[Any], name: str) -> None:
    """
    Call a done callback, in the thread that answers. Nothing is raised: others are behind it.
    """
    try:
        try:
            callback()
        except Exception:
            raise
        except BaseException:
            # More likely a signal handler's than its own: what it was to do may not be done.
            callback()
    except BaseException:  # SystemExit, too
        _log.failure("Error in a done callback of {name}()", name=name)


class AdoptedCall(Call):
    """
    A call whose answer is not handed out as it is: the waiting thread makes something of it.
    """

    __slots__ = ()

    is_adopted = True


def _settle(value: object, handed_over: CellType) -> object:
    """
    Answer with what a Deferred fired with, and leave a value to its other callbacks.
    """
    call: Call = handed_over.cell_contents
    try:
        del handed_over.cell_contents
        if is_a(Failure, value):
            # From here on the call answers for the error: nobody else need log it.
            failure = cast("Any", value)
            reason = failure.value
            if not isinstance(reason, BaseException):  # errback("text")
                reason = _errors.no_exception(call.name, reason)
            call.fail(reason, failure.tb)
            return None
        kind = type(value)
        if kind is AsyncGeneratorType and not call.is_adopted:
            call.fail(_errors.async_generator_returned(call.name), None)
            return None
        call.answer(value)
        return value
    except BaseException as error:
        # Thrown into this thread from outside.
        if call.outcome is PENDING:
            call.fail(error, error.__traceback__)
        raise
    finally:
        del call


def current_call(bridge: Bridge) -> Call | None:
    """
    Return the call in whose body this is, in the reactor thread; or None.

    The context of what is resumed later, a coroutine or inlineCallbacks, has its call. All other
    bodies are on the stack, and the bridge has the innermost.
    """
    reference = _current_call.get()
    return bridge.body_of if reference is None else reference()


def call_here(bridge: Bridge) -> Call | None:
    """
    Return the same in any thread: there, if the context is the call's, or a copy of it.

    A context that is asked for it knows it from then on, and so do those that are copied from it.
    """
    reference = _current_call.get()
    if reference is not None:
        return reference()
    if get_ident() != bridge.reactor_thread:
        return None
    remember_call(bridge)
    return bridge.body_of


def remember_call(bridge: Bridge) -> None:
    """
    Have the rest of a body, which will be resumed by Twisted, know its call.
    """
    call = bridge.body_of
    if call is not None:
        _current_call.set(ref(call))
