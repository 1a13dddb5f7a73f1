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
from typing import NamedTuple, SupportsIndex

from .._core.bridge import Bridge
from .._core.call import Work
from .._core.deadline import end_of, get_bound, keep_in
from .._core.decorators import WaitedFunction, decorated, limit_of, other_options, take_out
from .._threads.timeouts import Seconds
from .consumer import Consumer
from .drive import drive
from .pipe import Pipe, StreamCall
from .stream import Stream


class StreamOptions(NamedTuple):
    """
    How a stream goes.
    """

    limit: float  # seconds for each item
    grace: float  # seconds for the body's cleanup
    size: int  # of the buffer


class Iterating:
    """
    The decorator, for the functions whose items one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def iterate_in_reactor(
        self, timeout: Seconds, *, buffersize: SupportsIndex = 0, grace: Seconds = 1.0
    ) -> Callable[[object], object]:
        """
        Make a decorator; see :func:`crochet.iterate_in_reactor`.
        """
        of = "iterate_in_reactor"
        limit, patience = limit_of(timeout, of=of), limit_of(grace, "a grace", of)
        size = index(buffersize)
        if size < 0:
            raise ValueError(
                f"a buffer cannot hold {size} items: give a buffersize from 0 up, the number of "
                "items that the body may be ahead"
            )
        wrap = partial(self._iterated, StreamOptions(limit, patience, size))

        def decorate(function: object) -> object:
            body, put_back = take_out(function, "run in the reactor")
            return put_back(WaitedFunction(decorated(self._bridge, body, wrap, is_stream=True)))

        return decorate

    def _iterated(
        self,
        options: StreamOptions,
        name: str,
        function: Callable[..., object],
        undecorated: Callable[..., object],
    ) -> Callable[..., object]:
        bridge = self._bridge
        limit, grace, size = options

        def iterate_in_reactor(*args: object, **kwargs: object) -> object:
            context = copy_context()
            bound = get_bound()
            if bound is not None and (end := end_of(bound)) != inf:
                keep_in(context, end)
            pipe, waiter = Pipe(size, bridge), bridge.new_waiter()
            work: Work = (drive, (pipe, name, function, args, kwargs), {}, context)
            call = StreamCall(bridge, name, work, {waiter: None})
            call.pipe = pipe
            consumer = Consumer(bridge, call, pipe, waiter, limit, grace)
            consumer.begin()
            # Not Stream[object](): that takes 1 us longer.
            stream: Stream[object] = Stream(consumer)
            return stream

        # No word of iterate_in_reactor, which has this: it would keep itself alive.
        with_options = other_options(self._iterated, options, name, function, undecorated)

        def with_timeout(timeout: Seconds) -> Callable[..., object]:
            return with_options(limit=limit_of(timeout, of="iterate_in_reactor"))

        vars(iterate_in_reactor)["with_timeout"] = with_timeout
        return iterate_in_reactor
