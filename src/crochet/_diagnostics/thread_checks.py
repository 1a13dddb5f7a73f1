"""
Refuses uses of Twisted in other threads than the reactor's, while CROCHET_DEBUG is set.

Twisted is not thread-safe but for ``callFromThread()``, and says nothing to a thread that uses it
all the same: a timer is noticed when the reactor next wakes up for something else, a callback runs
in two threads at once. Under the switch such a call raises there and then. What must always hold:

1. Without the switch nothing is wrapped, and nothing costs anything.
2. What Twisted allows is not refused: ``callFromThread()``, all that is done before the reactor
   runs and after it has ended, Deferreds that have nothing to do with the reactor.
3. When the reactor has ended everything is as it was.

While no thread is the reactor's everything is allowed, so the wrappers may outlive the reactor's
run: it was stopped by the program, or they were inherited in a fork.

Threads: install() and uninstall() are called under the loop's setup lock; the wrappers anywhere.
The mark on a Deferred is written in the reactor thread, and never taken away.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable, Mapping
from functools import wraps
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import Deferred, getDebugging, setDebugging

from .. import _errors
from .._core.bridge import Bridge
from .._reactor.reactor import METHODS
from .._threads.threads import name_of_thread
from .frames import is_ours
from .in_loop import wants_debug

# The reactor's methods that are for its thread only. callWhenRunning() calls at once, in whatever
# thread, if the reactor runs. They are wrapped in the object itself: a program that took callLater
# out of the reactor beforehand has the unwrapped one. Transports use them in the end: to write to
# one from another thread is seen as reactor.addWriter().
_REACTOR = (
    *METHODS,
    *("crash", "addReader", "addWriter", "removeReader", "removeWriter"),
    *("connectUNIXDatagram", "listenUNIXDatagram"),
)
# What makes a Deferred the reactor's, if done in its thread: to make it, to give it a callback or
# to await it there, which is the same. One that no reactor thread has touched may be fired
# anywhere: a unit test does all of it in the main thread. So one that another thread has made, and
# whose callbacks it has added, is not seen; nor is one that only waits for it, having been returned
# by another's callback; nor one of an earlier run of the reactor, whose thread is gone.
_TOUCHING = ("__init__", "addCallbacks", "addCallback", "addErrback", "addBoth")
_FIRING = ("callback", "errback", "cancel")
# Of the timers that this reactor has made. A Clock's are of the same class, and left alone.
_TIMING = ("cancel", "reset", "delay")

# Ident of the thread that is about to run the reactor, if there is one.
NextThread = Callable[[], "int | None"]


class ThreadCheck:
    """
    What refuses calls from foreign threads.

    Args:
        bridge: knows the reactor thread.
        is_wanted: asked at each install().
    """

    def __init__(self, bridge: Bridge, is_wanted: Callable[[], bool] = wants_debug) -> None:
        self._bridge = bridge
        self._is_wanted = is_wanted
        self._next_thread: NextThread = _nobody
        # Marks the Deferreds of one life of the reactor. Guarded by the setup lock.
        self._life = object()
        # How to take off each wrapper, in the order they were put on. Guarded by the setup lock.
        self._undo: list[Callable[[], None]] = []

    def install(self, reactor: object, next_thread: NextThread | None = None) -> None:
        """
        Wrap what is to be refused, if that is wanted. Call it in any thread; blocks never.

        Args:
            reactor: has not run, or not since uninstall().
            next_thread: tells which thread is going to run it.
        """
        self.uninstall()
        if not self._is_wanted():
            return
        # Not at the top: who imports Crochet need not have a reactor, nor what one is made of.
        from twisted.internet.base import DelayedCall

        self._next_thread = next_thread or _nobody
        self._life = object()
        if not getDebugging():
            # Twisted notes where each Deferred is made, which the texts of timeouts tell then.
            setDebugging(True)
            self._undo.append(lambda: setDebugging(False))
        for name in _REACTOR:
            if hasattr(reactor, name):
                self._wrap(reactor, name, self._checked)
        for name in _TIMING:
            self._wrap(DelayedCall, name, lambda m, name: self._checked_timer(m, name, reactor))
        for name in _TOUCHING:
            self._wrap(Deferred, name, self._marking)
        for name in _FIRING:
            self._wrap(Deferred, name, self._checked_deferred)

    def uninstall(self) -> None:
        """
        Put everything back. Done before, it does nothing. Call it in any thread; blocks never.

        What somebody else has wrapped in the meantime is left to him; it lets everything pass once
        no reactor runs.
        """
        while self._undo:
            self._undo.pop()()
        self._next_thread = _nobody

    def _wrap(self, owner: Any, name: str, wrap: Callable[[Any, str], Any]) -> None:
        own = cast("Mapping[str, object]", vars(owner))
        had = name in own
        method = getattr(owner, name)
        wrapper = wraps(method)(wrap(method, name))

        def undo() -> None:
            if own.get(name) is wrapper:
                if had:
                    setattr(owner, name, method)
                else:
                    delattr(owner, name)

        self._undo.append(undo)
        setattr(owner, name, wrapper)

    def _checked(self, method: Any, name: str) -> Callable[..., object]:
        def checked(*args: object, **kwargs: object) -> object:
            # The reactor makes its thread pool for whoever first needs it.
            caller = sys._getframe(1).f_code.co_name
            if (name, caller) != ("callWhenRunning", "_initThreadPool"):
                self._refuse(f"reactor.{name}")
            return method(*args, **kwargs)

        return checked

    def _checked_timer(self, method: Any, name: str, reactor: object) -> Callable[..., object]:
        def checked(timer: Any, *args: object, **kwargs: object) -> object:
            if getattr(timer.resetter, "__self__", None) is reactor:
                self._refuse(f"IDelayedCall.{name}")
            return method(timer, *args, **kwargs)

        return checked

    def _marking(self, method: Any, name: str) -> Callable[..., object]:
        def marking(deferred: Any, *args: object, **kwargs: object) -> object:
            if get_ident() == self._reactor_thread():
                deferred._crochet_life = self._life
            return method(deferred, *args, **kwargs)

        return marking

    def _checked_deferred(self, method: Any, name: str) -> Callable[..., object]:
        def checked(deferred: Any, *args: object, **kwargs: object) -> object:
            if getattr(deferred, "_crochet_life", None) is self._life:
                self._refuse(f"Deferred.{name}")
            return method(deferred, *args, **kwargs)

        return checked

    def _reactor_thread(self) -> int | None:
        # Between setup() and the first step of its new thread the bridge knows of none yet. It must
        # not be left to chance whether a call right after setup() is refused.
        return self._bridge.reactor_thread or self._next_thread()

    def _refuse(self, what: str) -> None:
        here, there = get_ident(), self._reactor_thread()
        if there is not None and here != there:
            line = _line_of(sys._getframe(1))
            raise _errors.foreign_call(what, line, name_of_thread(here), name_of_thread(there))


def _nobody() -> None:
    return None


def _line_of(frame: FrameType | None) -> str:
    """
    Return the innermost line of the program: not Twisted's, and not ours.
    """
    innermost = frame
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package != "twisted" and not is_ours(frame.f_code.co_filename):
            break
        frame = frame.f_back
    frame = frame or innermost
    assert frame is not None
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}()"
