"""
httpx's async client, and server-sent events as they come, in a plain script.

    python httpx_events.py

The client is httpx.AsyncClient itself, with its pool of connections and its streaming, as an object
for blocking code: with one `Protocol` that says what of it is used here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Protocol

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from loopback.web import Ticker, serve

from crochet import blocking, iterate_in_reactor, setup, wait_for

setup(reactor="asyncio")


class Client(Protocol):
    """
    What of httpx.AsyncClient is used here, as blocking code uses it.
    """

    def get(self, url: str) -> httpx.Response: ...

    def __enter__(self) -> Client: ...

    def __exit__(self, *error: object) -> bool | None: ...


new_client = blocking(httpx.AsyncClient, timeout=10.0, as_=Client)


@iterate_in_reactor(timeout=10.0)
async def events(client: Client, url: str) -> AsyncIterator[ServerSentEvent]:
    """
    Give events as they come. The library's functions take the client itself.
    """
    async with aconnect_sse(blocking.unwrap(client), "GET", url) as source:
        async for event in source.aiter_sse():
            yield event


@wait_for(timeout=5.0)
def loopback_ticker() -> str:
    """
    Start a server of exchange rates, and return its URL.
    """
    from twisted.internet import reactor

    return serve(reactor, Ticker())


def main() -> None:
    """
    Look at a page, and at the first three of events without end.
    """
    url = loopback_ticker()
    with new_client() as client:
        print(client.get(f"{url}about").text)
        with events(client, f"{url}rates") as stream:
            for event, _ in zip(stream, range(3), strict=False):
                print(event.event, json.loads(event.data)["EUR"])
        print("left:", client.get(f"{url}watched").text)


if __name__ == "__main__":
    main()
