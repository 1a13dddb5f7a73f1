"""
The reactor's methods, for a prompt.

Twisted's API belongs to the reactor thread. But whoever types ``reactor.callLater(1, beep)`` or
``await deferLater(reactor, 1)`` at a prompt is in another one, where that may be lost: the reactor
looks for new timers only when it wakes, and replaces its list of them in several steps. So while
there is a prompt, the methods that programs call are replaced in the reactor object by ones that
have them called in its thread, and wait for that.

Threads: they may be called from any. In the reactor thread they are the method itself, and so they
are while no reactor runs: then nobody else is at it.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from functools import wraps
from typing import Any

from .._core.bridge import Bridge
from .._core.decorators import Decorators
from .._reactor.reactor import METHODS


class Carried:
    """
    The methods of one reactor, carried to its thread between ``start()`` and ``stop()``.
    """

    def __init__(self, reactor: Any, bridge: Bridge, calls: Decorators) -> None:
        self._reactor = reactor
        self._bridge = bridge
        self._calls = calls
        self._replaced: dict[str, object] = {}

    def start(self) -> None:
        """
        Replace the methods, but for those that somebody else has replaced. Blocks never.
        """
        for name in METHODS:
            method = getattr(self._reactor, name, None)
            if method is not None and name not in vars(self._reactor):
                self._replaced[name] = carried = self._carry(method)
                setattr(self._reactor, name, carried)

    def stop(self) -> None:
        """
        Put back the methods. Blocks never.
        """
        for name, carried in self._replaced.items():
            if vars(self._reactor).get(name) is carried:
                delattr(self._reactor, name)
        self._replaced.clear()

    def _carry(self, method: Callable[..., Any]) -> Callable[..., Any]:
        bridge = self._bridge
        from_elsewhere = self._calls.wait_for(None)(method)

        @wraps(method)
        def carried(*args: Any, **kwargs: Any) -> Any:
            if bridge.reactor_thread in (None, get_ident()):
                return method(*args, **kwargs)
            return from_elsewhere(*args, **kwargs)

        return carried
