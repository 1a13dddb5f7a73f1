"""
How a stream's body is told to end.

What must always hold:

1. A body is told once: its cleanup is not interrupted by a second closing.
2. A stream that was dropped tells its body, and waits for nobody: that may be a garbage collection.
3. Whoever waits for an item meanwhile is released:

   1. The waiting thread leaves what wakes it in ``pipe.wake``, then looks at ``is_closed``.
   2. The closing thread sets ``is_closed``, then wakes whom it finds there.

   Verdict: one of them sees what the other did.

Threads: any, a signal handler and a destructor too; ``_end_in_reactor()`` is the reactor thread's.
"""

from __future__ import annotations

import sys

from .._core.bridge import Bridge
from .._core.call import ABANDONED, PENDING, Call
from .pipe import Pipe


class Closed:
    """
    What is left of a Closer when there is nothing to be done any more.
    """

    __slots__ = ("bridge", "call", "pipe")

    def __init__(self, bridge: Bridge, call: Call, pipe: Pipe) -> None:
        self.bridge: Bridge = bridge
        self.pipe: Pipe = pipe
        self.call: Call = call

    def close_soon(self) -> bool:
        """
        Have the body end, in any way it likes, and tell whether it had begun. Blocks never.
        """
        pipe, call = self.pipe, self.call
        pipe.is_closed = True  # before looking who waits; see the head of this file
        pipe.release()
        if call.withdraw():
            call.answer_withdrawn(calls_back=False)
            return False
        if call.outcome is PENDING:
            self.bridge.call(_end_in_reactor, pipe, call)
        return True

    def disarm(self) -> None:
        """
        Have nothing come of the end of this.
        """
        # By a class without a destructor: that would take a signal's exception for its own, and
        # Python drops those.
        self.__class__ = Closed  # pyright: ignore


class Closer(Closed):
    """
    Has the body of a stream end when it is dropped. A stream holds it, and nobody else.
    """

    __slots__ = ()

    def __del__(self) -> None:
        if not sys.is_finalizing() and hasattr(self, "call"):  # or else it is half made
            try:
                self.close_soon()
            except BaseException:
                # A signal handler's, which Python drops. Or there is no stack left: then the watch
                # does it, see Call.cancel_abandoned().
                self.call.cancel_requested = ABANDONED
                self.close_soon()
                raise


def _end_in_reactor(pipe: Pipe, call: Call) -> None:
    if not pipe.is_ending:
        pipe.is_ending = True
        call.cancel_requested = True  # its CancelledError is no news
        call.cancel_in_reactor()
