"""
A web page fed by a task that runs in the background, on a schedule.

    python background_rates.py           serve until Ctrl-C
    python background_rates.py --once    serve, look at the page until it has changed, and end

The reactor fetches exchange rates every second, however many visitors there are; Flask's views
only read what it fetched last, and never wait for the network. The feed is on loopback.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings

from flask import Flask
from loopback.web import RatesFeed, serve
from twisted.internet import reactor
from twisted.internet.task import LoopingCall, deferLater
from twisted.web.client import Agent, readBody
from werkzeug.serving import make_server

from crochet import setup, wait_for

# Twisted says this of the responses of its own Agent, too (twisted#8227, open).
warnings.filterwarnings("ignore", "Using readBody with a transport", DeprecationWarning)

setup()
log = logging.getLogger(__name__)
app = Flask(__name__)


async def get(url: str) -> str:
    """
    Fetch a page. For coroutines in the reactor's thread.
    """
    response = await Agent(reactor, connectTimeout=5.0).request(b"GET", url.encode())
    body = (await readBody(response)).decode()
    if response.code != 200:
        raise ValueError(f"{url} answered {response.code}")
    return body


class Rates:
    """
    The newest exchange rates; any thread may read them.
    """

    def __init__(self) -> None:
        # The reactor's thread puts a new dict here and never changes the old one, so a view
        # that took hold of one sees rates of a single edition, without a lock.
        self.newest: dict = {}

    @wait_for(timeout=10.0)
    async def keep_fresh(self, url: str, seconds: float) -> None:
        """
        Fetch now, so that a wrong URL is noticed at the start, and then again and again.
        """
        await self._refresh(url)
        LoopingCall(self._refresh_or_log, url).start(seconds, now=False)

    async def _refresh(self, url: str) -> None:
        self.newest = json.loads(await get(url))

    async def _refresh_or_log(self, url: str) -> None:
        try:
            await self._refresh(url)
        except Exception:  # whatever it is: a LoopingCall that fails once runs no more
            log.exception("no new rates from %s, keeping the old ones", url)


rates = Rates()


@app.route("/")
def show_rates() -> str:
    """
    Show the newest rates; the browser asks again every two seconds.
    """
    newest = rates.newest
    rows = "".join(f"<li>1 USD = {rate:.3f} {name}</li>" for name, rate in newest["rates"].items())
    return f"""<!doctype html><title>Rates</title><meta http-equiv=refresh content=2>
<h1>Edition {newest["edition"]}</h1><ul>{rows}</ul>"""


@wait_for(timeout=5.0)
def loopback_feed() -> str:
    """
    Start a feed of rates that change with every request, and return its URL.
    """
    return serve(reactor, RatesFeed())


@wait_for(timeout=30.0)
async def changed_page(url: str) -> str:
    """
    Return the page as soon as it is another than it was at first.
    """
    first = await get(url)
    while (page := await get(url)) == first:
        await deferLater(reactor, 0.1)
    return page


def main() -> None:
    """
    Start the task and the web server.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for every request
    rates.keep_fresh(loopback_feed(), seconds=1.0)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    url = f"http://127.0.0.1:{server.port}/"
    if "--once" in sys.argv:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(changed_page(url))
        server.shutdown()
    else:
        print(f"Serving {url}, Ctrl-C ends it", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
