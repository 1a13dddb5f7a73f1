"""
The names that went out of use before 3.0. They work, and say what to use instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import update_wrapper
from typing import ParamSpec

from ._core.decorators import Decorators
from ._core.result import EventualResult
from ._reactor.reactor import import_reactor

P = ParamSpec("P")


class Legacy:
    """
    The old decorators, in terms of the new ones.
    """

    def __init__(self, calls: Decorators) -> None:
        self._wait_for = calls.wait_for
        self._run_in_reactor = calls.run_in_reactor

    def wait_for_reactor(self, function: Callable[..., object]) -> object:
        """
        Do what ``wait_for(timeout=None)`` does; deprecated.

        Call the decorated function from any thread but the reactor's. Blocks until it has an
        answer. It raises what one of :func:`wait_for` does.
        """
        _deprecated("wait_for_reactor", "wait_for(timeout)")
        return self._wait_for(None)(function)

    def in_reactor(self, function: Callable[..., object]) -> object:
        """
        Do what ``run_in_reactor`` does, with the reactor as the first argument; deprecated.

        Call the decorated function from any thread. Blocks never. It raises what one of
        :func:`run_in_reactor` does.
        """
        _deprecated("in_reactor", "run_in_reactor, and import the reactor in the function")

        def with_reactor(*args: object, **kwargs: object) -> object:
            return function(import_reactor(), *args, **kwargs)

        update_wrapper(with_reactor, function)
        # The signature to show is that of with_reactor: its callers do not give the reactor.
        del vars(with_reactor)["__wrapped__"]
        return self._run_in_reactor(with_reactor)


def deferred_result(depth: int) -> type[EventualResult[object]]:
    """
    Return what ``DeferredResult`` stands for. It is entered in the package, to be deleted by those
    who want it gone, as MAAS does; so it warns once.

    Args:
        depth: how many calls there are between this and the program.
    """
    _deprecated("DeferredResult", "EventualResult", depth)
    return EventualResult


def _deprecated(old: str, new: str, depth: int = 0) -> None:
    text = f"crochet.{old} is deprecated, use {new}"
    warnings.warn(text, DeprecationWarning, stacklevel=depth + 3)
