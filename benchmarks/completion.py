"""
The probe of futures: rounds of HTTP requests, collected in the order in which they complete.

Server and client are Twisted's, in this process's reactor, over the loopback.
"""

from __future__ import annotations

import concurrent.futures
import gc
import linecache
import tracemalloc
from typing import Any

BOUND = 120.0
ROUNDS = 20
EARLY = 5

#: How many requests are on the wire at once, each on a connection that the next one uses again.
CONNECTIONS = 50


def futures(number: int) -> dict[str, Any]:
    """
    Count the bytes in use after the fifth and after the twentieth round of *number* requests.

    All requests of a round are started first; each then has a future, and the one that completes
    first is taken first. All that Python has allocated since the process began is counted, but
    the lines of source files that it keeps.
    """
    tracemalloc.start()
    fetch, close = _fetching()
    in_use = {}
    for done in range(1, ROUNDS + 1):
        _round(fetch, number)
        if done in (EARLY, ROUNDS):
            # The watch looks at the source of what keeps a busy reactor, once for each file.
            linecache.clearcache()
            gc.collect()
            in_use[done], _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    close()
    return {"bytes_early": in_use[EARLY], "bytes_later": in_use[ROUNDS]}


def _round(fetch: Any, number: int) -> None:
    pending = {fetch(index).as_future(): b"/%d" % index for index in range(number)}
    for future in concurrent.futures.as_completed(pending, BOUND):
        if future.result() != pending[future]:
            raise AssertionError(f"{pending[future]!r} has got the answer to another")


def _fetching() -> tuple[Any, Any]:
    """
    Return a function that starts a request, and one that ends it all.
    """
    import crochet

    crochet.setup()
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred, DeferredSemaphore
    from twisted.web.client import Agent, HTTPConnectionPool, readBody
    from twisted.web.resource import Resource
    from twisted.web.server import Request, Site

    reactor: Any = installed

    class Echo(Resource):
        """
        Answers with the path.
        """

        isLeaf = True

        def render_GET(self, request: Request) -> bytes:
            path: bytes = request.uri
            return path

    @crochet.wait_for(timeout=BOUND)
    def listen() -> Any:
        return reactor.listenTCP(0, Site(Echo()), interface="127.0.0.1", backlog=CONNECTIONS)

    port = listen()
    root = b"http://127.0.0.1:%d/" % port.getHost().port
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = CONNECTIONS
    agent = Agent(reactor, pool=pool)
    turns = DeferredSemaphore(CONNECTIONS)

    async def get(index: int) -> bytes:
        response: Any = await agent.request(b"GET", root + b"%d" % index)
        body: bytes = await readBody(response)
        return body

    @crochet.run_in_reactor
    def fetch(index: int) -> Deferred[bytes]:
        return turns.run(get, index)

    @crochet.wait_for(timeout=BOUND)
    async def close() -> None:
        await pool.closeCachedConnections()
        await port.stopListening()

    return fetch, close
