"""
Call Twisted from blocking, threaded code.

The public names, and the process's one event loop. No logic.

PYTEST_DONT_REWRITE, for pytest warns of each package with a plugin that was imported before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ._api import Entrance
from ._core.deadline import deadline
from ._core.result import EventualResult
from ._diagnostics.dump import Dump, Dumper
from ._errors import (
    BlockingInLoopWarning,
    DeadlockError,
    Place,
    ReactorBusy,
    ReactorStopped,
    TimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core.run_in_caller import RunInCaller
    from ._core.signatures import InReactor, RetrieveResult, RunInReactor, WaitFor, Waiting  # pyright: ignore[reportMissingModuleSource]
    from ._diagnostics.guards import ReactorOnly
    from ._diagnostics.status import CallInFlight, Lag, Status
    from ._interactive.ipython import Extension, Shell
    from ._lifecycle.lifecycle import EventLoop
    from ._lifecycle.register import register
    from ._ways_in import Running, Setup, Shutdown

__version__ = "3.0.0"

# `%reload_ext crochet` runs this file anew, and the process's reactor has one event loop.
_entry: Entrance = globals().get("_entry") or Entrance(__name__)

# Types are written out: checkers of programs do not infer those of another package's variables.
setup: Setup = _entry.setup
no_setup: Callable[[], None] = _entry.no_setup
running: Running = _entry.running
shutdown: Shutdown = _entry.shutdown
status: Callable[[], Status] = _entry.status
run_in_reactor: RunInReactor = cast("RunInReactor", _entry.calls.run_in_reactor)
wait_for: WaitFor = cast("WaitFor", _entry.calls.wait_for)
retrieve_result: RetrieveResult = cast("RetrieveResult", _entry.retrieve_result)
_main = _entry.main
dump: Dump = Dumper(_entry.bridge).dump  # whatever hangs: it is there, for a signal handler

if TYPE_CHECKING:
    # These are loaded when they are looked up.
    run_in_caller: RunInCaller
    reactor_only: ReactorOnly
    load_ipython_extension: Callable[[Shell], None]
    unload_ipython_extension: Callable[[Shell], None]
    in_reactor: InReactor
    wait_for_reactor: Waiting
    _event_loop: EventLoop
    _extension: Extension
else:
    # To type checkers it would mean that the package has any name there is.
    def __getattr__(name):
        return _entry.look_up(name, globals())

    def __dir__():
        more = ("in_reactor", "load_ipython_extension", "unload_ipython_extension")
        return sorted({*globals(), *__all__, *more, "wait_for_reactor"})


__all__ = [
    "BlockingInLoopWarning",
    "CallInFlight",
    "DeadlockError",
    "EventualResult",
    "Lag",
    "Place",
    "ReactorBusy",
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
