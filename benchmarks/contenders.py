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
import queue
import select
import threading
from _thread import allocate_lock
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

#: Seconds. Nothing measured here takes as long; it is what a user would write beside a call.
BOUND = 60.0

Body = Callable[[], Any]


class Contender:
    """
    One way of calling into a loop that runs in another thread. A subclass has what it can do of:

    - ``start()`` starts the loop in a thread of its own, and returns when it runs; nothing stops
      it, for the conductor ends the process;
    - ``blocking(function)`` returns a callable that runs *function* in the loop's thread and
      returns its value; ``coroutine(function)`` likewise for an ``async def`` of asyncio's;
    - ``submitting(function)`` returns one that hands *function* to that thread and returns at once;
    - ``settle(handles)`` blocks until each of what that gave has its answer;
    - ``awaitable(function)`` returns one that starts *function* and returns what an asyncio loop
      can await; with ``held(number)`` all answers come when *number* have been started;
    - ``stream(number, ahead)`` returns a blocking iterator over so many items of an async generator
      in that thread, which may be *ahead* items ahead, where that can be told;
    - ``apart(body)`` runs *body* in a thread that it can be called from, and returns its value;
      ``together(bodies)`` runs each in such a thread of its own, all at once.
    """

    key = title = ""
    #: The distributions whose versions belong in the report. With uvloop's it uses that loop.
    distributions: tuple[str, ...] = ()
    blocking: Any
    submitting: Any = None
    stream: Any = None

    def start(self) -> None:
        pass

    def settle(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            handle.result(BOUND)

    def apart(self, body: Body) -> Any:
        return body()

    def together(self, bodies: Sequence[Body]) -> None:
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        if "uvloop" not in self.distributions:
            return asyncio.new_event_loop()
        import uvloop

        return uvloop.new_event_loop()


async def numbers(number: int) -> AsyncIterator[int]:
    for each in range(number):
        yield each


def _as_coroutine(function: Body) -> Body:
    async def body() -> Any:
        return function()

    return body


def _together(number: int, make: Body, answer: Callable[[Any], None]) -> Body:
    """
    Return what makes one at each call, and answers all when it has made *number*.
    """
    waiting: list[Any] = []

    def start() -> Any:
        waiting.append(made := make())
        if len(waiting) == number:
            for one in waiting:
                answer(one)
            waiting.clear()
        return made

    return start


def _in_thread(target: Callable[[], Any]) -> None:
    threading.Thread(target=target, daemon=True).start()


class Crochet(Contender):
    """
    ``wait_for`` and ``run_in_reactor`` of whichever ``crochet`` this interpreter imports.
    """

    key, title = "crochet", "crochet (ours)"
    distributions = ("Twisted",)

    def start(self) -> None:
        import crochet

        self._crochet = crochet
        if self.key == "crochet-uvloop":
            crochet.setup(reactor="asyncio", loop_factory=self.new_loop)
        elif self.key == "crochet-asyncio":
            crochet.setup(reactor="asyncio")
        else:
            crochet.setup()

    def blocking(self, function: Body) -> Body:
        return self._crochet.wait_for(timeout=BOUND)(function)

    def submitting(self, function: Body) -> Body:
        return self._crochet.run_in_reactor(function)

    # What it does with a plain function is what it does with a coroutine function, and what can
    # be waited for can be awaited.
    coroutine = blocking
    awaitable = submitting

    def settle(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            handle.wait(BOUND)

    def held(self, number: int) -> Body:
        from twisted.internet.defer import Deferred

        return self.awaitable(_together(number, Deferred, lambda deferred: deferred.callback(None)))

    def stream(self, number: int, ahead: int) -> Iterator[int]:
        return self._crochet.iterate_in_reactor(BOUND, buffersize=ahead)(numbers)(number)


class Twisted(Contender):
    key, title = "twisted", "blockingCallFromThread"
    distributions = ("Twisted",)

    def start(self) -> None:
        from twisted.internet import reactor
        from twisted.internet.threads import blockingCallFromThread

        self._reactor, self._call = reactor, blockingCallFromThread
        _in_thread(lambda: reactor.run(installSignalHandlers=False))

    def blocking(self, function: Body) -> Body:
        return partial(self._call, self._reactor, function)

    def submitting(self, function: Body) -> Body:
        return partial(self._reactor.callFromThread, function)

    def settle(self, handles: Sequence[Any]) -> None:
        # callFromThread gives nothing to wait for, but keeps the order: when a later call
        # has been answered, so have the earlier ones.
        self.blocking(threading.get_ident)()


class ReactorFloor(Twisted):
    """
    The least that goes through Twisted's reactor: ``callFromThread`` and a raw lock.

    No library; it parts Crochet's cost into the reactor's share and its own.
    """

    key, title = "reactor-floor", "callFromThread + lock"

    def blocking(self, function: Body) -> Body:
        call_from_thread = self._reactor.callFromThread

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


class Asyncio(Contender):
    key, title = "asyncio", "run_coroutine_threadsafe (asyncio)"

    def start(self) -> None:
        self._loop = self.new_loop()
        _in_thread(self._loop.run_forever)

    def blocking(self, function: Body) -> Body:
        return self.coroutine(_as_coroutine(function))

    def coroutine(self, function: Body) -> Body:
        run, loop = asyncio.run_coroutine_threadsafe, self._loop
        return lambda: run(function(), loop).result(BOUND)

    def submitting(self, function: Body) -> Body:
        run, loop, body = asyncio.run_coroutine_threadsafe, self._loop, _as_coroutine(function)
        return lambda: run(body(), loop)

    def stream(self, number: int, ahead: int) -> Iterator[int]:
        items = numbers(number)

        async def step() -> int:
            return await items.__anext__()

        call = self.coroutine(step)
        try:
            while True:
                yield call()
        except StopAsyncIteration:
            pass

    def awaitable(self, function: Body) -> Body:
        submit, wrap = self.submitting(function), asyncio.wrap_future
        return lambda: wrap(submit())

    def held(self, number: int) -> Body:
        run, loop, wrap = asyncio.run_coroutine_threadsafe, self._loop, asyncio.wrap_future
        start = _together(number, loop.create_future, lambda future: future.set_result(None))

        async def body() -> None:
            await start()

        return lambda: wrap(run(body(), loop))


class Anyio(Contender):
    key, title = "anyio", "anyio portal"
    distributions = ("anyio",)

    def start(self) -> None:
        from anyio.from_thread import start_blocking_portal

        options = {"use_uvloop": "uvloop" in self.distributions}
        self._context = start_blocking_portal("asyncio", options)
        self._portal = self._context.__enter__()

    def blocking(self, function: Body) -> Body:
        return partial(self._portal.call, function)

    def submitting(self, function: Body) -> Body:
        return partial(self._portal.start_task_soon, function)

    coroutine = blocking  # it takes both kinds of functions
    stream = Asyncio.stream


class Asgiref(Asyncio):
    """
    asgiref's ``async_to_sync``, called in threads that ``sync_to_async`` made.

    Only there does it call into a loop that already runs (as a Django view under ASGI does).
    In any other thread it starts a thread and a loop for every call, which costs some
    hundred times more and is no hand-over between two threads; that mode is not measured.
    It takes no timeout and has no way to start a call without waiting for it.
    """

    key, title = "asgiref", "asgiref async_to_sync"
    distributions = ("asgiref",)
    submitting = None

    def start(self) -> None:
        from asgiref.sync import async_to_sync, sync_to_async

        self.coroutine = async_to_sync
        self._sync_to_async = sync_to_async
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=128)
        super().start()

    def apart(self, body: Body) -> Any:
        return self._start_apart(body).result()

    def together(self, bodies: Sequence[Body]) -> None:
        for future in [self._start_apart(body) for body in bodies]:
            future.result()

    def _start_apart(self, body: Body) -> concurrent.futures.Future[Any]:
        called = self._sync_to_async(body, thread_sensitive=False, executor=self._executor)
        return asyncio.run_coroutine_threadsafe(called(), self._loop)


class Synchronicity(Contender):
    key, title = "synchronicity", "synchronicity"
    distributions = ("synchronicity",)

    def start(self) -> None:
        import synchronicity

        self._synchronizer = synchronicity.Synchronizer()

    def blocking(self, function: Body) -> Body:
        return self._synchronizer.wrap(_as_coroutine(function))

    def submitting(self, function: Body) -> Body:
        return partial(self.blocking(function), _future=True)

    def stream(self, number: int, ahead: int) -> Iterator[int]:
        return self._synchronizer.wrap(numbers)(number)


class Culsans(Asyncio):
    """
    A queue with one side for a loop and one for threads, filled by what runs the generator.
    """

    key, title = "culsans", "culsans.Queue"
    distributions = ("culsans",)

    def start(self) -> None:
        import culsans

        super().start()
        self._make_queue = culsans.Queue

    def stream(self, number: int, ahead: int) -> Iterator[int]:
        made = self._make_queue(ahead)

        async def fill() -> None:
            put = made.async_q.put
            async for each in numbers(number):
                await put(each)

        asyncio.run_coroutine_threadsafe(fill(), self._loop)
        get = made.sync_q.get
        for _ in range(number):
            yield get()


class Queues(Contender):
    """
    Two threads, with two ``SimpleQueue``s that are played to and fro for each item, or one
    ``Queue`` of a size. No loop, no generator, no errors, no end but the last item.
    """

    key, title = "queues", "two threads and queues"

    def start(self) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1)

    def blocking(self, function: Body) -> Body:
        return lambda: self._executor.submit(function).result(BOUND)

    def stream(self, number: int, ahead: int) -> Iterator[int]:
        return self._ahead(number, ahead) if ahead else self._asked(number)

    def _asked(self, number: int) -> Iterator[int]:
        asked: queue.SimpleQueue[None] = queue.SimpleQueue()
        items: queue.SimpleQueue[int] = queue.SimpleQueue()

        def run() -> None:
            for each in range(number):
                asked.get()
                items.put(each)

        _in_thread(run)
        for _ in range(number):
            asked.put(None)
            yield items.get()

    def _ahead(self, number: int, ahead: int) -> Iterator[int]:
        items: queue.Queue[int] = queue.Queue(ahead)

        def run() -> None:
            for each in range(number):
                items.put(each)

        _in_thread(run)
        for _ in range(number):
            yield items.get()


