"""
Call Twisted from blocking, threaded code.

The public names, and the process's one event loop. No logic.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from ._children import ChildWatcher
from ._errors import DeadlockError, ReactorStopped, TimeoutError
from ._legacy import Legacy, deprecated_name, register
from ._logs import LogBridge
from ._loop import EventLoop, at_fork, start_thread
from ._reactors import import_reactor
from ._result import EventualResult

__version__ = "3.0.0"

_event_loop = EventLoop(
    import_reactor=import_reactor,
    start_thread=start_thread,
    at_exit=atexit.register,
    at_fork=at_fork,
    logs=LogBridge(start_thread=start_thread),
    watch_children=lambda reactor: ChildWatcher(reactor, start_thread),
)
_old_names = Legacy(_event_loop.calls)

setup = _event_loop.setup
no_setup = _event_loop.no_setup
running = _event_loop.running
shutdown = _event_loop.shutdown
run_in_reactor = _event_loop.calls.run_in_reactor
wait_for = _event_loop.calls.wait_for
retrieve_result = _event_loop.retrieve_result
in_reactor = _old_names.in_reactor
wait_for_reactor = _old_names.wait_for_reactor

if not TYPE_CHECKING:
    # To type checkers it would mean that the package has any name there is.
    __getattr__ = deprecated_name

__all__ = [
    "DeadlockError",
    "EventualResult",
    "ReactorStopped",
    "TimeoutError",
    "__version__",
    "no_setup",
    "register",
    "retrieve_result",
    "run_in_reactor",
    "running",
    "setup",
    "shutdown",
    "wait_for",
]
