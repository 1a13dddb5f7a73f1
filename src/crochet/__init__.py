"""
Call an event loop, asyncio's or Twisted's, from blocking, threaded code.

The public names. No logic.

PYTEST_DONT_REWRITE, for pytest warns of each package with a plugin that was imported before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _api, _eventloop, _legacy
from ._api import (
    as_completed,
    blocking,
    context_in_reactor,
    dump,
    gather,
    iterate_in_reactor,
    no_setup,
    peek_result,
    progress_bar,
    reactor_only,
    report_progress,
    retrieve_result,
    run_in_caller,
    run_in_reactor,
    running,
    setup,
    shutdown,
    status,
    wait_for,
)
from ._api import load_ipython_extension as load_ipython_extension
from ._api import unload_ipython_extension as unload_ipython_extension
from ._core.deadline import deadline
from ._core.progress import Progress
from ._core.result import EventualResult
from ._diagnostics.status import CallInFlight, Lag, Status
from ._errors import (
    BlockingInLoopWarning,
    DeadlockError,
    Place,
    ReactorBusy,
    ReactorStopped,
    RemoteError,
    ResultLost,
    TimeoutError,
)
from ._legacy import in_reactor as in_reactor
from ._legacy import wait_for_reactor as wait_for_reactor
from ._lifecycle.register import register
from ._stash import names as _names
from ._stash.serializer import PickleSerializer
from ._streams.channel import Channel
from ._streams.stream import Stream

__version__ = "3.0.0"

_event_loop = _api.lifecycle
_extension = _api.extension
_main = _api.main

if TYPE_CHECKING:
    from ._stash.local import LocalStash
    from ._stash.redis import RedisStash

if not TYPE_CHECKING:
    EventLoop = _eventloop.EventLoop

    # To type checkers it would mean that the package has any name there is.
    def __getattr__(name):
        if name in _names.NAMES:
            return _names.look_up(name, globals())
        return _legacy.look_up(name, globals())


__all__ = [
    "BlockingInLoopWarning",
    "CallInFlight",
    "Channel",
    "DeadlockError",
    "EventualResult",
    "Lag",
    "LocalStash",
    "PickleSerializer",
    "Place",
    "Progress",
    "ReactorBusy",
    "ReactorStopped",
    "RedisStash",
    "RemoteError",
    "ResultLost",
    "Status",
    "Stream",
    "TimeoutError",
    "__version__",
    "as_completed",
    "blocking",
    "context_in_reactor",
    "deadline",
    "dump",
    "gather",
    "iterate_in_reactor",
    "no_setup",
    "peek_result",
    "progress_bar",
    "reactor_only",
    "register",
    "report_progress",
    "retrieve_result",
    "run_in_caller",
    "run_in_reactor",
    "running",
    "setup",
    "shutdown",
    "status",
    "wait_for",
]
