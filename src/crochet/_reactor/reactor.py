"""
The Twisted reactor: where it comes from, and what Crochet uses of it.

Nothing else in the package imports ``twisted.internet.reactor``: the first import anywhere
installs the default one, which is the program's decision and not that of ``import crochet``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol, cast


class Timer(Protocol):
    """
    What ``callLater()`` returns.
    """

    def active(self) -> bool: ...
    def cancel(self) -> None: ...


class Reactor(Protocol):
    """
    As much of Twisted's reactor as Crochet uses. Its names are Twisted's.
    """

    running: bool

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Timer: ...
    def run(self, installSignalHandlers: bool = True) -> None: ...
    def stop(self) -> None: ...
    def crash(self) -> None: ...
    def callFromThread(self, callable: Callable[..., object], *args: object) -> None: ...
    def callWhenRunning(self, callable: Callable[..., object], *args: object) -> object: ...
    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., object], *args: object
    ) -> object: ...
    def removeSystemEventTrigger(self, triggerID: object) -> None: ...


# Its methods that programs call, and that are for its thread only. They return at once, and no
# Deferred.
METHODS = (
    *("callLater", "callWhenRunning", "stop", "spawnProcess"),
    *("connectTCP", "connectSSL", "connectUNIX"),
    *("listenTCP", "listenSSL", "listenUNIX", "listenUDP", "listenMulticast"),
    *("adoptStreamPort", "adoptStreamConnection", "adoptDatagramPort"),
)


def import_reactor() -> Reactor:
    """
    Return the process's reactor, installing the default one if the program has installed none.

    Raises:
        RuntimeError: gevent or eventlet has replaced what threads are made of.
    """
    refuse_gevent()
    from twisted.internet import reactor

    return cast("Reactor", reactor)


def imported_reactor() -> Reactor | None:
    """
    Return the process's reactor if there is one yet.
    """
    return cast("Reactor | None", sys.modules.get("twisted.internet.reactor"))


# Who puts greenlets in the place of threads: the module in which it does, the function there that
# tells so, the modules asked about, and how a program has it leave them alone.
_GREEN = (
    (
        "gevent",
        "gevent.monkey",
        "is_module_patched",
        ("threading", "select"),
        "gevent.monkey.patch_all(thread=False, select=False)",
    ),
    (
        "eventlet",
        "eventlet.patcher",
        "is_monkey_patched",
        ("thread", "select"),
        "eventlet.monkey_patch(thread=False, select=False)",
    ),
)


def refuse_gevent() -> None:
    """
    Raise RuntimeError if gevent or eventlet has replaced what threads are made of.
    """
    for name, patcher, is_patched, modules, instead in _GREEN:
        tells = getattr(sys.modules.get(patcher), is_patched, None)
        for module in modules:
            if tells is not None and tells(module):
                raise RuntimeError(
                    f"{name}'s monkey-patching has replaced Python's {module!r} module, and the "
                    "reactor needs a real thread and a real poll. Serve this program with threads "
                    f"or processes instead of {name}: with gunicorn, `-k gthread`. A program that "
                    f"does the patching itself may call {instead}, but then each wait stops all "
                    "its greenlets"
                )


def call_from_thread_of(reactor: Any) -> Callable[..., object]:
    """
    Return the reactor's ``callFromThread``, also where something else stands in front of it.
    """
    kind = cast("Any", type(reactor))
    if not hasattr(kind, "callFromThread"):
        return cast("Callable[..., object]", reactor.callFromThread)
    return cast("Callable[..., object]", kind.callFromThread.__get__(reactor))


def route_of(reactor: Any) -> Callable[[Callable[..., object] | None], None] | None:
    """
    Return what puts another function where this reactor's ``callFromThread`` is looked up, or takes
    it away again, given None. Return None where the program has put one of its own there.
    """
    names = cast("dict[str, object]", vars(reactor))
    if "callFromThread" in names:
        return None
    placed: list[Callable[..., object]] = []

    def route(call_from_thread: Callable[..., object] | None) -> None:
        if call_from_thread is not None:
            placed.append(call_from_thread)
            reactor.callFromThread = call_from_thread
        elif placed and names.get("callFromThread") == placed[-1]:  # else it was wrapped meanwhile
            del reactor.callFromThread

    return route
