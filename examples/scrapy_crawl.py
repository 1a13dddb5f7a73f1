"""
A Scrapy crawl called from a plain script, like any function; more than once, if need be.

    python scrapy_crawl.py                       a small shop of its own, on loopback
    python scrapy_crawl.py URL                   a site of yours, with the same markup

Scrapy's own way, `CrawlerProcess`, takes over the main thread and can crawl only once in a
process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import scrapy
from loopback.web import Shop, serve
from scrapy.http import Response

from crochet import setup, wait_for
from crochet.scrapy import Crawl, crawl

# The reactor that Scrapy's projects ask for. Before anything imports another.
setup(reactor="asyncio", stall_warning=None)  # Scrapy loads a lot when it begins

Book = dict[str, str]


class BooksSpider(scrapy.Spider):
    """
    Collects titles, page after page.
    """

    name = "books"

    def parse(self, response: Response) -> Iterator[Book | scrapy.Request]:
        """
        Take the titles of a page, then go on to the next.
        """
        for title in response.css(".book::text").getall():
            yield {"title": title}
        for link in response.css("a[rel=next]"):
            yield response.follow(link)


@wait_for(timeout=5.0)
def loopback_shop() -> str:
    """
    Start a shop of three pages, and return its URL.
    """
    from twisted.internet import reactor

    return serve(reactor, Shop())


def books_of(url: str) -> Crawl[Book]:
    """
    Begin a crawl at a URL. Ctrl-C, a timeout or the end of a ``with`` block ends it.
    """
    return crawl(BooksSpider, timeout=60.0, start_urls=[url])


def main() -> None:
    """
    Crawl, twice.
    """
    url = sys.argv[1] if len(sys.argv) > 1 else loopback_shop()
    with books_of(url) as books:
        for book in books:  # as they are found
            print(book["title"])
    print("and again:", len(list(books_of(url))), "books")


if __name__ == "__main__":
    main()
