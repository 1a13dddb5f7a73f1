"""
The decorator that makes a function return a stream.

What must always hold: a stream that was begun is in somebody's hands, or is told to end. So it is
made before its call is entered, and closed if that is refused or interrupted.

Threads: any may call what is decorated.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from math import inf
from operator import index
from typing import Any, NamedTuple, SupportsIndex, cast

from .._core.bridge import Bridge
from .._core.call import Work
from .._core.deadline import end_of, get_bound, keep_in
from .._core.decorators import (
    WaitedFunction,
    decorated,
    limit_of,
    other_options,
    progress_option,
    take_out,
)
from .._core.progress import OnProgress
from .._threads.timeouts import Seconds
from .call import StreamCall
from .consumer import Consumer
from .drive import drive
from .pipe import Pipe
from .stream import Stream


class StreamOptions(NamedTuple):
    """
    How a stream goes.
    """

    limit: float  # seconds for each item
    grace: float  # seconds for the body's cleanup
    size: int  # of the buffer
    make: Callable[[Consumer], Stream[object]] = Stream  # what blocking code sees
    progress: OnProgress | None = None  # what is called in the thread that waits


def options_of(
    timeout: Seconds, grace: Seconds, buffersize: SupportsIndex, of: str
) -> StreamOptions:
    """
    Return what a program has given, as options.

    Args:
        timeout: seconds for each item.
        grace: seconds for the body's cleanup.
        buffersize: how many items the body may be ahead.
        of: the function that it was given to, for the texts of errors.

    Raises:
        TypeError: one of them is no number, or no whole one where it has to be.
        ValueError: one of them is negative, or NaN.
    """
    limit, patience = limit_of(timeout, of=of), limit_of(grace, "a grace", of)
    size = whole_size(buffersize)
    if size < 0:
        raise ValueError(
            f"a buffer cannot hold {size} items: give a buffersize from 0 up, the number of "
            "items that the body may be ahead"
        )
    return StreamOptions(limit, patience, size)


def whole_size(buffersize: SupportsIndex) -> int:
    """
    Return a number of items as an int, or raise TypeError.
    """
    try:
        return index(buffersize)
    except TypeError:
        raise TypeError(
            f"a buffersize is a whole number of items, not {buffersize!r}: there is no buffer "
            "without a limit"
        ) from None


class Iterating:
    """
    The decorator, for the functions whose items one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        self.bridge: Bridge = bridge

    def iterate_in_reactor(
        self, timeout: Seconds, *, buffersize: SupportsIndex = 0, grace: Seconds = 1.0
    ) -> Callable[[object], object]:
        """
        Make a decorator; see :func:`crochet.iterate_in_reactor`.
        """
        options = options_of(timeout, grace, buffersize, "iterate_in_reactor")
        wrap = partial(self._iterated, options)

        def decorate(function: object) -> object:
            body, put_back = take_out(function, "run in the reactor")
            return put_back(WaitedFunction(decorated(self.bridge, body, wrap, is_stream=True)))

        return decorate

    def begin(
        self, options: StreamOptions, name: str, function: Callable[..., object], *args: object
    ) -> Stream[object]:
        """
        Return a stream of what *function* yields, as if it were decorated.
        """
        stream: Any = self._iterated(options, name, function, function)(*args)
        return cast("Stream[object]", stream)

    def _iterated(
        self,
        options: StreamOptions,
        name: str,
        function: Callable[..., object],
        undecorated: Callable[..., object],
    ) -> Callable[..., object]:
        bridge = self.bridge
        limit, grace, size, make, progress = options

        def iterate_in_reactor(*args: object, **kwargs: object) -> object:
            context = copy_context()
            bound = get_bound()
            if bound is not None and (end := end_of(bound)) != inf:
                keep_in(context, end)
            pipe, waiter = Pipe(size, bridge), bridge.new_waiter()
            work: Work = (drive, (pipe, name, function, args, kwargs), {}, context)
            call = StreamCall(bridge, name, work, {waiter: None})
            call.pipe = pipe
            consumer = Consumer(bridge, call, pipe, waiter, limit, grace, progress)
            consumer.begin()
            return make(consumer)

        # No word of iterate_in_reactor, which has this: it would keep itself alive.
        with_options = other_options(self._iterated, options, name, function, undecorated)

        def with_timeout(timeout: Seconds) -> Callable[..., object]:
            return with_options(limit=limit_of(timeout, of="iterate_in_reactor"))

        vars(iterate_in_reactor).update(
            with_timeout=with_timeout, with_progress=progress_option(with_options)
        )
        return iterate_in_reactor
