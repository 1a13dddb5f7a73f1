"""
The bridges that a question can be put to: ways of calling from blocking code into a loop.

HAZARD_BRIDGE names the one to ask, ours and crochet 2.1.1 being one: the interpreter tells which.
Each is used as its documentation recommends. What it has no notion of, its attributes say, and the
question is not applicable to it. Bodies are ``async def``, and wait with never() and sleep().

Run as a program this prints the title of the bridge's column.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import platform
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from importlib.metadata import version
from typing import Any

from _bridge import Body, Bridge, Call, Items, end_thread, stepped


class Crochet(Bridge):
    """
    ``wait_for`` and ``run_in_reactor``, ours or another's.
    """

    def __init__(self) -> None:
        import crochet

        self._crochet = crochet
        self.timed_out = (crochet.TimeoutError,)
        self.can_stop = hasattr(crochet, "shutdown")

    def title(self) -> str:
        return f"crochet {self._crochet.__version__}"

    def start(self) -> None:
        self._crochet.setup()

    def stop(self) -> None:
        self._crochet.shutdown()

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        return self._crochet.wait_for(timeout=timeout)(body)

    def submitting(self, body: Body) -> Call:
        function = self._crochet.run_in_reactor(body)
        return lambda: _CrochetHandle(function())

    def items(self, body: Items) -> Iterator[Any]:
        if hasattr(self._crochet, "iterate_in_reactor"):
            return self._crochet.iterate_in_reactor(timeout=None)(body)()
        return self._queued(body)

    def _queued(self, body: Items) -> Iterator[Any]:
        # As programs do it that have nothing better: a queue between the two threads.
        end = object()
        filled: queue.Queue[Any] = queue.Queue()

        @self._crochet.run_in_reactor
        async def fill() -> None:
            try:
                async for item in body():
                    filled.put((item, None))
                filled.put((end, None))
            except BaseException as error:
                filled.put((end, error))

        fill()
        while True:
            item, error = filled.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item

    def use_asyncio(self) -> None:
        from twisted.internet import asyncioreactor

        asyncioreactor.install(asyncio.new_event_loop())

    async def sleep(self, seconds: float) -> None:
        from twisted.internet import reactor, task

        await task.deferLater(reactor, seconds, lambda: None)

    async def never(self) -> None:
        from twisted.internet.defer import Deferred

        await Deferred()

    def stop_loop_soon(self) -> None:
        from twisted.internet import reactor

        reactor.callLater(0.05, reactor.stop)

    def make_breakable(self) -> None:
        from twisted.internet import reactor

        # What calls raise, Twisted's loop catches. This comes through the loop itself.
        run = reactor.mainLoop

        def run_and_break() -> None:
            run()
            end_thread()

        reactor.mainLoop = run_and_break

    def break_loop_soon(self) -> None:
        from twisted.internet import reactor

        reactor.callLater(0.05, reactor.crash)


class _CrochetHandle:
    def __init__(self, result: Any) -> None:
        self.result = result.wait
        self.cancel = result.cancel


def _waiting(submitting: Call, timeout: float | None) -> Call:
    def call() -> Any:
        future = submitting()
        # As the documentation of run_coroutine_threadsafe() does it.
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise
        finally:
            del future  # or its error, whose traceback has this frame, would be in a cycle

    return call


class Asyncio(Bridge):
    """
    ``asyncio.run_coroutine_threadsafe``, with a loop in a daemon thread that ends as asyncio.run()
    does: by cancelling what is left and waiting for it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def title(self) -> str:
        return f"run_coroutine_threadsafe (Python {platform.python_version()})"

    def start(self) -> None:
        if self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
        self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        return _waiting(self.submitting(body), timeout)

    def submitting(self, body: Body) -> Call:
        return lambda: asyncio.run_coroutine_threadsafe(body(), self._loop)

    def items(self, body: Items) -> Iterator[Any]:
        return stepped(body(), self.call)


class Anyio(Bridge):
    """
    anyio's blocking portal.
    """

    is_there_before_start = False

    def title(self) -> str:
        return f"anyio {version('anyio')}"

    def start(self) -> None:
        from anyio.from_thread import start_blocking_portal

        self._context = start_blocking_portal("asyncio")
        self._portal = self._context.__enter__()

    def stop(self) -> None:
        self._portal.call(self._portal.stop, True)
        self._context.__exit__(None, None, None)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal("asyncio") as self._portal:
            yield

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        if timeout is None:
            return lambda: self._portal.call(body)
        return _waiting(self.submitting(body), timeout)

    def submitting(self, body: Body) -> Call:
        return lambda: self._portal.start_task_soon(body)

    def items(self, body: Items) -> Iterator[Any]:
        return stepped(body(), self.call)


class LoopPerCall(Bridge):
    """
    What makes a loop for each call, and ends it with that.
    """

    keeps_a_loop = False
    can_stop = False
    can_submit = False

    def wrap(self, body: Body) -> Call:
        """
        Make a function that runs a body in a loop of its own, and waits.
        """
        raise NotImplementedError

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        async def limited() -> Any:
            return await asyncio.wait_for(body(), timeout)

        return self.wrap(body if timeout is None else limited)

    def items(self, body: Items) -> Iterator[Any]:
        # Each call has a loop of its own, so the generator has to end within one.
        async def collect() -> list[Any]:
            return [item async for item in body()]

        yield from self.call(collect)


class AsyncioRun(LoopPerCall):
    """
    ``asyncio.run()`` for each call.
    """

    def title(self) -> str:
        return f"asyncio.run (Python {platform.python_version()})"

    def wrap(self, body: Body) -> Call:
        return lambda: asyncio.run(body())


class Asgiref(LoopPerCall):
    """
    asgiref's ``async_to_sync``: called from plain blocking code it runs a loop for each call.
    """

    def title(self) -> str:
        return f"asgiref {version('asgiref')}"

    def wrap(self, body: Body) -> Call:
        from asgiref.sync import async_to_sync

        return async_to_sync(body)


class Synchronicity(Bridge):
    """
    synchronicity's blocking wrappers, and the futures that they give on demand.
    """

    can_stop = False

    def __init__(self) -> None:
        import synchronicity

        self._synchronizer = synchronicity.Synchronizer()

    def title(self) -> str:
        return f"synchronicity {version('synchronicity')}"

    def blocking(self, body: Body, timeout: float | None = None) -> Call:
        return self._wrap(body) if timeout is None else _waiting(self.submitting(body), timeout)

    def submitting(self, body: Body) -> Call:
        return functools.partial(self._wrap(body), _future=True)

    def items(self, body: Items) -> Iterator[Any]:
        async def generate() -> AsyncGenerator[Any, None]:
            async with contextlib.aclosing(body()) as items:
                async for item in items:
                    yield item

        return self._synchronizer.wrap(generate)()

    def _wrap(self, body: Body) -> Any:
        # It takes functions only, not methods.
        @functools.wraps(body)
        async def function() -> Any:
            return await body()

        return self._synchronizer.wrap(function)


BRIDGES: dict[str, type[Bridge]] = {
    "crochet": Crochet,
    "asyncio.run": AsyncioRun,
    "asyncio": Asyncio,
    "anyio": Anyio,
    "asgiref": Asgiref,
    "synchronicity": Synchronicity,
}

bridge = BRIDGES[os.environ.get("HAZARD_BRIDGE", "crochet")]()

if __name__ == "__main__":
    print(bridge.title())
