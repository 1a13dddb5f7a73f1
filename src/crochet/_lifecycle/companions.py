"""
What goes along with a reactor, as the event loop sees it: who watches it, sees its children, logs.

Each has a thread or descriptors of its own, and forgets in a forked child what is the parent's.
They are made outside and handed in, so that tests can hand in others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._core.bridge import Bridge, CallFromThread
from .._reactor.reactor import Reactor
from .._threads.threads import StartThread


class Logs(Protocol):
    """
    What takes Twisted's log events to the program's logging.
    """

    notice_fork: Callable[[], object]

    def start(self) -> None: ...
    def stop(self, timeout: float) -> bool: ...
    def finish(self, timeout: float) -> bool: ...
    def get_caller(self) -> CallFromThread | None: ...
    def reset_after_fork(self) -> None: ...


class Children(Protocol):
    """
    What sees child processes end.
    """

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def forget_after_fork(self) -> None: ...


class Watching(Protocol):
    """
    What watches a reactor's thread.
    """

    stall_warning: float

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self) -> None: ...
    def after_fork_in_child(self) -> None: ...
    def get_caller(self) -> CallFromThread | None: ...


class Watch(Protocol):
    """
    Makes what watches a reactor's thread.
    """

    def __call__(
        self, reactor: Reactor, bridge: Bridge, start_thread: StartThread, stall_warning: float, /
    ) -> Watching: ...
