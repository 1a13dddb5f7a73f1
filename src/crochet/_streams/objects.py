"""
``blocking()``: takes an object, or what makes one, and checks that a proxy of it is what is wanted.

What must always hold: what is wrong is said when the object is wrapped, not when it is used.

Threads: any.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial, update_wrapper
from itertools import chain
from typing import Any, Protocol, get_origin

from .. import _errors
from .._core.bridge import Bridge
from .._core.decorators import limit_of, name_of_function
from .._threads.timeouts import Seconds
from .adopting import Given, is_awaited
from .fitting import has, members_of, misfits
from .proxy import Proxy, unwrap
from .wrapping import Wrapping

Function = Callable[..., object]

# Of so many terms the classes of proxies are kept: to make one takes milliseconds.
_KEPT = 64


class Objects:
    """
    The function, for objects whose calls one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        @lru_cache(_KEPT)
        def wrapping(
            limit: float, limits: tuple[tuple[str, float], ...], wrap: tuple[type, ...]
        ) -> Wrapping:
            return Wrapping(bridge, limit, dict(limits), wrap)

        self._wrapping = wrapping

    def blocking(
        self,
        target: Any,
        *,
        timeout: Seconds,
        as_: Any = None,
        timeouts: Mapping[str, Seconds] | None = None,
        wrap: Iterable[type] = (),
    ) -> Any:
        """
        Return a proxy, or what makes one; see :func:`crochet.blocking`.
        """
        as_ = get_origin(as_) or as_  # of a generic one, with its arguments
        if as_ is not None and Protocol not in getattr(as_, "__mro__", ()):
            raise _errors.no_protocol(as_)
        limits = {
            name: limit_of(each, of="blocking") for name, each in dict(timeouts or {}).items()
        }
        if inspect.isclass(wrap):
            raise TypeError(f"wrap has several classes, not {wrap!r}: write wrap=[...]")
        wrap = tuple(wrap)
        for each in wrap:
            if not inspect.isclass(each):
                raise TypeError(f"wrap has the classes of what is to be wrapped, not {each!r}")
        limit = limit_of(timeout, of="blocking")
        wrapping = self._wrapping(limit, tuple(sorted(limits.items())), wrap)
        if isinstance(target, Proxy):
            target = unwrap(target)
        terms = _Terms(wrapping, as_, tuple(limits), wrap)
        if inspect.isclass(target):
            terms.check(target)
            return terms.making(target, partial(_constructed, target))
        if inspect.isroutine(target):
            if inspect.isasyncgenfunction(target):
                raise _errors.async_generator(name_of_function(target))
            return terms.making(target, partial(_called, target))
        return terms.proxy_of(target)


def _constructed(kind: Function, /, *args: object, **kwargs: object) -> object:
    return Given(kind(*args, **kwargs))  # it may be one that can be awaited


def _called(function: Function, /, *args: object, **kwargs: object) -> object:
    value = function(*args, **kwargs)
    if hasattr(type(value), "__aenter__"):
        return Given(value)
    return value if is_awaited(value) else Given(value)


class _Terms:
    """
    What a proxy has to be like.

    Args:
        wrapping: makes it.
        protocol: is what it has, or None.
        names: there are timeouts for these.
        wrap: classes that may have them, too.
    """

    def __init__(
        self, wrapping: Wrapping, protocol: Any, names: tuple[str, ...], wrap: tuple[type, ...]
    ) -> None:
        self._wrapping = wrapping
        self._protocol = protocol
        self._names = names
        self._wrap = wrap

    def check(self, kind: type, target: object = None, *, is_instance: bool = False) -> None:
        """
        Raise TypeError if a class, or an object of it, is not like that.
        """
        name, own = kind.__qualname__, getattr(target, "__dict__", {})
        members = members_of(self._protocol) if self._protocol else ()
        known = {*own, *members, *dir(kind), *chain.from_iterable(map(dir, self._wrap))}
        unknown = [each for each in self._names if each not in known]
        if unknown:
            raise _errors.unknown_timeouts(name, unknown)
        if self._protocol is not None:
            found = [*misfits(self._protocol, kind, own, is_instance=is_instance)]
            if found:
                raise _errors.does_not_fit(name, self._protocol.__qualname__, found)

    def proxy_of(self, target: object) -> Proxy:
        """
        Return a proxy of an object.
        """
        kind = type(target)
        self.check(kind, target, is_instance=True)
        protocol = self._protocol
        members = [each for each in members_of(protocol) if each[0] != "_"] if protocol else ()
        proxy = self._wrapping.proxy_of(target, members)
        if has(kind, "__getattr__"):
            found = [f"it has no {each!r}" for each in members if not hasattr(proxy, each)]
            if found:
                raise _errors.does_not_fit(kind.__qualname__, protocol.__qualname__, found)
        return proxy

    def making(self, factory: Any, body: Function) -> object:
        """
        Return what has an object made in the reactor thread, and returns a proxy of it.
        """
        looks: Any = update_wrapper(body, factory, updated=())
        try:
            signature = inspect.signature(factory)
            returned = signature.empty if self._protocol is None else self._protocol
            looks.__signature__ = signature.replace(return_annotation=returned)
        except (TypeError, ValueError):  # of a class in C, say
            pass
        return self._wrapping.making(looks, self._adopt)

    def _adopt(self, value: Any) -> Proxy:
        return self.proxy_of(value.value if type(value) is Given else value)
