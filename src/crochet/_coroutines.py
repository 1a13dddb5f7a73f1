"""
What a body returned, as a Deferred to follow.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from typing import cast

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

# What most bodies return, and is not to be followed. To be looked up first: asking an abstract
# class about a type is slower than all the rest of starting a call.
PLAIN = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set})


def as_deferred(value: object, context: Context) -> Deferred[object] | None:
    """
    Return the Deferred by which a returned value is to be awaited, or None for a plain value.

    A coroutine is driven by Twisted, in *context* to its end.
    """
    if isinstance(value, Deferred):
        return cast("Deferred[object]", value)
    if isinstance(value, Coroutine):
        coroutine = cast("Coroutine[Deferred[object], object, object]", value)
        return context.run(Deferred.fromCoroutine, coroutine)
    if isinstance(value, Failure):
        return fail(value)
    return None
