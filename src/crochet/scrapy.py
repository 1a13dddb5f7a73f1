"""
Scrapy crawls for blocking code.

Importing this does not import Scrapy; using it does. (To this package ``scrapy`` is Scrapy, too:
this module is ``crochet.scrapy`` only.)
"""

from __future__ import annotations

from sys import _getframe
from typing import TYPE_CHECKING, SupportsIndex, cast

from ._api import lifecycle as _lifecycle
from ._streams.crawl import Crawl, crawled
from ._streams.iterating import Iterating, options_of

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.settings import BaseSettings

    from ._core.types import D
    from ._threads.timeouts import Seconds

__all__ = ["Crawl", "crawl"]


def crawl(
    spider: type[Spider] | str,
    *args: object,
    settings: BaseSettings | dict[str, object] | None = None,
    timeout: Seconds,
    buffersize: SupportsIndex = 16,
    grace: Seconds = 5.0,
    **kwargs: object,
) -> Crawl[D]:
    """
    Begin a Scrapy crawl, and return a :class:`crochet.Stream` of its items::

        with crawl(Books, timeout=60.0, start_urls=[url]) as books:
            for book in books:
                print(book["title"])
        print(books.stats["finish_reason"])

    Any number of crawls may run, one after the other or at the same time. While *buffersize* items
    wait that nobody has taken, no further page is fetched. When the stream ends before the crawl
    does (closed or dropped, by a timeout, Ctrl-C, a deadline, the end of the reactor or of the
    program), the crawl is stopped: pages that are under way are finished with, and no others are
    fetched. ``crawl(...).as_async()`` is for coroutines, in the reactor thread, too.

    A spider that cannot be made, one whose ``start()`` raises (from Scrapy 2.18 on; before, that is
    only logged), and a component that cannot be opened end the stream with that error. What
    callbacks raise, and pages that cannot be fetched, Scrapy logs and counts in ``stats``. A spider
    may close itself for any reason: ``stats["finish_reason"]`` has it.

    Scrapy's setting ``TWISTED_REACTOR``, if it is set at all, has to name the reactor that runs:
    ``setup(reactor="asyncio")`` runs the one that its projects ask for, and spiders that await
    asyncio's awaitables need. Its default does not matter. Scrapy goes on logging to
    ``logging`` by itself. Scrapy 2.13 and later will do.

    Call it from any thread. Blocks for the import of Scrapy, the first time.

    Args:
        spider: a class, or the name of a spider of the project that *settings* are of.
        args: for the spider.
        settings: such as ``scrapy.utils.project.get_project_settings()``.
        timeout: seconds that each wait for an item may take, from zero up; ``None`` and infinity
            stand for no limit.
        buffersize: how many items may wait to be taken. With none, the crawl begins with the first
            wait for an item.
        grace: seconds that is waited for the end of a crawl that was stopped.
        kwargs: for the spider.

    Raises:
        ImportError: Scrapy is not installed.
        TypeError: *timeout*, *buffersize* or *grace* is not a number, or *spider* is neither a
            class of spiders nor a name.
        ValueError: one of them is negative, or NaN.
        KeyError: there is no spider of that name.
        RuntimeError: :func:`crochet.setup` has not been called. (By the stream: ``TWISTED_REACTOR``
            names another reactor.)
        ReactorStopped: the reactor has stopped; nothing was started.
    """
    options = options_of(timeout, grace, buffersize, "crawl")
    iterating, caller = Iterating(_lifecycle.bridge), _getframe(1)
    return cast("Crawl[D]", crawled(iterating, options, spider, settings, args, kwargs, caller))
