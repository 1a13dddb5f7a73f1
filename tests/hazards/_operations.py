"""
Operations that last until they are cancelled, and what is left of them.
"""

from __future__ import annotations

from _verdict import PATIENCE, Breach, check
from twisted.internet.defer import Deferred

import crochet


class Operations:
    """
    Counts the operations that run. All of it but settle() in the reactor thread.
    """

    def __init__(self) -> None:
        self.started = 0
        self.running: set[Deferred[object]] = set()

    def start(self) -> Deferred[object]:
        """
        Start one: a Deferred that fires when it is cancelled.
        """
        operation: Deferred[object] = Deferred()
        self.started += 1
        self.running.add(operation)

        def ended(value: object) -> object:
            self.running.discard(operation)
            return value

        return operation.addBoth(ended)

    def settle(self) -> int:
        """
        Return how many run, once the reactor has done all that it was asked to; then end them.

        Call it from any thread but the reactor's; a breach if the reactor is dead.
        """
        return settled(self._end_all)

    def _end_all(self) -> int:
        left = list(self.running)
        for operation in left:
            if not operation.called:
                operation.callback(None)
        return len(left)


def settled(last: object = None) -> int:
    """
    Have the reactor do all that it was asked to and then one thing more, whose value is returned.
    """
    try:
        return _run(last)
    except crochet.TimeoutError:
        raise Breach(f"the reactor is dead: no answer in {PATIENCE:g} s") from None


@crochet.wait_for(timeout=PATIENCE)
def _run(last):
    if last is None:
        return None
    # Once more around: a cancellation may have been handed on when the first turn began. And by a
    # timer, for calls of ours may come twice between two turns of Twisted's own queue.
    from twisted.internet import reactor

    turned: Deferred[object] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned.addCallback(lambda _: last())


def check_alive() -> None:
    """
    Check that the reactor still answers.
    """
    check(settled(lambda: 7) == 7, "the reactor answers wrongly")
