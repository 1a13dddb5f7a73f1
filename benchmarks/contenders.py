"""
The contenders: each way of calling from a blocking thread into a loop's thread.

This module runs inside a worker process, which holds one contender and imports nothing of
the others. Each contender says how *it* would be used by its own documentation: a plain
function where it takes one, ``async def`` where it asks for one, a bounded wait where it
offers one.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Any

#: Seconds. Nothing measured here takes as long; it is what a user would write beside a call.
BOUND = 60.0

Body = Callable[[], Any]


class Unavailable(Exception):
    """
    Say that a contender cannot run here, and why.
    """


class Contender:
    """
    One way of calling into a loop that runs in another thread.

    A subclass gives ``start``, ``stop`` and ``blocking``; ``submitting`` and ``settle`` if it
    can start a call without waiting for it; ``coroutine`` and ``awaitable`` with ``held`` for the
    measures of those.
    """

    key: str
    title: str
    #: The distributions whose versions belong in the report.
    distributions: tuple[str, ...] = ()

    def start(self) -> None:
        """
        Start the loop in a thread of its own; return when it runs.
        """

    def stop(self) -> None:
        """
        Stop what ``start`` started.
        """

    def blocking(self, function: Body) -> Body:
        """
        Return a callable that runs *function* in the loop's thread and returns its value.
        """
        raise NotImplementedError

    def submitting(self, function: Body) -> Body | None:
        """
        Return a callable that hands *function* to the loop's thread and returns at once.
        """
        return None

    def settle(self, handles: Sequence[Any]) -> None:
        """
        Block until each of *handles*, which ``submitting`` gave, has its answer.
        """
        for handle in handles:
            handle.result(BOUND)

    def coroutine(self, function: Body) -> Body:
        """
        Return a callable that runs *function*, an ``async def`` of asyncio's, and waits for it.
        """
        raise NotImplementedError

    def awaitable(self, function: Body) -> Body:
        """
        Return a callable that starts *function*, and returns what an asyncio loop can await.
        """
        raise NotImplementedError

    def held(self, number: int) -> Body:
        """
        Return such a callable whose answers all come at once when *number* have been started.
        """
        raise NotImplementedError

    def apart(self, body: Body) -> Any:
        """
        Run *body* in a thread that this contender can be called from; return its value.
        """
        return body()

    def together(self, bodies: Sequence[Body]) -> None:
        """
        Run *bodies* at once, each in such a thread of its own; return when all have ended.
        """
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _in_thread(target: Callable[[], Any], name: str) -> threading.Thread:
    """
    Start *target* in a daemon thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


# -- Crochet, ours and the peer it replaces: the same lines of code run both ----------------


