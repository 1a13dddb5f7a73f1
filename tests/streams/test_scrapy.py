"""
Scrapy crawls as streams.

Scrapy has the process's reactor, so each test is a program, on Twisted's default reactor and on
asyncio's. A shop on loopback says which of its pages were fetched.
"""

from __future__ import annotations

import importlib.util
import textwrap
from typing import Any

import pytest

from support.programs import run_python

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("scrapy") is None, reason="not installed: scrapy"
)

_PRELUDE = """
import logging, sys, threading, time
import crochet
from crochet.scrapy import crawl

BOUND = float(sys.argv[1])
assert "scrapy" not in sys.modules
crochet.setup(reactor=sys.argv[2], stall_warning=None)

import scrapy
from twisted.internet import defer, reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

# (Scrapy has an extension that warns where there is no asyncio.)
logging.getLogger("scrapy.middleware").setLevel(logging.ERROR)

class Shop(Resource):
    "Pages with a link each to the next. The one of the number *slow* comes when told to."
    isLeaf = True
    slow = None
    def __init__(self, number):
        super().__init__()
        self.number, self.fetched, self.waits = number, [], []
    def render_GET(self, request):
        page = int(request.path.strip(b"/") or 1)
        self.fetched.append(page)
        more = f'<a href="/{page + 1}">more</a>' if page < self.number else ""
        text = f"<html><h1>{page}</h1>{more}</html>".encode()
        if page != self.slow:
            return text
        self.waits.append((request, text))
        return NOT_DONE_YET
    @crochet.wait_for(BOUND)
    def answer(self):
        for request, text in self.waits:
            request.write(text)
            request.finish()

@crochet.wait_for(BOUND)
def serve(number):
    shop = Shop(number)
    port = reactor.listenTCP(0, Site(shop), interface="127.0.0.1")
    shop.url = f"http://127.0.0.1:{port.getHost().port}/"
    return shop

class Books(scrapy.Spider):
    name = "books"
    custom_settings = {"TELNETCONSOLE_ENABLED": False}
    def parse(self, response):
        yield {"book": int(response.css("h1::text").get())}
        yield from response.follow_all(css="a")

def begin(shop, spider=Books, **options):
    return crawl(spider, start_urls=[shop.url], **{"timeout": BOUND, **options})

@crochet.wait_for(BOUND)
async def turns(number=30):
    "Let the reactor go on for a while: what could be fetched would be."
    for _ in range(number):
        waited = defer.Deferred()
        reactor.callLater(0.01, waited.callback, None)
        await waited

def wait_until(claim, what):
    end = time.monotonic() + BOUND
    while not claim():
        assert time.monotonic() < end, what
        time.sleep(0.005)

def numbers(books):
    return [book["book"] for book in books]
"""


@pytest.fixture(params=["default", "asyncio"])
def run(request: pytest.FixtureRequest) -> Any:
    """
    Runs a program behind those lines, and returns the lines that it prints.
    """

    def run(code: str) -> list[str]:
        finished = run_python(_PRELUDE + textwrap.dedent(code), request.param)
        assert finished.stderr == ""
        return finished.stdout.splitlines()

    return run


