"""
The other way: from the reactor thread into the thread that waits for a call.

What must always hold:

1. A function that is to be run in a waiting thread is run once there, or never.
2. Its Deferred fires, whatever becomes of that thread.

What is to be run is a task, put to the waiter of a thread that waits for the call in whose body
this is asked for; see ``call.current_call()`` for which call that is. A wait that ends first drops
its waiter with the task, and then the finalizer thread tells the reactor thread.

Threads: ``run_in_caller()`` runs in the reactor thread, the task in the one that waits. The
Deferred is touched in the reactor thread only.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Callable
from functools import partial
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from .._threads.finalizer import Finalizer
from .._threads.primitives import Waiter, entries_of, pop_first
from .bridge import Bridge
from .call import Call, current_call


class CallerTask:
    """
    Something to be done in a waiting thread, and whom to tell what came of it.
    """

    def __init__(
        self,
        call: Call,
        work: Callable[[], object],
        bridge: Bridge,
        answer: Deferred[object],
    ) -> None:
        self._expect_cancellation = partial(_expect_cancellation, ref(call))
        self._work: deque[Callable[[], object]] = deque([work])  # taken out to be run, or dropped
        self._bridge = bridge
        self._answer = answer
        # It may be dropped, or a signal may end it half-way.
        in_vain = partial(_fail, bridge, answer, call.name)
        self._finalizer = Finalizer(bridge.when_dropped, in_vain)

    def __call__(self) -> None:
        work = pop_first(self._work)
        if work is None:
            return  # cancelled
        try:
            value = work()
        except Exception as error:
            self._tell(Failure(error))  # type: ignore[no-untyped-call]
        except BaseException as error:
            # Ctrl-C, say. It is meant for the thread, whose wait it ends.
            self._expect_cancellation()
            interrupted = CancelledError(f"{type(error).__name__} in the waiting thread")
            self._tell(Failure(interrupted))  # type: ignore[no-untyped-call]
            raise
        else:
            self._tell(value)

    def canceller(self) -> Callable[[object], None]:
        """
        Return what keeps it from being done. It does not hold the task, whose end has to come.
        """
        work = self._work
        return lambda _: work.clear()

    def _tell(self, outcome: object) -> None:
        self._bridge.call(_fire, self._answer, outcome)
        self._finalizer.detach()  # after it: told twice is better than never


def _fail(bridge: Bridge, answer: Deferred[object], name: str) -> None:
    bridge.call(_fire, answer, Failure(_nobody(name)))  # type: ignore[no-untyped-call]


def _fire(answer: Deferred[object], outcome: object) -> None:
    if not answer.called:  # it was cancelled while it was under way, or told before
        answer.callback(outcome)


def _nobody(name: str) -> RuntimeError:
    return RuntimeError(
        f"run_in_caller() in {name}(): no thread waits for {name}(), so there is none to run "
        "anything in. Call it in a function that is waited for, by @wait_for or "
        "EventualResult.wait(), or run blocking code in a thread of its own with deferToThread()."
    )


def run_in_caller(bridge: Bridge, work: Callable[[], object]) -> Deferred[object]:
    """
    Have *work* done in the thread that waits for this call; see :func:`crochet.run_in_caller`.
    """
    if get_ident() != bridge.reactor_thread:
        raise RuntimeError(
            "run_in_caller() is for the reactor thread, to reach the thread that waits there. "
            "This is another thread: call the function as it is."
        )
    call = current_call(bridge)
    if call is None:
        return fail(_nobody("a callback"))
    waiter = _waiter_of(call)
    if waiter is None:
        return fail(_nobody(call.name))
    answer: Deferred[object] = Deferred()
    task = CallerTask(call, work, bridge, answer)
    answer._canceller = task.canceller()
    waiter.put(task)
    return answer


def _waiter_of(call: Call) -> Waiter | None:
    for callback in entries_of(call.callbacks):
        if isinstance(callback, Waiter):
            return callback
    return None


def _expect_cancellation(reference: ref[Call]) -> None:
    """
    Note that a CancelledError will be no news, if there still is such a call.
    """
    call = reference()
    if call is not None:
        call.cancel_requested = True