class Floor(Contender):
    """
    The least that a hand-over between two threads costs in Python on Linux.

    A thread waits in ``epoll`` on an eventfd, as a reactor's thread does. The caller appends
    to a deque, writes the eventfd and waits for a raw lock; the thread reads the eventfd,
    empties the deque, runs each function and releases its lock. No errors are carried, no
    wait is bounded, nothing can be cancelled.
    """

    key, title = "floor", "floor: eventfd, epoll, lock"

    def start(self) -> None:
        if not hasattr(os, "eventfd") or not hasattr(select, "epoll"):
            raise ImportError("needs Linux's eventfd and epoll")
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._queue = collections.deque()
        _in_thread(self._run)

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

        def submitting() -> Any:
            answered = allocate_lock()
            answered.acquire()
            append((function, [], answered))
            write(wakeup, 1)
            return answered

        return submitting

    def settle(self, handles: Sequence[Any]) -> None:
        for answered in handles:
            answered.acquire()


def _form(base: type[Contender], key: str, title: str, *with_: str) -> Any:
    """
    Return *base* in another form, *with_* other distributions.
    """
    names = with_ or base.distributions
    return type(key, (base,), {"key": key, "title": title, "distributions": names})


#: Every contender, by its key, in the order of tables and plots.
CONTENDERS: dict[str, type[Contender]] = {
    contender.key: contender
    for contender in (
        Crochet,
        _form(Crochet, "crochet-before", "crochet (ours, before)"),
        _form(Crochet, "crochet-asyncio", "crochet (ours, asyncio)"),
        _form(Crochet, "crochet-uvloop", "crochet (ours, uvloop)", "Twisted", "uvloop"),
        _form(Crochet, "crochet-2.1.1", "crochet 2.1.1", "crochet", "Twisted", "wrapt"),
        Twisted,
        Asyncio,
        _form(Asyncio, "uvloop", "run_coroutine_threadsafe (uvloop)", "uvloop"),
        Anyio,
        _form(Anyio, "anyio-uvloop", "anyio portal (uvloop)", "anyio", "uvloop"),
        Asgiref,
        _form(Asgiref, "asgiref-uvloop", "asgiref async_to_sync (uvloop)", "asgiref", "uvloop"),
        Synchronicity,
        Culsans,
        Queues,
        ReactorFloor,
        Floor,
    )
}

#: The two that share an API, and so the measures that only make sense for it.
CROCHETS = ("crochet", "crochet-2.1.1")

#: What ours is held against: those that are no other form of one.
LIBRARIES = ("crochet-2.1.1", "twisted", "asyncio", "uvloop", "anyio", "asgiref", "synchronicity")

#: No libraries but what the others stand on, or ours as it was: no rank among them.
REFERENCES = frozenset({"floor", "queues", "reactor-floor", "crochet-before"})

#: Who takes part in everything. The others are forms of these, for the measures that name them.
PLAIN = ("crochet", *LIBRARIES, "reactor-floor", "floor")
