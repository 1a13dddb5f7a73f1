"""
How methods of the reactor thread's objects are called, and what comes of that in blocking code.

Nothing here runs any code of theirs, but that annotations which are strings are evaluated.
"""

from __future__ import annotations

import inspect
from asyncio import Future
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partialmethod, singledispatchmethod
from typing import Any, cast, get_args, get_origin

from twisted.internet.defer import Deferred

from .stream import Stream

_ITEMS = (AsyncIterator, AsyncIterable, AsyncGenerator)


def is_method(raw: object) -> bool:
    """
    Tell whether something is a method where it stands in a class.
    """
    if isinstance(raw, (staticmethod, classmethod, partialmethod, singledispatchmethod)):
        return True
    return callable(raw) and not inspect.isclass(raw) and hasattr(type(raw), "__get__")


def function_of(raw: Any) -> Callable[..., object]:
    """
    Return the function of what stands in a class as a method.
    """
    if isinstance(raw, (staticmethod, classmethod)):
        raw = cast("Any", raw).__func__
    elif isinstance(raw, (partialmethod, singledispatchmethod)):
        raw = cast("Any", raw).func
    return cast("Callable[..., object]", raw)


def signature_of(raw: object) -> inspect.Signature | None:
    """
    Return how a method is called, without its ``self`` or class; None if that is not known.
    """
    if isinstance(raw, (partialmethod, singledispatchmethod)):
        return None
    function = function_of(raw)
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception:  # a name that is there for type checkers only
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # of a function in C, say
            return None
    given = list(signature.parameters.values())
    takes_any = bool(given) and given[0].kind is inspect.Parameter.VAR_POSITIONAL
    if not isinstance(raw, staticmethod) and not takes_any:
        del given[:1]
    return signature.replace(parameters=given)


def blocking_signature(raw: object) -> inspect.Signature | None:
    """
    Return how the method of a proxy is called, with its ``self``, and what it returns.
    """
    signature = signature_of(raw)
    if signature is None:
        return None
    function = function_of(raw)
    is_items = inspect.isasyncgenfunction(function)
    # An @asynccontextmanager function is annotated as what it was made of.
    is_context = not is_items and inspect.isasyncgenfunction(inspect.unwrap(function))
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    # Parameters that can be given by position only come first.
    given = [own, *signature.parameters.values()]
    returned = _plain(signature.return_annotation, is_context=is_context)
    return signature.replace(parameters=given, return_annotation=returned)


def _plain(annotation: Any, *, is_context: bool) -> Any:
    """
    Return the annotation of what blocking code gets of something that is awaited, or entered.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    stream: Any = Stream
    context: Any = AbstractContextManager
    if not args:
        return annotation
    if origin in _ITEMS:
        return (context if is_context else stream)[args[0]]
    if origin is AbstractAsyncContextManager:
        return context[args[0]]
    if origin is Coroutine:
        return args[2]
    return args[0] if origin in (Awaitable, Deferred, Future) else annotation
