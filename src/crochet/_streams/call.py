"""
The call of a stream's body and its driver, and how that is told to end.

What must always hold:

1. A body is told once: its cleanup is not interrupted by a second closing.
2. A stream that was dropped has its body told, by the finalizer thread.
3. Whoever waits for an item meanwhile is released:

   1. The waiting thread leaves what wakes it in ``pipe.wake``, then looks at ``is_closed``.
   2. The closing thread sets ``is_closed``, then wakes whom it finds there.

   Verdict: one of them sees what the other did.

Threads: any, a signal handler too, may close.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred

from .._core.call import PENDING, Call
from .._threads.finalizer import Finalizer
from .pipe import Pipe


class StreamCall(Call):
    """
    The call of a stream's body and its driver.
    """

    __slots__ = ("finalizer", "pipe")

    # Both are written before the call is entered. What has the body end when its stream is dropped,
    # unless that goes on without it.
    finalizer: ref[Finalizer] | None
    pipe: Pipe

    @property
    def details(self) -> str:
        """
        How many items there were, and who waits for whom.
        """
        return self.pipe.described

    def close_soon(self) -> bool:
        """
        Have the body end, in any way it likes, and tell whether it had begun. Blocks never.
        """
        pipe = self.pipe
        pipe.is_closed = True  # before looking who waits; see the head of this file
        pipe.release()
        if self.withdraw():
            self.answer_withdrawn(calls_back=False)
            return False
        if self.outcome is PENDING:
            self.bridge.call(_end_in_reactor, self)
        return True

    def after_fork_in_child(self, error: BaseException) -> Deferred[Any] | None:
        """
        Leave the body to the parent, also when the stream is dropped. (After a fork in C, CPython
        3.13 crashes where something is put to a thread that waited in the parent.)
        """
        finalizer = None if self.finalizer is None else self.finalizer()
        if finalizer is not None:
            finalizer.detach()
            self.finalizer = None
        return super().after_fork_in_child(error)

    @property
    def is_abandoned(self) -> bool:
        """
        Whether its stream was dropped where no stack was left to tell that to the finalizer thread;
        or just now.
        """
        finalizer = self.finalizer
        return finalizer is not None and finalizer() is None and not self.pipe.is_closed

    def cancel_abandoned(self) -> None:
        """
        Have the body end in place of that thread, in the reactor thread.
        """
        self.close_soon()


def _end_in_reactor(call: StreamCall) -> None:
    if not call.pipe.is_ending:
        call.pipe.is_ending = True
        call.cancel_requested = True  # its CancelledError is no news
        call.cancel_in_reactor()