class TestItems:
    """
    What comes out.
    """

    def test_come_as_they_are_scraped(self, run: Any) -> None:
        """
        Those of the first page before the second one has come, and again in a second crawl.
        """
        assert run(
            """
            shop = serve(3)
            Shop.slow = 2
            with begin(shop) as books:
                print(next(books))
                wait_until(lambda: shop.waits, "page 2")
                shop.answer()
                print(numbers(books), next(books, "over"))
            Shop.slow = None
            print(numbers(begin(shop)), shop.fetched)
            """
        ) == ["{'book': 1}", "[2, 3] over", "[1, 2, 3] [1, 2, 3, 1, 2, 3]"]

    def test_come_of_several_crawls_at_once(self, run: Any) -> None:
        """
        From several threads, too; status() shows each, and who has begun it.
        """
        assert run(
            """
            shops = [serve(number) for number in (2, 3, 4)]
            streams = [begin(shop) for shop in shops]
            print([numbers(stream) for stream in reversed(streams)])
            found = {}
            def collect(shop):
                found[shop.number] = numbers(begin(shop))
            threads = [threading.Thread(target=collect, args=(shop,)) for shop in shops]
            for each in threads: each.start()
            for each in threads: each.join(BOUND)
            print(sorted(found.items()))
            Shop.slow = 1
            stream = begin(shops[0])
            (call,) = crochet.status().calls
            print(call.function, call.file)
            stream.close()
            """
        ) == [
            "[[1, 2, 3, 4], [1, 2, 3], [1, 2]]",
            "[(2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3, 4])]",
            "crawl <string>",
        ]

    def test_come_in_event_loops(self, run: Any) -> None:
        """
        In a notebook's, and in a job in the reactor thread, which tells its own progress.
        """
        assert run(
            """
            import asyncio
            shop = serve(3)
            async def cell():
                return [book["book"] async for book in begin(shop).as_async()]
            print(asyncio.run(cell()))

            @crochet.run_in_reactor
            async def job():
                books, found = begin(shop), []
                async for book in books.as_async():
                    found.append(book["book"])
                    crochet.report_progress(books.progress.done, books.progress.total)
                return found
            result = job()
            print(result.wait(BOUND), result.progress)
            """
        ) == ["[1, 2, 3]", "[1, 2, 3] 3 of 3 (100%)"]

    def test_are_what_the_pipelines_make_of_them(self, run: Any) -> None:
        """
        Settings are a dict or Scrapy's own, and the spider may be a name.
        """
        assert run(
            """
            import sys, types
            from scrapy.exceptions import DropItem
            from scrapy.settings import Settings

            class Doubled:
                def process_item(self, item, spider=None):
                    if item["book"] == 2:
                        raise DropItem("two")
                    return {"book": 2 * item["book"]}
            spiders = types.ModuleType("spiders")
            Books.__module__ = "spiders"
            spiders.Books = Books
            sys.modules["spiders"] = spiders
            logging.getLogger("scrapy.core.scraper").setLevel(logging.ERROR)
            settings = {"ITEM_PIPELINES": {Doubled: 1}, "SPIDER_MODULES": ["spiders"]}
            shop = serve(3)
            print(numbers(begin(shop, settings=settings)))
            print(numbers(begin(shop, "books", settings=Settings(settings))))
            """
        ) == ["[2, 6]", "[2, 6]"]


class TestPressure:
    """
    Of a consumer that takes its time.
    """

    def test_pauses_the_downloads(self, run: Any) -> None:
        """
        While so many wait; and they go on when half of those are taken. One more is in Scrapy, and
        up to 2.13 one or two pages more were under way.
        """
        assert run(
            """
            shop = serve(100)
            with begin(shop, buffersize=4) as books:
                def fetched(waiting):
                    engine, items = books._crawler.engine, books._consumer.pipe.items
                    wait_until(lambda: engine.paused and len(items) == waiting, "a pause")
                    turns(10)
                    assert engine.paused
                    return shop.fetched[-1]
                next(books)
                first = fetched(4)
                next(books)
                print(first in (5, 6, 7), fetched(3) == first)
                next(books)
                wait_until(lambda: shop.fetched[-1] > first, "another page")
                print(fetched(4) <= first + 3)
                assert len(numbers(books)) == 97
            print(books.stats["finish_reason"])
            """
        ) == ["True True", "True", "finished"]

    def test_holds_what_one_page_has(self, run: Any) -> None:
        """
        Of a page with more items than could be held no more are made than Scrapy makes at once.
        """
        assert run(
            """
            made = 0
            class Many(Books):
                custom_settings = {**Books.custom_settings, "CONCURRENT_ITEMS": 3}
                def parse(self, response):
                    global made
                    for made in range(1, 1001):
                        yield {"book": made}
            with begin(serve(1), Many, buffersize=4) as books:
                next(books)
                turns()
                print(made < 20)
                print(numbers(books) == list(range(2, 1001)))
            """
        ) == ["True", "True"]

    def test_a_crawl_without_a_buffer_waits_to_be_asked(self, run: Any) -> None:
        """
        As any stream does.
        """
        assert run(
            """
            shop = serve(9)
            with begin(shop, buffersize=0) as books:
                turns()
                print(shop.fetched)
                print(next(books))
            """
        ) == ["[]", "{'book': 1}"]


