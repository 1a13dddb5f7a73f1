"""
Every form in which a function that returns a stream is decorated and used. Checked by mypy and
pyright, never run. See decorated.py for what the marks mean.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterator,
)

from twisted.internet.defer import Deferred, inlineCallbacks
from typing_extensions import assert_type

from crochet import (
    Channel,
    EventualResult,
    Progress,
    Stream,
    as_completed,
    gather,
    iterate_in_reactor,
    progress_bar,
    report_progress,
    run_in_reactor,
    wait_for,
)


@iterate_in_reactor(5)
async def events(url: str, *, retries: int = 0) -> AsyncIterator[bytes]:
    yield b""


@iterate_in_reactor(timeout=None, buffersize=16, grace=0.5)
async def generated(url: str) -> AsyncGenerator[bytes, None]:
    yield b""


@iterate_in_reactor(5.0)
def returned(number: int) -> AsyncIterable[int]:
    raise NotImplementedError


@iterate_in_reactor(5)
async def given(number: int) -> AsyncIterator[int]:
    raise NotImplementedError


@iterate_in_reactor(5)
def deferred(number: int) -> Deferred[AsyncIterator[int]]:
    raise NotImplementedError


@iterate_in_reactor(5)
@inlineCallbacks
def resumed(number: int) -> Generator[Deferred[int], int, AsyncIterator[str]]:
    yield Deferred[int]()
    raise NotImplementedError


@iterate_in_reactor(5)
def tasking(number: int) -> asyncio.Task[AsyncIterator[int]]:
    raise NotImplementedError


@iterate_in_reactor(5)
def called_back(number: int) -> Channel[float]:
    channel: Channel[float] = Channel(3, overflow="drop_oldest")
    channel.put(1.5)
    channel.put("")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    channel.on_close(channel.finish)
    return channel


@iterate_in_reactor(5)
async def called_back_later() -> Channel[bytes]:
    return Channel[bytes](1)


Channel[int](overflow="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


assert_type(called_back(1), Stream[float])
assert_type(called_back_later(), Stream[bytes])

with events("", retries=1) as stream:
    assert_type(stream, Stream[bytes])
    for event in stream:
        assert_type(event, bytes)

assert_type(events(""), Stream[bytes])
assert_type(events.with_timeout(2)("", retries=1), Stream[bytes])
assert_type(generated(""), Stream[bytes])
assert_type(returned(1), Stream[int])
assert_type(given(1), Stream[int])
assert_type(deferred(1), Stream[int])
assert_type(resumed(1), Stream[str])
assert_type(tasking(1), Stream[int])
assert_type(next(events("")), bytes)
assert_type(events("").close(), None)
assert_type(list(events("").with_heartbeat(15)), list[bytes | None])
assert_type(list(events("").with_heartbeat(15, "")), list[bytes | str])
iterator: Iterator[bytes] = events("")
items: AsyncIterator[bytes] = events("").as_async()

events()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
events(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
events("", tries=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
events("").__aiter__()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
iterate_in_reactor()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
iterate_in_reactor(5, buffersize="")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Client:
    @iterate_in_reactor(5)
    async def events(self, url: str) -> AsyncIterator[bytes]:
        yield b""

    @iterate_in_reactor(5)
    @classmethod
    async def of_class(cls, url: str) -> AsyncIterator[bytes]:
        yield b""

    @classmethod
    @iterate_in_reactor(5)
    async def of_class_too(cls, url: str) -> AsyncIterator[bytes]:
        yield b""

    @staticmethod
    @iterate_in_reactor(5)
    async def static(url: str) -> AsyncIterator[bytes]:
        yield b""


assert_type(Client().events(""), Stream[bytes])
assert_type(Client().events.with_timeout(2)(""), Stream[bytes])
assert_type(Client.of_class_too(""), Stream[bytes])
assert_type(Client.static(""), Stream[bytes])
assert_type(iterate_in_reactor(5)(functools.partial(events.__wrapped__, ""))(), Stream[bytes])


@iterate_in_reactor(5)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
def number() -> int:
    return 1


# What the other decorators refuse. Checkers see that where it is used.


@wait_for(5)
async def waited() -> AsyncIterator[int]:
    yield 1


@wait_for(5)
def waited_return() -> AsyncGenerator[int, None]:
    raise NotImplementedError


@run_in_reactor  # pyright: ignore[reportDeprecated]
async def started() -> AsyncIterator[int]:
    yield 1


waited()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
waited_return()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
started()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]


# Several results.


@run_in_reactor
def plain() -> int:
    return 1


assert_type(gather(plain(), plain(), timeout=5), list[int])
assert_type(as_completed([plain()]), Iterator[EventualResult[int]])
assert_type(plain().result(5), int)
assert_type(plain().exception(), BaseException | None)
assert_type(plain().cancelled(), bool)


def show(progress: Progress) -> None: ...


def show_another(number: int) -> None: ...


@wait_for(5)
async def counted(number: int) -> bytes:
    report_progress(1)
    report_progress(1.5, 2, "rows")
    report_progress(done=1, total=None, message=None)
    report_progress("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return b""


class Counting:
    @wait_for(5)
    async def count(self, number: int) -> bytes:
        return b""


assert_type(counted.with_progress(show)(1), bytes)
assert_type(counted.with_timeout(1).with_progress(show).with_timeout(2)(1), bytes)
assert_type(Counting().count.with_progress(show)(1), bytes)
assert_type(Counting().count.with_progress(show).with_timeout(2)(1), bytes)
counted.with_progress(show_another)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
counted.with_progress(show)("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@run_in_reactor
async def counting(number: int) -> bytes:
    return b""


assert_type(counting(1).progress, Progress | None)
assert_type(counting(1).watch(), Iterator[Progress])
assert_type(counting(1).watch(0.5, heartbeat=15), Iterator[Progress])
assert_type(counting(1).wait(60, progress=show), bytes)
for snapshot in counting(1).watch():
    assert_type(snapshot.done, float)
    assert_type(snapshot.eta, float | None)
with progress_bar(), progress_bar(sys.stdout):
    counting(1).wait()