class Crochet(Contender):
    """
    ``wait_for`` and ``run_in_reactor``, whichever ``crochet`` this interpreter imports.
    """

    key = "crochet"
    title = "crochet (ours)"
    distributions = ("Twisted",)

    def start(self) -> None:
        import crochet

        self._crochet = crochet
        crochet.setup()

    def blocking(self, function: Body) -> Body:
        return self._crochet.wait_for(timeout=BOUND)(function)

    def submitting(self, function: Body) -> Body:
        return self._crochet.run_in_reactor(function)

    def settle(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            handle.wait(BOUND)

    # What it does with a plain function is what it does with a coroutine function, and what can
    # be waited for can be awaited.
    coroutine = blocking
    awaitable = submitting

    def held(self, number: int) -> Body:
        from twisted.internet.defer import Deferred

        waiting: list[Deferred[None]] = []

        def body() -> Deferred[None]:
            deferred: Deferred[None] = Deferred()
            waiting.append(deferred)
            if len(waiting) == number:
                for started in waiting:
                    started.callback(None)
                waiting.clear()
            return deferred

        return self.awaitable(body)


class CrochetAsyncio(Crochet):
    """
    Ours on Twisted's asyncio reactor.
    """

    key = "crochet-asyncio"
    title = "crochet (ours, asyncio reactor)"

    def start(self) -> None:
        import crochet

        self._crochet = crochet
        crochet.setup(reactor="asyncio")


class CrochetUvloop(Crochet):
    """
    Ours on the same reactor with uvloop's event loop.
    """

    key = "crochet-uvloop"
    title = "crochet (ours, asyncio reactor on uvloop)"
    distributions = ("Twisted", "uvloop")

    def start(self) -> None:
        import uvloop

        import crochet

        self._crochet = crochet
        crochet.setup(reactor="asyncio", loop_factory=uvloop.new_event_loop)


class CrochetUnnoted(Crochet):
    """
    Ours without the notes on each call that ``status()`` and error texts are made from.
    """

    key = "crochet-unnoted"
    title = "crochet (ours, without notes on calls)"

    def start(self) -> None:
        from benchmarks.notes import leave_out_notes

        leave_out_notes()
        super().start()


class Crochet211(Crochet):
    """
    The release that ours replaces.
    """

    key = "crochet-2.1.1"
    title = "crochet 2.1.1"
    distributions = ("crochet", "Twisted", "wrapt")


# -- Twisted ----------------------------------------------------------------------------------


class Twisted(Contender):
    """
    ``twisted.internet.threads.blockingCallFromThread``, which takes no timeout.
    """

    key = "twisted"
    title = "blockingCallFromThread"
    distributions = ("Twisted",)

    def start(self) -> None:
        from twisted.internet import reactor
        from twisted.internet.threads import blockingCallFromThread

        self._reactor: Any = reactor
        self._call = blockingCallFromThread
        running = threading.Event()
        self._reactor.callWhenRunning(running.set)
        self._thread = _in_thread(lambda: self._reactor.run(installSignalHandlers=False), "reactor")
        if not running.wait(BOUND):
            raise Unavailable("the reactor did not start")

    def stop(self) -> None:
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join(BOUND)

    def blocking(self, function: Body) -> Body:
        call, reactor = self._call, self._reactor

        def blocking() -> Any:
            return call(reactor, function)

        return blocking

    def submitting(self, function: Body) -> Body:
        call = self._reactor.callFromThread

        def submitting() -> Any:
            return call(function)

        return submitting

    def settle(self, handles: Sequence[Any]) -> None:
        # callFromThread gives nothing to wait for, but keeps the order: when a later call
        # has been answered, so have the earlier ones.
        self.blocking(threading.get_ident)()


class ReactorFloor(Twisted):
    """
    The least that goes through Twisted's reactor: ``callFromThread`` and a raw lock.

    No library; it parts Crochet's cost into the reactor's share and its own.
    """

    key = "reactor-floor"
    title = "callFromThread + lock"

    def blocking(self, function: Body) -> Body:
        call_from_thread = self._reactor.callFromThread
        allocate_lock = threading.Lock

        def run_in_reactor(box: list[Any], answered: Any) -> None:
            box.append(function())
            answered.release()

        def blocking() -> Any:
            answered = allocate_lock()
            answered.acquire()
            box: list[Any] = []
            call_from_thread(run_in_reactor, box, answered)
            answered.acquire()
            return box[0]

        return blocking


# -- asyncio and what is built on it ---------------------------------------------------------


class Asyncio(Contender):
    """
    ``asyncio.run_coroutine_threadsafe`` and a bounded ``result()``.
    """

    key = "asyncio"
    title = "run_coroutine_threadsafe (asyncio)"

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """
        Return the loop to use.
        """
        return asyncio.new_event_loop()

    def start(self) -> None:
        self._loop = self.new_loop()
        self._thread = _in_thread(self._loop.run_forever, "loop")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()

    def blocking(self, function: Body) -> Body:
        run, loop = asyncio.run_coroutine_threadsafe, self._loop

        async def body() -> Any:
            return function()

        def blocking() -> Any:
            return run(body(), loop).result(BOUND)

        return blocking

    def submitting(self, function: Body) -> Body:
        run, loop = asyncio.run_coroutine_threadsafe, self._loop

        async def body() -> Any:
            return function()

        def submitting() -> Any:
            return run(body(), loop)

        return submitting

    def coroutine(self, function: Body) -> Body:
        run, loop = asyncio.run_coroutine_threadsafe, self._loop

        def blocking() -> Any:
            return run(function(), loop).result(BOUND)

        return blocking

    def awaitable(self, function: Body) -> Body:
        submit, wrap = self.submitting(function), asyncio.wrap_future

        def awaitable() -> Any:
            return wrap(submit())

        return awaitable

    def held(self, number: int) -> Body:
        run, loop, wrap = asyncio.run_coroutine_threadsafe, self._loop, asyncio.wrap_future
        waiting: list[asyncio.Future[None]] = []

        async def body() -> None:
            future = loop.create_future()
            waiting.append(future)
            if len(waiting) == number:
                for started in waiting:
                    started.set_result(None)
                waiting.clear()
            await future

        def held() -> Any:
            return wrap(run(body(), loop))

        return held


class Uvloop(Asyncio):
    """
    The same on uvloop.
    """

    key = "uvloop"
    title = "run_coroutine_threadsafe (uvloop)"
    distributions = ("uvloop",)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class Anyio(Contender):
    """
    anyio's ``start_blocking_portal`` on its asyncio backend; ``call`` takes no timeout.
    """

    key = "anyio"
    title = "anyio portal"
    distributions = ("anyio",)
    options: dict[str, Any] = {}

    def start(self) -> None:
        from anyio.from_thread import start_blocking_portal

        self._context = start_blocking_portal("asyncio", self.options)
        self._portal: Any = self._context.__enter__()

    def stop(self) -> None:
        self._context.__exit__(None, None, None)

    def blocking(self, function: Body) -> Body:
        call = self._portal.call

        def blocking() -> Any:
            return call(function)

        return blocking

    def submitting(self, function: Body) -> Body:
        start_task_soon = self._portal.start_task_soon

        def submitting() -> Any:
            return start_task_soon(function)

        return submitting

    # It takes both kinds of functions.
    coroutine = blocking


class AnyioUvloop(Anyio):
    """
    The same on uvloop.
    """

    key = "anyio-uvloop"
    title = "anyio portal (uvloop)"
    distributions = ("anyio", "uvloop")
    options = {"use_uvloop": True}


class Asgiref(Contender):
    """
    asgiref's ``async_to_sync``, called in threads that ``sync_to_async`` made.

    Only there does it call into a loop that already runs (as a Django view under ASGI does).
    In any other thread it starts a thread and a loop for every call, which costs some
    hundred times more and is no hand-over between two threads; that mode is not measured.
    It takes no timeout and has no way to start a call without waiting for it.
    """

    key = "asgiref"
    title = "asgiref async_to_sync"
    distributions = ("asgiref",)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """
        Return the loop to use.
        """
        return asyncio.new_event_loop()

    def start(self) -> None:
        from asgiref.sync import async_to_sync, sync_to_async

        self._async_to_sync: Any = async_to_sync
        self._sync_to_async: Any = sync_to_async
        self._loop = self.new_loop()
        self._thread = _in_thread(self._loop.run_forever, "loop")
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=128)

    def stop(self) -> None:
        self._executor.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()

    def blocking(self, function: Body) -> Body:
        async def body() -> Any:
            return function()

        return self._async_to_sync(body)

    def coroutine(self, function: Body) -> Body:
        return self._async_to_sync(function)

    def apart(self, body: Body) -> Any:
        return self._start_apart(body).result()

    def together(self, bodies: Sequence[Body]) -> None:
        for future in [self._start_apart(body) for body in bodies]:
            future.result()

    def _start_apart(self, body: Body) -> concurrent.futures.Future[Any]:
        called = self._sync_to_async(body, thread_sensitive=False, executor=self._executor)
        return asyncio.run_coroutine_threadsafe(called(), self._loop)