def _needs_scrapy(*version: int) -> None:
    import scrapy

    if scrapy.version_info[:2] < version:
        pytest.skip(f"Scrapy {scrapy.__version__} has no such thing")


_LEFT = """
            shop = serve(1000)
            logging.getLogger("scrapy").setLevel(logging.CRITICAL)
"""


class TestEnd:
    """
    A crawl ends with its stream: no page is fetched after that.
    """

    @pytest.mark.parametrize(
        "way",
        [
            """
            with begin(shop) as books:
                for book in books:
                    if book["book"] == 5:
                        break
            """,
            """
            books = begin(shop)
            for _ in range(3):
                next(books)
            threading.Thread(target=books.close).start()
            for book in books: pass
            books.close()
            """,
            """
            books = begin(shop)
            next(books)
            stats = books._crawler.stats.get_stats()
            del books
            wait_until(lambda: "finish_reason" in stats, "the end")
            """,
            """
            books = begin(shop)
            books.close()
            """,
            """
            books = begin(shop)
            wait_until(lambda: shop.fetched, "the first page")
            books.close()
            """,
            """
            import os, signal
            Shop.slow = 2
            books = begin(shop)
            next(books)
            wait_until(lambda: shop.waits, "page 2")
            def interrupt():
                if crochet._event_loop.bridge.waits:
                    os.kill(os.getpid(), signal.SIGINT)
                    reactor.callLater(0.3, shop.answer.__wrapped__, shop)
                else:
                    reactor.callLater(0.01, interrupt)
            reactor.callFromThread(interrupt)
            try:
                next(books)
            except KeyboardInterrupt:
                print("interrupted")
            """,
            """
            numbers(begin(serve(1)))  # what that loads takes time
            Shop.slow = 2
            books = begin(shop, timeout=0.2)
            reactor.callFromThread(reactor.callLater, 0.5, shop.answer.__wrapped__, shop)
            try:
                numbers(books)
            except TimeoutError as error:
                print(error, error.ended)
            """,
            """
            import asyncio
            async def collect():
                async for book in begin(shop).as_async():
                    if book["book"] == 3:
                        raise asyncio.CancelledError
            try:
                asyncio.run(collect())
            except asyncio.CancelledError:
                pass
            wait_until(lambda: not crochet.status().calls, "the end")
            """,
        ],
        ids=["break", "close", "drop", "at once", "early", "ctrl-c", "timeout", "cancel"],
    )
    def test_in_each_way(self, run: Any, way: str) -> None:
        """
        Whatever it is left by.
        """
        code = f"""{_LEFT}{way}
            number = len(shop.fetched)
            turns()
            assert len(shop.fetched) == number < 100, (number, len(shop.fetched))
            assert not crochet.status().calls
            print("ended")
            """
        *told, last = run(code)
        assert last == "ended"
        if told and told != ["interrupted"]:
            (text,) = told
            assert text.startswith("crawl() has not given its next item in 0.2 s")
            assert "It had reported 1 of 2 (50%)" in text
            assert text.endswith(" True")

    def test_waits_for_the_pages_under_way(self, run: Any) -> None:
        """
        For the grace, not for ever; they are finished with, and what they have is dropped.
        """
        assert run(
            f"""{_LEFT}
            Shop.slow = 2
            books = begin(shop, grace=0.05)
            next(books)
            wait_until(lambda: shop.waits, "page 2")
            books.close()
            print(crochet.status().calls[0].state, numbers(books), books.stats.get("finish_reason"))
            shop.answer()
            wait_until(lambda: not crochet.status().calls, "the end")
            print(shop.fetched, books.stats["finish_reason"])
            """
        ) == ["running [] None", "[1, 2] shutdown"]

    def test_while_the_spider_is_opened(self, run: Any) -> None:
        """
        That is when Scrapy ignores that it is to stop.
        """
        _needs_scrapy(2, 14)  # where pipelines may be coroutines
        assert run(
            f"""{_LEFT}
            opening = defer.Deferred()
            class Slow:
                def process_item(self, item, spider=None):
                    return item
                async def open_spider(self, spider=None):
                    await opening
            books = begin(shop, settings={{"ITEM_PIPELINES": {{Slow: 1}}}}, grace=0.01)
            turns(5)
            books.close()
            reactor.callFromThread(opening.callback, None)
            wait_until(lambda: not crochet.status().calls, "the end")
            print(shop.fetched, books.stats["finish_reason"])
            """
        ) == ["[] shutdown"]

    def test_with_the_reactor(self, run: Any) -> None:
        """
        Whoever waits gets ReactorStopped, and shutdown() waits for the crawl.
        """
        assert run(
            f"""{_LEFT}
            books = begin(shop)
            next(books)
            stopping = threading.Thread(target=crochet.shutdown)
            stopping.start()
            try:
                numbers(books)
            except crochet.ReactorStopped:
                print("stopped")
            stopping.join(BOUND)
            print(books.stats["finish_reason"], stopping.is_alive())
            """
        ) == ["stopped", "shutdown False"]

    def test_with_the_program(self, run: Any) -> None:
        """
        Whose exit is not held up.
        """
        assert run(
            f"""{_LEFT}
            books = begin(shop)
            print(next(books))
            """
        ) == ["{'book': 1}"]


