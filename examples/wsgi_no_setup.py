"""
A Flask application on Twisted's own web server, in a program that runs the reactor itself.

    python wsgi_no_setup.py           serve until Ctrl-C
    python wsgi_no_setup.py --once    serve, ask for one page, and end

The program calls `no_setup()` because the reactor is its own; from then on `setup()` does nothing,
so do it before anything else calls that. Flask's views run in the reactor's thread pool, where
they may block, so they use `wait_for` functions as everywhere.
"""

from __future__ import annotations

import sys
from urllib.request import urlopen

from flask import Flask, abort
from loopback.dns import serve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react
from twisted.internet.threads import deferToThread
from twisted.names import client, dns
from twisted.names.error import DNSNameError
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from crochet import no_setup, wait_for

no_setup()


# twisted.names speaks DNS itself. The reactor's ordinary resolver would need a thread of the
# very pool whose threads are waiting here: with enough visitors, none would be left for it.
@wait_for(timeout=5.0)
async def addresses(resolver: client.Resolver, name: str) -> list[str]:
    """
    Return the IPv4 addresses of a host.
    """
    answers, _, _ = await resolver.lookupAddress(name)
    return [rr.payload.dottedQuad() for rr in answers if rr.type == dns.A]


def make_app(resolver: client.Resolver) -> Flask:
    """
    Return the application: one page for every host name.
    """
    app = Flask(__name__)

    @app.route("/<name>")
    def show(name: str) -> dict[str, list[str]]:
        try:
            return {name: addresses(resolver, name)}
        except DNSNameError:
            abort(404)

    return app


def fetch(url: str) -> str:
    """
    Fetch a page. Blocks: for threads of the pool.
    """
    with urlopen(url, timeout=30.0) as response:
        return response.read().decode()


async def main(reactor: IReactorCore, *options: str) -> None:
    """
    Serve the application; `react` runs the reactor until this ends or Ctrl-C.
    """
    app = make_app(client.Resolver(servers=[serve(reactor)]))
    site = Site(WSGIResource(reactor, reactor.getThreadPool(), app))
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/example.test"
    if "--once" in options:
        print(await deferToThread(fetch, url), end="")
    else:
        print(f"Serving {url}, Ctrl-C ends it", flush=True)
        await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
