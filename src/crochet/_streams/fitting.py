"""
Whether an object has what a Protocol says that its proxy has.

Nothing here runs any code of the object's: that would be in the wrong thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from inspect import Parameter
from typing import Any, Generic, Protocol

from .signatures import function_of, is_method, signature_of

# The operators that a proxy has where its object has them, run by the object itself.
FORWARDED = (
    "__bool__",
    "__call__",
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__len__",
    "__setitem__",
)
# What a proxy has where its object has one of these.
SPECIAL = {
    **{name: (name,) for name in FORWARDED},
    "__enter__": ("__aenter__",),
    "__exit__": ("__aexit__",),
    "__iter__": ("__aiter__", "__iter__"),
}


def members_of(protocol: Any) -> dict[str, object]:
    """
    Return what a Protocol says, by name: its functions, and None for what is no function.
    """
    found: dict[str, object] = {}
    for kind in reversed(protocol.__mro__):
        if kind in (object, Generic, Protocol):
            continue
        own: dict[str, object] = {**dict.fromkeys(inspect.get_annotations(kind)), **vars(kind)}
        for name, raw in own.items():
            if not name.startswith("_") or name in SPECIAL or name == "__next__":
                found[name] = raw if is_method(raw) else None
    return found


def has(kind: type, name: str) -> bool:
    """
    Tell whether a class, and not its metaclass, has an attribute.
    """
    return any(name in vars(each) for each in kind.__mro__)


def misfits(protocol: Any, kind: type, own: Any, *, is_instance: bool) -> Iterator[str]:
    """
    Yield what keeps objects of a class from fitting a Protocol, a sentence for each.

    Args:
        protocol: the Protocol.
        kind: the class.
        own: the attributes of an instance, by name.
        is_instance: that there is one. Without, it may yet get what is no function.
    """
    for name, function in members_of(protocol).items():
        if name.startswith("__"):
            if not any(has(kind, each) for each in SPECIAL.get(name, ())):
                yield f"it has no {' or '.join(SPECIAL.get(name, (name,)))}"
            continue
        raw: Any = own.get(name, inspect.getattr_static(kind, name, None))
        is_there = name in own or has(kind, name)
        if not is_there:
            # What __getattr__ has, nobody knows.
            if (function is not None or is_instance) and not has(kind, "__getattr__"):
                yield f"it has no {name!r}"
        elif function is not None:
            method: object = staticmethod(raw) if name in own else raw
            problem = _problem(function, method)
            if problem is not None:
                yield f"{name}() {problem}"


def _problem(wanted: object, raw: object) -> str | None:
    """
    Tell what keeps a method from being called as another one, if anything does.
    """
    if not is_method(raw):
        if not callable(raw):
            # What a property gives may be a function, for all that is known here.
            return None if hasattr(type(raw), "__get__") else "is no method"
        raw = staticmethod(raw)
    if not callable(function_of(raw)):
        return "is no method"
    before, taken = signature_of(wanted), signature_of(raw)
    if before is None or taken is None:
        return None
    kinds = {each.kind for each in taken.parameters.values()}
    for each in before.parameters.values():
        if each.kind in _VARIABLE and each.kind not in kinds:
            return f"does not take {str(each).partition(':')[0]}"
    for args, kwargs in _calls(before):
        try:
            taken.bind(*args, **kwargs)
        except TypeError as error:
            return f"takes {_shown(taken)}, and not {_shown(before)}: {error}"
    return None


def _shown(signature: inspect.Signature) -> str:
    bare = [each.replace(annotation=Parameter.empty) for each in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _calls(signature: inspect.Signature) -> Iterator[tuple[list[str], dict[str, str]]]:
    """
    Yield arguments for calls that a signature allows: all of them and the least, by position as far
    as that goes, and by name.
    """
    named = [each for each in signature.parameters.values() if each.kind not in _VARIABLE]
    least = [each for each in named if each.default is Parameter.empty]
    for some in (named, least):
        for by_position in (_BY_POSITION, _BY_POSITION[:1]):
            args = [each.name for each in some if each.kind in by_position]
            rest = [each.name for each in some if each.kind not in by_position]
            yield args, dict.fromkeys(rest, "")


_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
