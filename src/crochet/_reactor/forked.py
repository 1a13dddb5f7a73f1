"""
A reactor that a forked child has from its parent, and that has never run in the child.

Its object is the child's own, and its poller and waker are shared with the parent's: what is
registered or taken away there is so in the parent, too. So before it runs in the child, it gets
new ones, by ``make_own()``; or loses them at once where nobody else will see to that.

A child has one without hooks of ours having told it so: importing us adds none, so that a process
which was forked between the import and ``setup()`` finds out by its number.

Threads: a forked child's only thread, and then whoever holds the loop's setup lock.
"""

from __future__ import annotations

from .asyncio_loop import LoopFactory
from .reactor import Reactor, imported_reactor, make_own, make_runnable, release_in_child


class Inheritance:
    """
    What there is of the kind in this process: at most one reactor.
    """

    def __init__(self) -> None:
        # In a forked child: a reactor that has never run here, and shares its poller and waker
        # with the parent's.
        self.reactor: Reactor | None = None

    def find(self) -> None:
        """
        Take the reactor that is imported for the parent's, unless it runs.
        """
        reactor = imported_reactor()
        if reactor is not None and not getattr(reactor, "running", True):  # half imported
            self.reactor = reactor

    def release(self) -> None:
        """
        Close what is shared, in a child whose parent was in the middle of ``setup()``.
        """
        if self.reactor is not None:
            # Another thread was about to revive it, and may have done half of that.
            release_in_child(self.reactor)

    def make_runnable(self, reactor: Reactor, loop_factory: LoopFactory | None) -> None:
        """
        Make a reactor ready to run in this process, whosever it was.
        """
        if reactor is self.reactor:
            make_own(reactor, loop_factory)
        make_runnable(reactor, loop_factory)
        self.reactor = None
