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
from scrapy import signals
from scrapy.crawler import CrawlerRunner
from scrapy.http import Response

from crochet import setup, wait_for

# The reactor on which Scrapy, from 2.13 on, insists by default. Before anything imports another.
setup(reactor="asyncio", stall_warning=None)  # Scrapy loads a lot when it begins


class BooksSpider(scrapy.Spider):
    """
    Collects titles, page after page.
    """

    name = "books"

    def parse(self, response: Response) -> Iterator[dict[str, str] | scrapy.Request]:
        """
        Take the titles of a page, then go on to the next.
        """
        for title in response.css(".book::text").getall():
            yield {"title": title}
        for link in response.css("a[rel=next]"):
            yield response.follow(link)


@wait_for(timeout=60.0)
async def crawl(url: str) -> list[dict[str, str]]:
    """
    Return what the spider collects, starting at a URL.
    """
    runner = CrawlerRunner()
    crawler = runner.create_crawler(BooksSpider)
    items: list[dict[str, str]] = []

    # Scrapy holds receivers weakly; this one lives as long as the coroutine does.
    def collect(item: dict[str, str]) -> None:
        items.append(item)

    crawler.signals.connect(collect, signals.item_scraped)
    await runner.crawl(crawler, start_urls=[url])
    return items


@wait_for(timeout=5.0)
def loopback_shop() -> str:
    """
    Start a shop of three pages, and return its URL.
    """
    from twisted.internet import reactor

    return serve(reactor, Shop())


def main() -> None:
    """
    Crawl, twice.
    """
    url = sys.argv[1] if len(sys.argv) > 1 else loopback_shop()
    for item in crawl(url):
        print(item["title"])
    print("and again:", len(crawl(url)), "books")


if __name__ == "__main__":
    main()
