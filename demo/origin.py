"""
A web server to download from, so that the demo works without a network.

It is a Twisted server and runs in the same reactor as the downloads: Crochet starts servers as
well as it calls clients. Its pages are what a downloader meets sooner or later: quick ones, slow
ones, broken ones, and some that never end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NamedTuple

from twisted.internet.task import LoopingCall
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from crochet import wait_for

HOST = "127.0.0.1"
CHUNK = b"All work and no play makes Jack a dull boy.<br>\n" * 170
CHUNKS_OF_SLOW = 40
PAUSE = 0.1


class Sample(NamedTuple):
    """
    One of the origin's pages: its path, what visitors see it called, and what serves it.
    """

    path: str
    label: str
    render: Callable[[Request], bytes | int]


@wait_for(timeout=10.0)
def start_origin() -> int:
    """
    Start the server on a free port of the loopback interface, and return that port.

    **Blocks** until it listens. It stops with the reactor.
    """
    from twisted.internet import reactor

    root = Resource()
    for sample in SAMPLES:
        root.putChild(sample.path.encode("ascii"), _Page(sample.render))
    port = reactor.listenTCP(0, Site(root), interface=HOST)
    return port.getHost().port


class _Page(Resource):
    isLeaf = True

    def __init__(self, render: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self._render = render

    def render_GET(self, request: Request) -> bytes | int:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return self._render(request)


def _head(title: str) -> bytes:
    return f"<!doctype html>\n<title>{title}</title>\n".encode()


def _render_fast(request: Request) -> bytes:
    return _head("A fast page") + b"<p>Here already.</p>\n"


def _render_markup(request: Request) -> bytes:
    return _head("&lt;script&gt;alert(1)&lt;/script&gt; &amp; “friends”") + b"<p>Escape me.</p>\n"


def _render_slow(request: Request) -> int:
    head = _head("A slow page")
    request.setHeader("Content-Length", str(len(head) + CHUNKS_OF_SLOW * len(CHUNK)))
    request.write(head)
    return _send_slowly(request, repeat(CHUNK, CHUNKS_OF_SLOW))


def _render_endless(request: Request) -> int:
    request.write(_head("An endless page"))
    return _send_slowly(request, repeat(CHUNK))


def _render_silent(request: Request) -> int:
    return NOT_DONE_YET


def _render_failing(request: Request) -> bytes:
    request.setResponseCode(500)
    return _head("Something broke")


def _render_dropping(request: Request) -> int:
    request.setHeader("Content-Length", str(10 * len(CHUNK)))
    request.write(CHUNK)
    # loseConnection() first sends what was written, so the client gets a part of the page.
    request.transport.loseConnection()
    return NOT_DONE_YET


def _send_slowly(request: Request, chunks: Iterator[bytes]) -> int:
    def send_next() -> None:
        chunk = next(chunks, None)
        if chunk is None:
            sending.stop()
            request.finish()
        else:
            request.write(chunk)

    sending = LoopingCall(send_next)
    # The client may leave at any moment (that is what cancelling a download does). To write on
    # would fill the log with errors and, for the endless page, would never stop.
    request.notifyFinish().addErrback(lambda _: sending.stop())
    sending.start(PAUSE)
    return NOT_DONE_YET


def samples_of(origin: str) -> list[tuple[str, str]]:
    """
    Return the labels and addresses of its pages.
    """
    return [(sample.label, f"{origin}/{sample.path}") for sample in SAMPLES]


SAMPLES = (
    Sample("fast", "Fast", _render_fast),
    Sample("slow", "Slow", _render_slow),
    Sample("endless", "Endless", _render_endless),
    Sample("silent", "Silent", _render_silent),
    Sample("failing", "Failing", _render_failing),
    Sample("dropping", "Dropping", _render_dropping),
    Sample("markup", "Odd title", _render_markup),
)
