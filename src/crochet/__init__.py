"""
Call Twisted from blocking, threaded code.

The public names, and the process's one event loop. No logic.

PYTEST_DONT_REWRITE, for pytest warns of each package with a plugin that was imported before it.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ._caller import Callers, RunInCaller
from ._calls import RunInReactor, WaitFor
from ._children import ChildWatcher
from ._deadline import deadline
from ._debug import ThreadCheck
from ._dump import Dump, Dumper
from ._errors import DeadlockError, ReactorStopped, TimeoutError
from ._guards import Guards, ReactorOnly
from ._ipython import Extension, Shell
from ._legacy import InReactor, Legacy, WaitForReactor, deprecated_name, register
from ._logs import LogBridge
from ._loop import EventLoop, Running, Setup, Shutdown, at_fork, start_thread
from ._places import Place
from ._reactors import import_reactor
from ._result import EventualResult
from ._status import CallInFlight, Lag, Status
from ._watch import Watch

__version__ = "3.0.0"

# `%reload_ext crochet` runs this file anew, and the process's reactor has one event loop.
_event_loop: EventLoop = globals().get("_event_loop") or EventLoop(
    import_reactor=import_reactor,
    start_thread=start_thread,
    at_exit=atexit.register,
    at_fork=at_fork,
    logs=LogBridge(start_thread=start_thread),
    watch_children=lambda reactor: ChildWatcher(reactor, start_thread),
    check_threads=ThreadCheck,
    watch=Watch,
)
_old_names = Legacy(_event_loop.calls)
_extension = Extension(_event_loop, __name__, "_extension")

# Types are written out: checkers of programs do not infer those of another package's variables.
setup: Setup = _event_loop.setup
no_setup: Callable[[], None] = _event_loop.no_setup
running: Running = _event_loop.running
shutdown: Shutdown = _event_loop.shutdown
status: Callable[[], Status] = _event_loop.status
run_in_reactor: RunInReactor = cast("RunInReactor", _event_loop.calls.run_in_reactor)
wait_for: WaitFor = cast("WaitFor", _event_loop.calls.wait_for)
run_in_caller: RunInCaller = Callers(_event_loop.bridge).run_in_caller
reactor_only: ReactorOnly = Guards(_event_loop.bridge).reactor_only
dump: Dump = Dumper(_event_loop.bridge).dump
retrieve_result: Callable[[int], EventualResult[object]] = _event_loop.retrieve_result
load_ipython_extension: Callable[[Shell], None] = _extension.load
unload_ipython_extension: Callable[[Shell], None] = _extension.unload
in_reactor: InReactor = _old_names.in_reactor
wait_for_reactor: WaitForReactor = _old_names.wait_for_reactor

if not TYPE_CHECKING:
    # To type checkers it would mean that the package has any name there is.
    __getattr__ = deprecated_name

__all__ = [
    "CallInFlight",
    "DeadlockError",
    "EventualResult",
    "Lag",
    "Place",
    "ReactorStopped",
    "Status",
    "TimeoutError",
    "__version__",
    "deadline",
    "dump",
    "no_setup",
    "reactor_only",
    "register",
    "retrieve_result",
    "run_in_caller",
    "run_in_reactor",
    "running",
    "setup",
    "shutdown",
    "status",
    "wait_for",
]
