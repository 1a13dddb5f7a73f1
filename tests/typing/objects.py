"""
Every form in which an object is wrapped. Checked by mypy and pyright, never run. See decorated.py
for what the marks mean.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from typing_extensions import assert_type

from crochet import Stream, blocking


class AsyncClient:
    def __init__(self, url: str, *, retries: int = 0) -> None:
        raise NotImplementedError

    async def get(self, path: str) -> bytes:
        raise NotImplementedError

    async def items(self) -> AsyncGenerator[int, None]:
        yield 1


async def connect(url: str) -> AsyncClient:
    raise NotImplementedError


class Client(Protocol):
    url: str

    def get(self, path: str) -> bytes: ...
    def items(self) -> Stream[int]: ...
    def stream(self) -> AbstractContextManager[int]: ...
    def __enter__(self) -> Client: ...
    def __exit__(self, *error: object) -> bool | None: ...


def given(client: AsyncClient) -> None:
    proxy = blocking(client, timeout=5.0, as_=Client)
    assert_type(proxy, Client)
    assert_type(proxy.get(""), bytes)
    assert_type(blocking(client, timeout=None), Any)
    proxy.put("")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


make = blocking(AsyncClient, timeout=5, as_=Client, timeouts={"get": 60}, wrap=[AsyncClient])
assert_type(make("", retries=1), Client)
typed: Callable[[str], Client] = make
with blocking(AsyncClient, timeout=5.0, as_=Client)("") as client:
    assert_type(client.url, str)
    with client.stream() as number:
        assert_type(number, int)
    for item in client.items():
        assert_type(item, int)

assert_type(blocking(connect, timeout=5, as_=Client)(""), Client)
assert_type(blocking(AsyncClient, timeout=5), Any)
assert_type(blocking.unwrap(client), Any)

make(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
blocking(AsyncClient, as_=Client)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
blocking(AsyncClient, timeout=5, wrap=AsyncClient)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
