"""
A Flask site that crawls another with Scrapy: while a visitor waits, or as a job in the background.

    python scrapy_view.py                        serves the site, and a shop of its own to crawl
    python scrapy_view.py --once                 asks for its pages itself

Every request is a crawl of its own, and several may run at the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

# Sets up the reactor, before anything imports one.
from scrapy_crawl import books_of, loopback_shop

from crochet import peek_result, report_progress, run_in_reactor

app = Flask(__name__)


@app.route("/titles")
def titles() -> ResponseReturnValue:
    """
    Answer with the titles that the shop has now, each as it is found.

    A visitor who leaves ends the crawl: Flask closes the response, which closes what it is made of.
    """

    def lines() -> Iterator[str]:
        with books_of(app.config["SHOP"]) as books:
            for book in books:
                yield book["title"] + "\n"

    return app.response_class(lines(), mimetype="text/plain")


@run_in_reactor
async def collect(url: str) -> list[str]:
    """
    Crawl in the background, and say how far that is.
    """
    found: list[str] = []
    books = books_of(url)
    async for book in books.as_async():
        found.append(book["title"])
        if books.progress is not None:
            report_progress(books.progress.done, books.progress.total, f"{len(found)} books")
    return found


@app.post("/jobs")
def start() -> ResponseReturnValue:
    """
    Start a job, and answer with its number.
    """
    return str(collect(app.config["SHOP"]).stash())


@app.route("/jobs/<number>")
def look(number: str) -> ResponseReturnValue:
    """
    Tell how far a job is, or what it has found.
    """
    job = peek_result(number)
    if not job.done():
        return {"progress": str(job.progress or "not begun")}
    return jsonify(job.wait(timeout=5.0))


def main() -> None:
    """
    Serve the site, or ask for its pages.
    """
    app.config["SHOP"] = loopback_shop()
    if "--once" in sys.argv:
        client = app.test_client()
        print(client.get("/titles").text, end="")
        number = client.post("/jobs").text
        while "progress" in (found := client.get(f"/jobs/{number}").json):
            pass
        print(len(found), "books by the job")
        return
    app.run()


if __name__ == "__main__":
    main()
