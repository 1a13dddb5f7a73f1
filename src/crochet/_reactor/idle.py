"""
Whether the reactor has something to do, seen in the reactor thread.

A thread that waits for the reactor need not look at it again and again while that has nothing to
do: it is called when that is over. For one turn a function of ours stands where the reactor, or
asyncio's loop, looks for the one that waits for events. Other turns are left alone.

As long as ``is_quiet`` is True no callback runs. What happens before the reactor comes to wait, and
after that, is not seen: then probe again.

Reactors that wait in another way (select, gtk, asyncio's on uvloop) are never quiet, as far as this
can tell: it is blind to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class IdleProbe:
    """
    Tells when a reactor has nothing to do, and when it has again.

    Args:
        reactor: is asked.
        on_stir: called in the reactor thread when it has something to do again. Must not block.
        clock: seconds, monotonic.
    """

    def __init__(
        self, reactor: Any, on_stir: Callable[[], object], clock: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._on_stir = on_stir
        self._clock = clock
        # All written in the reactor thread, read by any.
        self.is_quiet = False
        self.is_blind = False  # it cannot tell, and has found that out
        self.turned_at = 0.0  # when the reactor was last seen between two callbacks
        self._is_asked = False

    def probe(self) -> None:
        """
        Have the reactor say when it comes to wait for events, and when it has one. In its thread.
        """
        self.turned_at = self._clock()
        if self._is_asked:
            return
        loop = getattr(self._reactor, "_asyncioEventloop", None)
        selector = getattr(loop, "_selector", None)
        if selector is not None:
            self._is_asked = True
            select = selector.select

            def select_once(*args: Any) -> Any:
                del selector.select
                return self._wait(select, args)

            selector.select = select_once
        elif hasattr(getattr(self._reactor, "_poller", None), "poll"):
            self._is_asked = True
            self._reactor._poller = _Poller(self._reactor, self._wait)
        else:
            self.is_blind = True

    def _wait(self, poll: Callable[..., object], args: tuple[object, ...]) -> object:
        self._is_asked = False
        self.is_quiet = True
        try:
            return poll(*args)
        finally:
            self.turned_at = self._clock()
            self.is_quiet = False  # before telling; see _diagnostics/watchdog.py
            self._on_stir()


class _Poller:
    """
    Stands in for a reactor's poller until that is next called.
    """

    def __init__(self, reactor: Any, wait: Callable[..., object]) -> None:
        self._reactor = reactor
        self._wait = wait
        self._poller = reactor._poller

    def poll(self, *args: object) -> object:
        self._reactor._poller = self._poller
        return self._wait(self._poller.poll, args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)
