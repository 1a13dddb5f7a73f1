"""
How proxies are made: for each class of objects, a class whose methods the decorators have made, of
functions that get a proxy and call what its object has of that name.

What must always hold: the object's code runs in the reactor thread alone. Elsewhere its class and
its ``__dict__`` are looked at, as ``inspect.getattr_static()`` does, and values by their class.

Threads: any may make a proxy, and so a class. Two threads may make two classes that are alike.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial, update_wrapper
from types import CoroutineType
from typing import Any, cast

from .. import _errors
from .._core.bridge import Bridge
from .._core.decorators import Decorators
from .._core.waiting import WaitOptions
from .._coroutines.follow import PLAIN
from .adopting import Adopt, Adopting, each_of
from .context import ContextOptions, ReactorContext
from .fitting import FORWARDED, has
from .iterating import Iterating
from .proxy import GRACE, Proxy, ProxyMethod, Wrapped, enter, leave, target_in_reactor
from .signatures import blocking_signature, function_of, is_method

Function = Callable[..., object]

# Of types of which nothing is to be prepared: see PLAIN. To look once is faster.
_AS_IT_IS = PLAIN | {id(CoroutineType)}


def _named(function: Any, name: str) -> Function:
    function.__qualname__ = name
    return cast("Function", function)


class Wrapping:
    """
    Makes proxies on the same terms.

    Args:
        bridge: carries the calls.
        limit: seconds for each of them.
        limits: other ones, by the names of methods and attributes.
        wrap: classes whose objects become proxies where a method returns them.
    """

    def __init__(
        self, bridge: Bridge, limit: float, limits: Mapping[str, float], wrap: tuple[type, ...]
    ) -> None:
        self._bridge = bridge
        self._limit = limit
        self._limits = limits
        self._wrap = wrap
        self._classes: dict[type, type[Proxy]] = {}
        self._decorators = Decorators(bridge)
        self._iterating = Iterating(bridge)
        adopting = self.adopting("getattr", limit)

        def get(proxy: Proxy, name: str) -> object:
            return adopting.prepare_attribute(getattr(target_in_reactor(proxy), name))

        self.get: Callable[[Proxy, str], object]
        self.adopt: Adopt = adopting.adopt
        self.get = self.waiting(_named(get, "getattr"), adopting.adopt, limit)

    def limit_for(self, name: str) -> float:
        """
        Return the seconds that something of this name may take.
        """
        return self._limits.get(name, self._limit)

    def waiting(self, function: Function, adopt: Adopt, limit: float) -> Any:
        """
        Decorate a function.
        """
        return self._decorators.waiting(WaitOptions(limit, GRACE, adopt=adopt))(function)

    def making(self, function: Function, adopt: Adopt) -> object:
        """
        Decorate a function that makes an object.
        """
        return self.waiting(function, adopt, self._limit)

    def adopting(self, text: str, limit: float) -> Adopting:
        """
        Return what makes of values what blocking code gets.

        Args:
            text: what has returned them, for messages.
            limit: seconds for each step of what comes of them.
        """

        def context(function: Function) -> object:
            options = ContextOptions(limit, GRACE)
            made: ReactorContext[object]
            made = ReactorContext(self._bridge, text, options, (function, (), {}))
            return made

        def stream(function: Function) -> object:
            items: Any = self._iterating.iterate_in_reactor(limit)(_named(function, text))
            return items()

        def blocking(function: Function) -> object:
            return self.waiting(update_wrapper(partial(call, function), function), adopt, limit)

        made = Adopting(self._wrap, self.proxy_of, context, stream, blocking)
        prepare, adopt = made.prepare, made.adopt

        def call(function: Function, /, *args: object, **kwargs: object) -> object:
            return prepare(function(*args, **kwargs))

        return made

    def proxy_of(self, target: object, names: Iterable[str] = ()) -> Proxy:
        """
        Return a proxy of an object.

        Args:
            target: the object.
            names: of attributes that it has, though that is not to be seen.
        """
        kind = type(target)
        made = self._classes.get(kind)
        if made is None:
            made = self._classes[kind] = self._class_for(kind)
        for name in (*list(getattr(target, "__dict__", ())), *names):
            # Not by __getattr__ alone: isinstance() by a Protocol looks at the class.
            if not name.startswith("_") and not has(made, name):
                setattr(made, name, self._attribute(kind, name))
        return made(Wrapped(target, self._bridge, self))

    def _class_for(self, kind: type) -> type[Proxy]:
        special = ["__setattr__", "__delattr__", *(each for each in FORWARDED if has(kind, each))]
        members: dict[str, object] = {
            "__doc__": kind.__doc__,
            "__module__": kind.__module__,
        }
        for name in (*dir(kind), *special):
            if not name.startswith("_") or name in special:
                raw = inspect.getattr_static(kind, name, None)
                make = self._method if is_method(raw) else self._attribute
                members[name] = make(kind, name, raw)
        if has(kind, "__aenter__") and has(kind, "__aexit__"):
            members.update(__enter__=enter, __exit__=leave)
        if has(kind, "__aiter__") or has(kind, "__iter__"):
            members["__iter__"] = self._iteration(kind)
        return type(f"blocking[{kind.__qualname__}]", (Proxy,), members)

    def _attribute(self, kind: type, name: str, raw: object = None) -> object:
        limit = self.limit_for(name)
        adopting = self.adopting(f"{kind.__qualname__}.{name}", limit)

        def get(self: Proxy, /) -> object:
            return adopting.prepare_attribute(getattr(target_in_reactor(self), name))

        body = _named(get, f"{kind.__qualname__}.{name}")
        return property(
            self.waiting(body, adopting.adopt, limit), doc=getattr(raw, "__doc__", None)
        )

    def _method(self, kind: type, name: str, raw: object) -> object:
        limit, function = self.limit_for(name), function_of(raw)
        adopting = self.adopting(f"{kind.__qualname__}.{name}", limit)
        prepare, bridge = adopting.prepare, self._bridge

        # This is most of what a call costs more than one of wait_for's.
        def call(self: Wrapped, /, *args: object, **kwargs: object) -> object:
            if self.generation != bridge.generation:
                raise _errors.proxy_in_child(self.name)
            value: object = getattr(self.target, name)(*args, **kwargs)
            return value if id(type(value)) in _AS_IT_IS else prepare(value)

        def iterate(self: Wrapped, /, *args: object, **kwargs: object) -> object:
            if self.generation != bridge.generation:
                raise _errors.proxy_in_child(self.name)
            return adopting.items(getattr(self.target, name)(*args, **kwargs))

        is_items = inspect.isasyncgenfunction(function)
        body: Any = update_wrapper(iterate if is_items else call, function)
        body.__qualname__ = f"{kind.__qualname__}.{name}"
        signature = blocking_signature(raw)
        if signature is not None:
            body.__signature__ = signature
        made: Any
        if is_items:
            made = self._iterating.iterate_in_reactor(limit)(body)
        else:
            made = self.waiting(body, adopting.adopt, limit)
        return ProxyMethod(made.func)

    def _iteration(self, kind: type) -> object:
        name = "__aiter__" if has(kind, "__aiter__") else "__iter__"
        limit = self.limit_for(name)
        adopting = self.adopting(f"{kind.__qualname__}.{name}", limit)

        def iterate(self: Proxy, /) -> object:
            target = target_in_reactor(self)
            if name == "__iter__":
                return adopting.items(each_of(target))
            iterator = target.__aiter__()
            # Its own iterator goes on at the next `for`.
            return adopting.items(iterator, is_kept=iterator is target)

        return self._iterating.iterate_in_reactor(limit)(_named(iterate, kind.__qualname__))
