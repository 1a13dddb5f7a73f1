"""
Every form in which a function that returns a context is decorated and used. Checked by mypy and
pyright, never run. See decorated.py for what the marks mean.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from types import TracebackType

from twisted.internet.defer import Deferred
from typing_extensions import Self, assert_type

from crochet import context_in_reactor


class Session:
    def __init__(self, url: str) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@context_in_reactor(timeout=5.0)
@asynccontextmanager
async def connect(url: str, *, retries: int = 0) -> AsyncGenerator[bytes, None]:
    yield b""


@context_in_reactor(None, grace=0.5)
def returned(url: str) -> AbstractAsyncContextManager[int]:
    raise NotImplementedError


@context_in_reactor(5)
async def given(url: str) -> Session:
    raise NotImplementedError


@context_in_reactor(5)
def deferred(url: str) -> Deferred[Session]:
    raise NotImplementedError


with connect("", retries=1) as connection:
    assert_type(connection, bytes)
with connect.with_timeout(2)("") as connection:
    assert_type(connection, bytes)
with returned("") as number:
    assert_type(number, int)
with given("") as session:
    assert_type(session, Session)
with deferred("") as session:
    assert_type(session, Session)
with context_in_reactor(5)(Session)("") as session:
    assert_type(session, Session)

manager: AbstractContextManager[bytes] = connect("")

connect()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
connect(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
context_in_reactor()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Client:
    @context_in_reactor(5)
    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[bytes, None]:
        yield b""

    @staticmethod
    @context_in_reactor(5)
    @asynccontextmanager
    async def static(url: str) -> AsyncGenerator[bytes, None]:
        yield b""


with Client().connect("") as connection, Client.static("") as other:
    assert_type(connection, bytes)
    assert_type(other, bytes)
with Client().connect.with_timeout(2)("") as connection:
    assert_type(connection, bytes)


@context_in_reactor(5)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
async def bare() -> AsyncIterator[int]:
    yield 1
