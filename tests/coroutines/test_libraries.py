"""
Libraries of both worlds in one coroutine: aiohttp, httpx (through anyio) and treq, for real.

Each program serves itself over loopback, with twisted.web in the same reactor thread.
"""

from __future__ import annotations

import sys

import pytest

from support.programs import Finished, run_python

_LOOPS = ["asyncio", "uvloop"] if sys.platform == "linux" else ["asyncio"]

_WORLD = """
import asyncio, contextlib, gc, sys
import crochet

bound = float(sys.argv[1])
factory = None
if sys.argv[2] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
crochet.setup(reactor="asyncio", loop_factory=factory, stall_warning=None)

import aiohttp, httpx, treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

asked, lost = asyncio.Event(), asyncio.Event()

class Pages(Resource):
    isLeaf = True

    def render_GET(self, request):
        if request.path == b"/never":
            request.notifyFinish().addErrback(lambda failure: lost.set())
            asked.set()
            return NOT_DONE_YET
        return b"page " + request.path

@crochet.wait_for(timeout=bound)
def listen():
    return reactor.listenTCP(0, Site(Pages()), interface="127.0.0.1").getHost().port

address = f"http://127.0.0.1:{listen()}"

async def by_aiohttp(path):
    async with aiohttp.ClientSession() as session, session.get(address + path) as response:
        return await response.text()

async def by_httpx(path):
    async with httpx.AsyncClient() as client:
        return (await client.get(address + path)).text

async def by_treq(path):
    response = await treq.get(address + path, persistent=False)
    return (await treq.content(response)).decode()
"""


def _run(program: str, loop: str) -> Finished:
    return run_python(
        _WORLD + program, loop, flags=("-W", "error", "-W", "ignore::ResourceWarning")
    )


@pytest.mark.parametrize("loop", _LOOPS)
class TestTogether:
    """
    In one process, on one event loop.
    """

    def test_one_after_the_other(self, loop: str) -> None:
        """
        In one coroutine, as one writes it.
        """
        finished = _run(
            """
@crochet.wait_for(timeout=bound)
async def fetch():
    return [await by_aiohttp("/a"), await by_treq("/b"), await by_httpx("/c"), await by_treq("/d")]

print(fetch())
""",
            loop,
        )
        assert finished.stdout == "['page /a', 'page /b', 'page /c', 'page /d']\n"
        assert finished.stderr == ""

    def test_in_both_nesting_orders(self, loop: str) -> None:
        """
        Asyncio's tasks around Deferreds around asyncio's futures, and the other way round.
        """
        finished = _run(
            """
@inlineCallbacks
def twisted_around_asyncio(path):
    texts = yield Deferred.fromFuture(asyncio.gather(by_aiohttp(path), by_httpx(path)))
    response = yield treq.get(address + path, persistent=False)
    own = yield treq.content(response)
    return [*texts, own.decode()]

async def asyncio_around_twisted(path):
    return await asyncio.gather(
        by_aiohttp(path), by_treq(path), asyncio.create_task(by_httpx(path)),
        asyncio.create_task(by_treq(path)),
    )

@crochet.wait_for(timeout=bound)
async def fetch():
    both = await asyncio.gather(
        asyncio_around_twisted("/in"),
        twisted_around_asyncio("/out").asFuture(asyncio.get_running_loop()),
    )
    inner = await twisted_around_asyncio("/deferred")
    assert asyncio.current_task() is not None
    return both, inner

both, inner = fetch()
print(set(both[0]), len(both[0]), set(both[1]), set(inner))
""",
            loop,
        )
        assert finished.stdout == "{'page /in'} 4 {'page /out'} {'page /deferred'}\n"
        assert finished.stderr == ""

    @pytest.mark.parametrize("client", ["by_aiohttp", "by_httpx", "by_treq"])
    def test_cancelling_goes_through(self, loop: str, client: str) -> None:
        """
        To the connection, whichever library has it: by ``cancel()`` of the result, and of a task
        within.
        """
        finished = _run(
            f"""
async def never():
    await {client}("/never")

@crochet.wait_for(timeout=bound)
async def happens(event):
    await event.wait()
    event.clear()
    return True

outer = crochet.run_in_reactor(never)()
print(happens(asked))
outer.cancel()
try:
    outer.wait(bound)
except Exception as error:
    print(happens(lost), "CancelledError" in repr(error))  # treq's is within another

@crochet.wait_for(timeout=bound)
async def impatient():
    task = asyncio.create_task(never())
    await asked.wait()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled within"

print(impatient(), happens(lost))
""",
            loop,
        )
        assert finished.stdout == "True\nTrue True\ncancelled within True\n"
        assert finished.stderr == ""
