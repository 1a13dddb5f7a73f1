"""
A Flask page that crawls a site with Scrapy whenever it is asked for.

    python scrapy_view.py                        serves the page, and a shop of its own to crawl
    python scrapy_view.py --once                 asks for the page itself, twice

Every request is a crawl of its own, and several may run at the same time.
"""

from __future__ import annotations

import sys

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

# Sets up the reactor, before anything imports one.
from scrapy_crawl import crawl, loopback_shop

app = Flask(__name__)


@app.route("/titles")
def titles() -> ResponseReturnValue:
    """
    Answer with the titles that the shop has now.
    """
    return jsonify([item["title"] for item in crawl(app.config["SHOP"])])


def main() -> None:
    """
    Serve the page, or ask for it twice.
    """
    app.config["SHOP"] = loopback_shop()
    if "--once" in sys.argv:
        client = app.test_client()
        for _ in range(2):
            print(client.get("/titles").text, end="")
        return
    app.run()


if __name__ == "__main__":
    main()
