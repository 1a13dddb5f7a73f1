"""
Proxies: what blocking code has of an object that lives in the reactor thread.

This is what all of them have; the class of each is made for that of its object (wrapping.py). What
must always hold:

1. Nothing here runs code of the object's, other than by the decorators, in the reactor thread.
2. A proxy is of use in the process that made it, and nowhere else.
3. What was entered is exited once: who takes an entry out of ``entered`` does it. The entries of a
   proxy that is dropped are exited as any dropped context is.

Threads: any.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from functools import partial
from sys import _getframe
from types import TracebackType
from typing import Any, NoReturn, Protocol, SupportsIndex

from .. import _errors
from .._core.bridge import Bridge
from .._core.decorators import WaitedFunction, WaitedMethod
from .._threads.primitives import discard
from .context import ContextOptions, ReactorContext

# Seconds for the cleanup of what was cancelled, as the decorators have it by default.
GRACE = 1.0

_NONE: dict[str, object] = {}


class Making(Protocol):
    """
    What a proxy asks of those who make proxies.
    """

    get: Callable[[Any, str], object]  # an attribute
    adopt: Callable[[Any], object]  # returns what blocking code gets of a value

    def limit_for(self, name: str) -> float:
        """
        Return the seconds that something of this name may take.
        """
        ...


class Wrapped:
    """
    What a proxy stands for.
    """

    __slots__ = ("bridge", "entered", "generation", "making", "name", "target")

    def __init__(self, target: Any, bridge: Bridge, making: Making) -> None:
        self.target: Any = target
        self.bridge: Bridge = bridge
        self.generation: int = bridge.generation
        self.making: Making = making
        self.name: str = type(target).__qualname__
        # The contexts in which it is, with the threads that have entered; single steps only.
        self.entered: list[tuple[int, ReactorContext[object]]] = []

    def __repr__(self) -> str:
        # Not the object's own: that would be its code.
        return f"<blocking {object.__repr__(self.target)[1:-1]}>"

    def check_process(self) -> None:
        """
        Raise ReactorStopped if this is a child of the process that made the proxy.
        """
        self.bridge.notice_fork()
        if self.generation != self.bridge.generation:
            raise _errors.proxy_in_child(self.name)


class Proxy:
    """
    An object of the reactor thread's, for blocking code; made by :func:`crochet.blocking`.
    """

    _crochet_wrapped: Wrapped

    def __init__(self, wrapped: Wrapped) -> None:
        object.__setattr__(self, "_crochet_wrapped", wrapped)

    def __repr__(self) -> str:
        return repr(self._crochet_wrapped)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *object.__dir__(self._crochet_wrapped.target)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return NotImplemented
        return self._crochet_wrapped.target is other._crochet_wrapped.target

    def __hash__(self) -> int:
        return hash((Proxy, id(self._crochet_wrapped.target)))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """
        Refuse to be copied or pickled.
        """
        raise _errors.proxy_copied(self._crochet_wrapped.name)

    def __getattr__(self, name: str) -> object:
        """
        Return what only the object itself knows of, if it does.
        """
        # Python, copy, pickle and inspect look for these, anywhere and at any time.
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # A property that has raised AttributeError is asked once more, to say so whole.
        return self._crochet_wrapped.making.get(self, name)


class ProxyMethod(WaitedFunction):
    """
    A method of proxies. It is bound to what a proxy stands for: the proxy keeps it, and would keep
    itself alive.
    """

    def __get__(self, instance: Any, owner: type[object] | None = None) -> object:  # type: ignore[override, unused-ignore]
        if instance is None:
            return self
        method = WaitedMethod(self, instance._crochet_wrapped)
        # Found there before this, from now on.
        instance.__dict__[self.__name__] = method
        return method


def target_in_reactor(proxy: Proxy) -> Any:
    """
    Return what a proxy stands for, to be used. Reactor thread only.
    """
    wrapped = proxy._crochet_wrapped
    if wrapped.generation != wrapped.bridge.generation:
        raise _errors.proxy_in_child(wrapped.name)
    return wrapped.target


def unwrap(proxy: object) -> Any:
    """
    Return the object of a proxy; see :func:`crochet.blocking`.
    """
    if not isinstance(proxy, Proxy):
        raise TypeError(
            f"unwrap() takes a proxy that crochet.blocking() has made, not {type(proxy).__name__!r}"
        )
    return proxy._crochet_wrapped.target


def _same(target: object) -> object:
    return target


def enter(self: Proxy) -> object:
    """
    Enter the object, which is an async context manager, in a task that will also exit it.
    """
    wrapped = self._crochet_wrapped
    wrapped.check_process()
    target, limit = wrapped.target, wrapped.making.limit_for("__aenter__")
    # Nothing in it leads to the proxy: the task would keep that from being dropped.
    frame = _getframe(1)  # of the `with` statement
    options = ContextOptions(limit, GRACE, (frame.f_code, frame.f_lasti >> 1))
    work = partial(_same, target), (), _NONE
    context: ReactorContext[object]
    context = ReactorContext(wrapped.bridge, wrapped.name, options, work)
    value = context.__enter__()
    wrapped.entered.append((get_ident(), context))
    return self if value is target else wrapped.making.adopt(value)


def leave(
    self: Proxy,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> bool | None:
    """
    Exit the object, from what this thread has entered last; or if it has not, another thread.
    """
    wrapped, ident = self._crochet_wrapped, get_ident()
    while entries := [*wrapped.entered]:
        own = [entry for entry in entries if entry[0] == ident]
        entry = (own or entries)[-1]
        if discard(wrapped.entered, entry):
            return entry[1].__exit__(kind, error, traceback)
    raise _errors.not_left(wrapped.name)
