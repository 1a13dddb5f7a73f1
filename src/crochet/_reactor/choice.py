"""
Which reactor a program asks for, and whether it can have it.

A process has one reactor. It is whichever is installed first, and the first import of
``twisted.internet.reactor`` installs the default one; so a program asks at its top, or finds
another in place and is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

from twisted.internet import main
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.interfaces import IReactorCore

from .asyncio_loop import LoopFactory, new_loop
from .reactor import Reactor, imported_reactor, refuse_gevent
from .restart import refuse_beyond_select, release

ReactorName = Literal["asyncio", "default", "epoll", "poll", "select"]


class InstalledReactor(Protocol):
    """
    What can be told of Twisted's reactors, by type checkers.
    """

    def callFromThread(self, callable: Callable[..., object], /, *args: object) -> object:
        """
        Have something called in the reactor thread.
        """


# A reactor by its name, or the installed one: for type checkers, which do not know that its module
# replaces itself, that is a module.
ReactorChoice = ReactorName | InstalledReactor | IReactorCore | ModuleType

# Where each is, and the class.
_KINDS = {
    "asyncio": ("asyncioreactor", "AsyncioSelectorReactor"),
    "epoll": ("epollreactor", "EPollReactor"),
    "poll": ("pollreactor", "PollReactor"),
    "select": ("selectreactor", "SelectReactor"),
}


class Choice:
    """
    A reactor as ``setup()`` is asked for it; None and None stand for the one there is.

    Raises:
        TypeError: *reactor* is neither a name nor a reactor, or *loop_factory* no function.
        ValueError: there is no reactor of that name, or it takes no *loop_factory*.
    """

    def __init__(self, reactor: ReactorChoice | None, loop_factory: LoopFactory | None) -> None:
        asked = cast("Any", reactor)
        names = ", ".join(repr(name) for name in get_args(ReactorName))
        if isinstance(asked, str):
            if asked not in get_args(ReactorName):
                raise ValueError(f"there is no reactor {asked!r}. Choose one of {names}")
        elif asked is not None and (
            isinstance(asked, type) or not hasattr(asked, "callFromThread")
        ):
            raise TypeError(f"a reactor is one of {names}, or the installed one, not {asked!r}")
        if loop_factory is not None:
            if not callable(loop_factory):
                raise TypeError(
                    "a loop_factory is a function that returns a new event loop, such as "
                    f"uvloop.new_event_loop, not {loop_factory!r}"
                )
            if asked != "asyncio":
                raise ValueError(
                    "only asyncio's reactor runs on an event loop of asyncio's. Write "
                    'setup(reactor="asyncio", loop_factory=...), or leave the loop_factory out'
                )
        self._asked: Any = asked
        self.loop_factory = loop_factory

    def obtain(self, import_reactor: Callable[[], Reactor], kept: LoopFactory | None) -> Reactor:
        """
        Return the reactor, installing it if none is installed.

        Args:
            import_reactor: returns the installed one, or installs the default.
            kept: what has made the event loop of the installed one, as far as is known.

        Raises:
            RuntimeError: another is installed, or this platform does not have it.
            Exception: what the loop factory raises.
        """
        if self._asked in _KINDS and imported_reactor() is None:
            refuse_gevent()
            if self._install(self._asked):
                return import_reactor()
        reactor = import_reactor()
        self.check(reactor, kept)
        return reactor

    def check(self, reactor: Reactor, kept: LoopFactory | None) -> None:
        """
        Refuse a reactor that is not the one asked for, with that event loop.

        Raises:
            RuntimeError: it is not.
        """
        asked = self._asked
        if isinstance(asked, str):
            if not isinstance(reactor, _class_of(asked)):
                raise _other_reactor(repr(asked), reactor)
        elif asked is not None and asked is not reactor:
            raise _other_reactor(f"<{_described(asked)}>", reactor)
        factory = self.loop_factory
        if factory is None or _are_same(factory, kept):
            return
        # One that has run and ended gets a new event loop, whatever it had.
        if reactor.running or not getattr(reactor, "_startedBefore", False):
            raise RuntimeError(
                f"setup(loop_factory={_named(factory)}) came too late: asyncio's reactor is "
                "installed in this process already, and "
                + (f"{_named(kept)} has made its event loop" if kept else "has an event loop")
                + ". Call it at the top of the program, before anything installs a reactor"
            )

    def _install(self, name: str) -> bool:
        """
        Install the reactor asked for; tell whether that was done, or another thread was faster.
        """
        kind = _class_of(name)
        arguments = [new_loop(self.loop_factory)] if name == "asyncio" else []
        try:
            reactor = kind(*arguments)
        except BaseException:
            for loop in arguments:
                loop.close()
            raise
        try:
            refuse_beyond_select(reactor)
            cast("Any", main).installReactor(reactor)
        except ReactorAlreadyInstalledError:
            release(reactor)
            return False
        except RuntimeError:
            release(reactor)
            raise
        return True


def _class_of(name: str) -> type[Any]:
    if name == "default":
        from twisted.internet import default

        (module, kind) = next(
            each for each in _KINDS.values() if default.install.__module__.endswith(each[0])
        )
    else:
        module, kind = _KINDS[name]
    try:
        return cast("type[Any]", getattr(import_module(f"twisted.internet.{module}"), kind))
    except ImportError as error:
        raise RuntimeError(
            f"the reactor {name!r} is not available on this platform ({error}). Choose another, "
            'or "default"'
        ) from error


def _other_reactor(asked: str, reactor: Reactor) -> RuntimeError:
    return RuntimeError(
        f"setup(reactor={asked}) came too late: a {_described(reactor)} is installed in this "
        "process already, and a process has one reactor. Call it at the top of the program, before "
        "anything imports twisted.internet.reactor"
    )


def _described(reactor: object) -> str:
    return f"{type(reactor).__module__}.{type(reactor).__qualname__}"


def _named(factory: LoopFactory) -> str:
    module = getattr(factory, "__module__", None)
    name = getattr(factory, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(factory)


def _are_same(one: LoopFactory, other: LoopFactory | None) -> bool:
    """
    Tell whether two factories are the same, or made by the same lines of code, as a lambda in a
    function that is called twice.
    """
    return one == other or getattr(one, "__code__", one) is getattr(other, "__code__", other)
