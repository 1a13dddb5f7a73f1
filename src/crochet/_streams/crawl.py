"""
A Scrapy crawl as a stream of its items.

What must always hold:

1. While *buffersize* items wait, and one more, the engine is paused, so that no further page is
   fetched. Of the pages that are there by then each has ``CONCURRENT_ITEMS`` items in the making
   at most: an item that finds no room keeps its place in Scrapy until there is some.
2. When the stream ends before the crawl, the crawl is stopped, and the body does not end before it
   has. From then on no further page is fetched; those that are under way are waited for.
3. An error that ends the crawl comes out of the stream, after the items.

Threads: all of it is the reactor thread's, but for ``crawled()`` and what Crawl has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextvars import copy_context
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast, final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from .. import _errors
from .._core.bridge import Bridge
from .._reactor.reactor import import_reactor
from .channel import Channel
from .consumer import Consumer
from .iterating import Iterating, StreamOptions
from .pause import TaskPause, new_pause
from .progress import report
from .stream import Stream

T_co = TypeVar("T_co", covariant=True)

# Seconds between two looks whether an engine runs that is to be stopped. Scrapy does not say when.
_BETWEEN_LOOKS = 0.01


@final
class Crawl(Stream[T_co]):
    """
    The items of a Scrapy crawl, one by one, as they are scraped; made by
    :func:`crochet.scrapy.crawl`. It is a :class:`crochet.Stream`: leave it by the end of a ``with``
    block.

    Its ``progress`` counts requests: those that are done, of those that are known so far.
    """

    __slots__ = ("_crawler",)

    def __init__(self, consumer: Consumer, crawler: Any) -> None:
        super().__init__(consumer)
        self._crawler: Any = crawler

    @property
    def stats(self) -> dict[str, object]:
        """
        What Scrapy has counted so far, as a new dict.

        It has ``item_scraped_count``, ``response_received_count``, ``spider_exceptions/count`` and
        more, and ``finish_reason`` once the crawl has ended.

        Call it from any thread, also when the stream is closed. Never blocks.
        """
        try:
            collector = self._crawler.stats
        except RuntimeError:
            collector = None  # the crawl has not begun; up to Scrapy 2.13 it is None by itself
        return {} if collector is None else dict(collector.get_stats())


def crawled(
    iterating: Iterating,
    options: StreamOptions,
    spider: object,
    settings: object,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    caller: FrameType,
) -> Crawl[object]:
    """
    Begin a crawl, for *caller*; see :func:`crochet.scrapy.crawl`.
    """
    # Here, and not in the reactor thread: it takes long.
    from scrapy import Spider
    from scrapy.crawler import CrawlerRunner

    if not isinstance(spider, str) and Spider not in getattr(spider, "__mro__", ()):
        raise _errors.no_spider(spider)
    runner: Any = CrawlerRunner(cast("Any", settings))
    crawler = runner.create_crawler(spider)
    options = options._replace(make=partial(Crawl, crawler=crawler))
    bridge = iterating.bridge
    crawl: Any = iterating.begin(options, "crawl", _items, crawler, bridge, args, kwargs)
    call = crawl._consumer.call
    call.caller, call.offset = caller.f_code, caller.f_lasti >> 1
    return cast("Crawl[object]", crawl)


async def _items(
    crawler: Any, bridge: Bridge, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> AsyncIterator[object]:
    """
    Crawl, and yield the items.
    """
    _accept_reactor(crawler.settings)
    source = _Source(crawler, bridge)
    source.begin(args, kwargs)
    try:
        async for item in source.channel:
            yield item
    finally:
        await source.stop()


def _accept_reactor(settings: Any) -> None:
    """
    Have Scrapy crawl on the reactor that runs, unless somebody has asked for another.
    """
    wanted, kind = settings.get("TWISTED_REACTOR"), type(import_reactor())
    running = f"{kind.__module__}.{kind.__qualname__}"
    if wanted and wanted != running:
        if settings.getpriority("TWISTED_REACTOR"):
            raise _errors.other_reactor_for_scrapy(wanted, running)
        settings.set("TWISTED_REACTOR", None, "default")  # Scrapy's own default


class _Source:
    """
    A crawl, as the producer of a channel.
    """

    def __init__(self, crawler: Any, bridge: Bridge) -> None:
        self._crawler = crawler
        # With room for one: how many may be ahead is the pipe's.
        self.channel: Channel[object] = Channel(1)
        self.channel.registerProducer(self, True)
        self._number = 0  # of items
        self._held: list[Deferred[None] | TaskPause] = []
        self._is_paused = False
        self._is_stopping = False
        self._ended: Any = None
        self._has_ended = False
        self._error: BaseException | None = None
        # Scrapy calls some handlers in no context of ours.
        self._in_context: Any = copy_context().run
        self._bridge = bridge

    def begin(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """
        Have the crawl begin.
        """
        from scrapy import signals

        connect = self._crawler.signals.connect  # holds them weakly
        connect(self._take, signals.item_scraped)
        connect(self._tell, signals.request_reached_downloader)
        connect(self._tell, signals.response_received)
        connect(self._note_error, signals.spider_error)
        self._ended = self._crawler.crawl(*args, **kwargs)
        self._ended.addBoth(self._end)

    async def stop(self) -> None:
        """
        Have the crawl end, and wait for that.
        """
        if self._has_ended:
            return
        self._is_stopping = True
        crawler = self._crawler
        crawler.engine.pause()  # it has one, or has ended
        await self.channel.aclose()
        # One that is still opening its spider ignores a stop, or refuses it, and goes on. The turn
        # after that is for Scrapy 2.13: what it cancels before it has begun, it logs.
        reactor: Any = import_reactor()
        is_running = False
        while not (self._has_ended or is_running):
            is_running = crawler.engine.running
            await deferLater(reactor, 0 if is_running else _BETWEEN_LOOKS)
        stop = getattr(crawler, "stop_async", None)
        await (crawler.stop() if stop is None else stop())  # the former up to Scrapy 2.13
        await self._ended

    async def _take(self, item: object) -> None:
        self._number += 1
        self._tell()  # before it: who takes the item may look
        self.channel.put(item)
        if self._is_paused:
            # Scrapy goes on with the page that it is of when this does; and then looks for more to
            # do, which it does not when it is unpaused.
            held = new_pause()
            self._held.append(held)
            await held

    def _tell(self) -> None:
        crawler = self._crawler
        stats = crawler.stats
        done = stats.get_value("scheduler/dequeued", 0) - len(crawler.engine.downloader.active)
        number = self._number
        text = "1 item" if number == 1 else f"{number} items"
        self._in_context(
            report, self._bridge, max(done, 0), stats.get_value("scheduler/enqueued"), text
        )

    def _note_error(self, failure: Failure, response: object) -> None:
        if response is None and self._error is None:  # start() has raised; the rest is counted
            self._error = cast("BaseException", failure.value)

    def _end(self, result: object) -> object:
        self._has_ended = True
        error, self._error = self._error, None
        if isinstance(result, Failure):
            if self._is_stopping:
                return result
            self.channel.fail(result)
        elif error is not None:
            self.channel.fail(error)
        else:
            self.channel.finish()
        return None

    # As a producer:

    def pauseProducing(self) -> None:
        self._is_paused = True
        self._crawler.engine.pause()

    def resumeProducing(self) -> None:
        self._crawler.engine.unpause()
        self.stopProducing()

    def stopProducing(self) -> None:
        self._is_paused = False
        held, self._held = self._held, []
        for each in held:
            each.callback(None)