class TestErrors:
    """
    What is raised, and what is counted.
    """

    def test_of_a_spider_that_cannot_be_made(self, run: Any) -> None:
        """
        Is raised, with the spider's frames. So is one of a pipeline that cannot be opened.
        """
        assert run(
            """
            import traceback
            logging.getLogger("scrapy").setLevel(logging.CRITICAL)
            class Broken(Books):
                def __init__(self, **arguments):
                    raise KeyError("of the spider")
            class Closed:
                def process_item(self, item, spider=None): ...
                def open_spider(self, spider=None):
                    raise KeyError("of the pipeline")
            shop = serve(1)
            for options in {"spider": Broken}, {"settings": {"ITEM_PIPELINES": {Closed: 1}}}:
                try:
                    numbers(begin(shop, **options))
                except KeyError as error:
                    print(error, traceback.extract_tb(error.__traceback__)[-1].name)
            print(shop.fetched)
            """
        ) == ["'of the spider' __init__", "'of the pipeline' open_spider", "[]"]

    def test_of_start(self, run: Any) -> None:
        """
        Is raised after the items, for it might be that there are none. Scrapy itself only logs it.
        """
        _needs_scrapy(2, 18)
        assert run(
            f"""{_LEFT}
            class Broken(Books):
                async def start(self):
                    yield scrapy.Request(self.start_urls[0])
                    raise KeyError("of start()")
            books, found = begin(serve(2), Broken), []
            try:
                for book in books:
                    found.append(book)
            except KeyError as error:
                print(error, found, books.stats["finish_reason"])
            """
        ) == ["'of start()' [{'book': 1}, {'book': 2}] start_error"]

    def test_of_callbacks_are_counted(self, run: Any) -> None:
        """
        And a spider may close itself, for a reason of its own.
        """
        assert run(
            f"""{_LEFT}
            class Moody(Books):
                def parse(self, response):
                    (item, *more) = super().parse(response)
                    yield item
                    yield from more
                    if item["book"] == 2:
                        raise KeyError
                    if item["book"] == 4:
                        raise scrapy.exceptions.CloseSpider("enough")
            books = begin(shop, Moody)
            print(books.stats, books.progress)
            print(numbers(books)[:4])
            print(books.stats["spider_exceptions/KeyError"], books.stats["finish_reason"])
            """
        )[1:] == ["[1, 2, 3, 4]", "1 enough"]

    def test_of_what_cannot_be_crawled(self, run: Any) -> None:
        """
        Are raised by the call.
        """
        assert run(
            """
            for spider, options in [
                ("books", {}), (Books(), {}), (dict, {}), (Books, {"buffersize": -1}),
                (Books, {"timeout": -1}),
            ]:
                try:
                    crawl(spider, **{"timeout": BOUND, **options})
                except (KeyError, TypeError, ValueError) as error:
                    print(type(error).__name__, str(error).split("are of, ")[-1][:40])
            """
        ) == [
            "KeyError 'Spider not found: books'",
            "TypeError not an instance of 'Books'. Arguments fo",
            "TypeError not 'dict', which is derived from no scr",
            "ValueError a buffer cannot hold -1 items: give a bu",
            "ValueError crawl() cannot wait for -1 s: give a tim",
        ]

    def test_of_settings_that_ask_for_another_reactor(self, run: Any) -> None:
        """
        Says what to do. Scrapy's default, which is asyncio's, does not count.
        """
        name = "twisted.internet.iocpreactor.reactor.IOCPReactor"
        (text,) = run(
            f"""
            class Picky(Books):
                custom_settings = {{**Books.custom_settings, "TWISTED_REACTOR": {name!r}}}
            try:
                numbers(begin(serve(1), Picky))
            except RuntimeError as error:
                print(error)
            """
        )
        assert text.startswith(f"Scrapy's setting TWISTED_REACTOR asks for {name}, and the reactor")
        assert "Either have crochet.setup() run that one, or set TWISTED_REACTOR to None" in text


