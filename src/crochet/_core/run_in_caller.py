"""
The other way: from the reactor thread into the thread that waits there.

What is to be run is an errand for whoever waits for the call in whose body this is asked; see
primitives.py. Which call that is, the stack says, or the context; see ``_starting.current_call()``.

An errand that nobody runs, for the waiter has gone, is dropped with the waiter's gate, wherever
that happens. So it is its ``__del__`` that tells the reactor thread.

Threads: run_in_caller() is the reactor thread's, Visit.__call__ the waiter's, and Visit.__del__
anybody's. The Deferred is touched in the reactor thread only.
"""

from __future__ import annotations

from _thread import LockType, get_ident
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from .._threads.primitives import send_errand
from . import call as _starting
from . import result as _result
from .bridge import Bridge
from .result import EventualResult


class Visit:
    """
    Something to be done in a waiting thread, and whom to tell what came of it.
    """

    def __init__(
        self,
        result: EventualResult[object],
        work: Callable[[], object],
        bridge: Bridge,
        answer: Deferred[object],
    ) -> None:
        self._name = _result.name_of(result)
        self._expect_cancellation = partial(_result.expect_cancellation, ref(result))
        self._work: list[Callable[[], object]] = [work]  # whoever takes it does it, or drops it
        self._bridge = bridge
        self._answer = answer

    def __call__(self) -> None:
        try:
            work = self._work.pop()
        except IndexError:
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
        Return what keeps it from being done. It does not hold the visit, whose end has to come.
        """
        work = self._work
        return lambda _: work.clear()

    def __del__(self) -> None:
        with suppress(AttributeError):  # half made
            # It was dropped, or a signal ended it half-way.
            self._tell(Failure(_nobody(self._name)))  # type: ignore[no-untyped-call]

    def _tell(self, outcome: object) -> None:
        self._bridge.call(_fire, self._answer, outcome)
        # After it: told twice is better than never. A class without a destructor, for in that a
        # signal's exception would be dropped.
        self.__class__ = _Told  # type: ignore[assignment]  # pyright: ignore


class _Told:
    """
    A visit of whose end somebody knows.
    """


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
    result = _starting.current_call()
    if result is None:
        return fail(_nobody("a callback"))
    gate = _gate(result)
    if gate is None:
        return fail(_nobody(_result.name_of(result)))
    answer: Deferred[object] = Deferred()
    visit = Visit(result, work, bridge, answer)
    answer._canceller = visit.canceller()
    send_errand(gate, visit)
    return answer


def _gate(result: EventualResult[object]) -> LockType | None:
    for waker in _result.waiters_of(result):
        gate = getattr(waker, "__self__", None)
        if hasattr(gate, "locked"):
            return cast("LockType", gate)
    return None
