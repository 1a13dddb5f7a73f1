"""
What a question needs of a bridge: a way of calling from blocking code into a loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any

Body = Callable[[], Coroutine[Any, Any, Any]]
Call = Callable[[], Any]
Items = Callable[[], AsyncGenerator[Any, None]]


class Bridge:
    """
    One way of calling into a loop that runs in another thread.
    """

    # Whether one loop runs from start() to stop() and serves all calls.
    keeps_a_loop = True
    # Whether there is something to call before start().
    is_there_before_start = True
    can_stop = True
    can_submit = True
    # What a call raises whose time is over.
    timed_out: tuple[type[BaseException], ...] = (TimeoutError, concurrent.futures.TimeoutError)

    def title(self) -> str:
        """
        Return its name and version.
        """
        raise NotImplementedError

    def start(self) -> None:
        """
        Start the loop in a thread of its own; return when calls are accepted.
        """

    def stop(self) -> None:
        """
        Stop what start() started, in the way that cancels what is pending, if it can_stop.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """
        Have it started for a program's whole length, and ended as its documentation has it.
        """
        self.start()
        yield

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        """
        Make a function that runs a body in the loop and waits, up to *timeout* seconds.
        """
        raise NotImplementedError

    def call(self, body: Body, timeout: float | None = None) -> Any:
        """
        Run a body in the loop and return what it returns. Blocks up to *timeout* seconds.
        """
        return self.blocking(body, timeout)()

    def submitting(self, body: Body) -> Call:
        """
        Make a function that has a body run in the loop and returns at once, if it can_submit.

        What it returns has a result(timeout) and a cancel().
        """
        raise NotImplementedError

    def submit(self, body: Body) -> Any:
        """
        Have a body run in the loop and return at once.
        """
        return self.submitting(body)()

    def items(self, body: Items) -> Iterator[Any]:
        """
        Return an iterator over what an async generator yields that runs in the loop. It has a
        close().
        """
        raise NotImplementedError

    def use_asyncio(self) -> None:
        """
        Have the loop be asyncio's, before start(), if it might be another.
        """

    # What follows is called in the loop's thread, by bodies.

    async def sleep(self, seconds: float) -> None:
        """
        Wait.
        """
        await asyncio.sleep(seconds)

    async def never(self) -> None:
        """
        Wait for what never comes.
        """
        await asyncio.get_running_loop().create_future()

    def stop_loop_soon(self) -> None:
        """
        Stop the loop as code in it can, not within this body, which would have to be answered.
        """
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, loop.stop)

    def make_breakable(self) -> None:
        """
        Prepare for break_loop_soon(), before start().
        """

    def break_loop_soon(self) -> None:
        """
        Have an exception go through the loop and end its thread.
        """
        asyncio.get_running_loop().call_later(0.05, end_thread)


def stepped(items: AsyncGenerator[Any, None], call: Callable[[Body], Any]) -> Iterator[Any]:
    """
    Yield the items of an async generator, by a call of the loop for each, and one to close it.
    """

    async def step() -> Any:
        return await items.__anext__()

    async def close() -> None:
        await items.aclose()

    try:
        while True:
            try:
                item = call(step)
            except StopAsyncIteration:
                return
            yield item
    finally:
        call(close)


def end_thread() -> None:
    """
    Raise what ends a loop, and its thread without a word.
    """
    raise SystemExit("the loop breaks")