def test_logging_is_left_alone(run: Any) -> None:
    """
    No handler is added, and what Scrapy logs goes where the program says.
    """
    assert run(
        """
        records = []
        class Handler(logging.Handler):
            def emit(self, record):
                records.append(record)
        handler = Handler()
        logging.root.addHandler(handler)
        logging.root.setLevel(logging.INFO)
        print(numbers(begin(serve(1))))
        print(logging.root.handlers == [handler], "Spider opened" in str([r.msg for r in records]))
        """
    ) == ["[1]", "True True"]


def test_nothing_is_left_of_a_crawl(run: Any) -> None:
    """
    Neither a delayed call nor a connection, and the stream can be used no more.
    """
    assert run(
        """
        import pickle
        books = begin(serve(2))
        print(numbers(books))
        @crochet.wait_for(BOUND)
        def calls():
            return [call for call in reactor.getDelayedCalls() if "crochet" in repr(call)]
        print(calls(), crochet.status().calls)
        try:
            pickle.dumps(books)
        except TypeError as error:
            print(error)
        """
    ) == [
        "[1, 2]",
        "[] ()",
        "a Stream cannot be copied or pickled: the items of crawl() go to this one. Hand on the "
        "object itself, or its items",
    ]


def test_it_needs_a_setup() -> None:
    """
    As all calls do; and Scrapy itself.
    """
    finished = run_python(
        """
        import sys
        from crochet.scrapy import crawl
        import scrapy
        try:
            crawl(scrapy.Spider, timeout=1)
        except RuntimeError as error:
            print(error)
        assert "twisted.internet.reactor" not in sys.modules
        """
    )
    assert "setup()" in finished.stdout
