"""
Crawls: what they are made of, and what comes out. Checked by mypy and pyright, never run.
"""

from __future__ import annotations

import scrapy
from scrapy.settings import Settings
from typing_extensions import assert_type

from crochet import Progress, Stream
from crochet.scrapy import Crawl, crawl

Book = dict[str, str]


class Books(scrapy.Spider):
    name = "books"


assert_type(crawl(Books, timeout=5), Crawl[object])
crawl(
    "books", 1, timeout=None, settings={"LOG_LEVEL": "INFO"}, buffersize=0, grace=1, start_urls=[]
)
crawl(Books, timeout=5, settings=Settings())
crawl(Books)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
crawl(Books(), timeout=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

books: Crawl[Book] = crawl(Books, timeout=5)
stream: Stream[Book] = books
with books as entered:
    assert_type(entered, Crawl[Book])
    for book in entered:
        assert_type(book, Book)
assert_type(books.stats, dict[str, object])
assert_type(books.progress, Progress | None)


async def main() -> None:
    async for each in books.as_async():
        assert_type(each, Book)
