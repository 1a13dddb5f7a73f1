"""
What a program has called when its main thread has ended: the functions given to ``register()``.

They run in the main thread, before Python waits for non-daemon threads: one of them may be what
tells such a thread to end. ``atexit`` comes after that wait, so a function that was given to it
would never run, and the process never end. The hook for this moment is ``threading``'s, which
``concurrent.futures`` uses for the same purpose. It is private: checked on CPython 3.10 to 3.14.
Without it, or once that moment has passed, ``atexit`` has to do.

The last registered is called first, as 2.1.1 did it. One that is registered while they run is next.

An entry and the moment from which on it is too late for every hook:

1. A thread appends its entry, sets a hook, then looks at ``_is_too_late``. It calls what is there
   itself if that is set.
2. The main thread sets ``_is_too_late``, then calls what is there.

So the main thread sees the entry, or the other one sees the flag, and ``pop_first()`` gives each
entry to one of them. No lock: a fork could copy it locked.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import ParamSpec

from twisted.logger import Logger

from .._core.decorators import name_of_function
from .._threads.primitives import pop_first

P = ParamSpec("P")

_log = Logger(namespace="crochet")

# The last one first, with the process that each was registered in: a forked child calls none of its
# parent's.
_registered: deque[tuple[int, Callable[[], object]]] = deque()
_is_too_late = False


def register(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """
    Have *function* called when the main thread has ended, the last registered first.

    The reactor still runs then, and so do other threads. Python waits for those that are not
    daemons only after that, so *function* may tell them to end. It is called in the main thread,
    and exit waits for it. What it raises is logged, and the others are still called. Once
    the main thread has ended, this does what ``atexit.register`` does.

    A forked child does not call what its parent has registered.

    Call it from any thread. Never blocks.

    Example:
        >>> register(print, "the main thread has ended")
    """
    _registered.appendleft((os.getpid(), partial(function, *args, **kwargs)))
    try:
        # Each time: whether another's hook is still to come, nobody can know without a lock.
        threading._register_atexit(_after_main)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):  # there is no such hook; or it has been called
        atexit.register(_at_exit)
    if _is_too_late:
        _call_all()


def _after_main() -> None:
    _call_all()
    # While Python waits for other threads these may register more; and exit hooks, then.
    atexit.register(_at_exit)


def _at_exit() -> None:
    global _is_too_late
    _is_too_late = True  # atexit drops what its own hooks register
    _call_all()


def _call_all() -> None:
    while (entry := pop_first(_registered)) is not None:
        process, call = entry
        if process != os.getpid():
            continue
        try:
            call()
        except BaseException:  # SystemExit, too: Python would then wait for no thread
            name = name_of_function(call)
            _log.failure("Error in {name}(), which was given to crochet.register()", name=name)