class AsgirefUvloop(Asgiref):
    """
    The same on uvloop.
    """

    key = "asgiref-uvloop"
    title = "asgiref async_to_sync (uvloop)"
    distributions = ("asgiref", "uvloop")

    def new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class Synchronicity(Contender):
    """
    synchronicity's blocking wrapper around an ``async def``; it takes no timeout.
    """

    key = "synchronicity"
    title = "synchronicity"
    distributions = ("synchronicity",)

    def start(self) -> None:
        import synchronicity

        self._synchronizer: Any = synchronicity.Synchronizer()

    def blocking(self, function: Body) -> Body:
        async def body() -> Any:
            return function()

        return self._synchronizer.wrap(body)

    def submitting(self, function: Body) -> Body:
        wrapped = self.blocking(function)

        def submitting() -> Any:
            return wrapped(_future=True)

        return submitting


# -- the floor --------------------------------------------------------------------------------


class Floor(Contender):
    """
    The least that a hand-over between two threads costs in Python on Linux.

    A thread waits in ``epoll`` on an eventfd, as a reactor's thread does. The caller appends
    to a deque, writes the eventfd and waits for a raw lock; the thread reads the eventfd,
    empties the deque, runs each function and releases its lock. No errors are carried, no
    wait is bounded, nothing can be cancelled.
    """

    key = "floor"
    title = "floor: eventfd, epoll, lock"

    def start(self) -> None:
        if not hasattr(os, "eventfd") or not hasattr(select, "epoll"):
            raise Unavailable("needs Linux's eventfd and epoll")
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._queue: collections.deque[tuple[Body, list[Any], Any]] = collections.deque()
        self._thread = _in_thread(self._run, "floor")

    def stop(self) -> None:
        self._queue.append((self._raise, [], None))
        os.eventfd_write(self._wakeup, 1)
        self._thread.join(BOUND)
        self._epoll.close()
        os.close(self._wakeup)

    def _raise(self) -> None:
        raise SystemExit

    def _run(self) -> None:
        poll, read, wakeup, queue = self._epoll.poll, os.eventfd_read, self._wakeup, self._queue
        popleft = queue.popleft
        while True:
            poll()
            read(wakeup)
            while queue:
                function, box, answered = popleft()
                box.append(function())
                answered.release()

    def blocking(self, function: Body) -> Body:
        append, write, wakeup = self._queue.append, os.eventfd_write, self._wakeup
        allocate_lock = threading.Lock

        def blocking() -> Any:
            answered = allocate_lock()
            answered.acquire()
            box: list[Any] = []
            append((function, box, answered))
            write(wakeup, 1)
            answered.acquire()
            return box[0]

        return blocking

    def submitting(self, function: Body) -> Body:
        append, write, wakeup = self._queue.append, os.eventfd_write, self._wakeup
        allocate_lock = threading.Lock

        def submitting() -> Any:
            answered = allocate_lock()
            answered.acquire()
            box: list[Any] = []
            append((function, box, answered))
            write(wakeup, 1)
            return box, answered

        return submitting

    def settle(self, handles: Sequence[Any]) -> None:
        for _box, answered in handles:
            if not answered.acquire(timeout=BOUND):
                raise TimeoutError("the floor has not answered")


#: Every contender, by its key, in the order of tables and plots.
CONTENDERS: dict[str, type[Contender]] = {
    contender.key: contender
    for contender in (
        Crochet,
        CrochetAsyncio,
        CrochetUvloop,
        CrochetUnnoted,
        Crochet211,
        Twisted,
        Asyncio,
        Uvloop,
        Anyio,
        AnyioUvloop,
        Asgiref,
        AsgirefUvloop,
        Synchronicity,
        ReactorFloor,
        Floor,
    )
}

#: No libraries but what the others stand on, or ours with less: no rank among them.
REFERENCES = frozenset({"floor", "reactor-floor", "crochet-unnoted"})

#: A contender in another form, which takes part only in the measures that name it.
FORMS = frozenset(
    {"crochet-asyncio", "crochet-uvloop", "crochet-unnoted", "anyio-uvloop", "asgiref-uvloop"}
)
