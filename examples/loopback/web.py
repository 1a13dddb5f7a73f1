"""
Web sites: a feed of exchange rates, the same as events that go on and on, and a shop to crawl.
"""

from __future__ import annotations

import json
from itertools import count

from twisted.internet.interfaces import IReactorTCP
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site


class RatesFeed(Resource):
    """
    Exchange rates as JSON; they rise a little with every request.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._requests = 0

    def render_GET(self, request: Request) -> bytes:
        """
        Answer with the number of this edition and its rates.
        """
        self._requests += 1
        rates = {"EUR": 0.9 + self._requests / 1000, "JPY": 150 + self._requests / 10}
        request.setHeader(b"content-type", b"application/json")
        return json.dumps({"edition": self._requests, "rates": rates}).encode()


class Ticker(Resource):
    """
    Exchange rates as server-sent events, ten a second, until the visitor leaves.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._watched = 0

    def render_GET(self, request: Request) -> bytes | int:
        """
        Send events at /rates, say at /watched how many visitors are there, and else what this is.
        """
        if request.path == b"/watched":
            return b"%d visitors watch" % self._watched
        if request.path != b"/rates":
            return b"rates, as events"
        request.setHeader(b"content-type", b"text/event-stream")
        numbers = count()

        def send() -> None:
            data = json.dumps({"EUR": round(0.9 + next(numbers) / 1000, 3)})
            request.write(f"event: rates\ndata: {data}\n\n".encode())

        def leave(reason: object) -> None:
            self._watched -= 1
            sending.stop()

        self._watched += 1
        sending = LoopingCall(send)
        request.notifyFinish().addErrback(leave)
        sending.start(0.1)
        return NOT_DONE_YET


class Shop(Resource):
    """
    A shop of six books on three pages, each with a link to the next.
    """

    isLeaf = True
    books = [f"Knitting, volume {number}" for number in range(1, 7)]
    page_size = 2

    def render_GET(self, request: Request) -> bytes:
        """
        Show one page of the shop, by its number in the path.
        """
        page = int(request.path.strip(b"/") or 1)
        shown = self.books[(page - 1) * self.page_size : page * self.page_size]
        html = "".join(f"<li class=book>{book}</li>" for book in shown)
        if page * self.page_size < len(self.books):
            html += f'<a rel=next href="/{page + 1}">more</a>'
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return f"<!doctype html><title>Books</title>{html}".encode()


def serve(reactor: IReactorTCP, page: Resource) -> str:
    """
    Serve one resource on a free port, until the reactor stops.

    Returns:
        The site's URL.
    """
    port = reactor.listenTCP(0, Site(page), interface="127.0.0.1")
    return f"http://127.0.0.1:{port.getHost().port}/"
