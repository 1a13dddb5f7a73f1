"""
Objects, contexts and progress, each beside what it is made of; and a long download.

What is compared stands in one timed block, in turns of a few milliseconds: both sides meet the same
conditions there, more closely than in two blocks of one round.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import resource
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import BOUND, Contender
from benchmarks.figures import Bar
from benchmarks.hand_overs import Clock, no_op
from benchmarks.registry import measure

OURS = ("crochet", "crochet-asyncio")
#: How often the sides take turns in a block.
TURNS = 10


def _in_turns(now: Clock, calls: int, *sides: Callable[[], Any]) -> list[float]:
    """
    Return the seconds per call of each side.
    """
    for side in sides:
        side()
    gc.collect()
    spent = [0.0] * len(sides)
    for _ in range(TURNS):
        for place, side in enumerate(sides):
            repetitions = itertools.repeat(None, calls)
            started = now()
            for _ in repetitions:
                side()
            spent[place] += now() - started
    return [each / calls / TURNS for each in spent]


class Bare:
    """
    An object with nothing to do.
    """

    def plain(self) -> None: ...

    async def coroutine(self) -> None: ...


def _both(key: str, text: str, limit: float, figure: str = "") -> tuple[Bar, ...]:
    return tuple(
        Bar(
            f"{key}{'' if top == 'crochet' else '-asyncio'}", text, limit, top=(top,), figure=figure
        )
        for top in OURS
    )


PROXIED = (
    *_both("plain", "{top}: a plain method / its wait_for", 1.15, "of_wait_for"),
    *_both("coroutine", "{top}: a coroutine method / its wait_for", 1.15, "of_wait_for_coroutine"),
)


@measure((60, 12, 1), OURS, *PROXIED, calls=(30, 20, 1), pins=True)
def proxied(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    How many calls of a wait_for method, written by hand, a call of a proxy's method takes.
    """
    import crochet

    target = Bare()
    proxy = crochet.blocking(target, timeout=BOUND)
    plain = contender.blocking(target.plain)

    class Written:
        @crochet.wait_for(timeout=BOUND)
        def plain(self) -> None:
            return target.plain()

        @crochet.wait_for(timeout=BOUND)
        async def coroutine(self) -> None:
            return await target.coroutine()

    written = Written()
    # To look a method up is part of its call. A lambda is not, so each has one.
    bare, by_hand, ours, coroutine_by_hand, our_coroutine = _in_turns(
        now,
        calls,
        lambda: plain(),
        lambda: written.plain(),
        lambda: proxy.plain(),
        lambda: written.coroutine(),
        lambda: proxy.coroutine(),
    )
    return {
        "of_wait_for": ours / by_hand,
        "of_wait_for_coroutine": our_coroutine / coroutine_by_hand,
        "of_bare_function": ours / bare,
        "seconds_per_call": ours,
        "seconds_per_coroutine": our_coroutine,
    }


@contextlib.asynccontextmanager
async def _empty() -> AsyncIterator[None]:
    yield


@measure(
    (60, 12, 1),
    OURS,
    *_both("trips", "{top}: enter and exit / a round trip", 3.0),
    calls=(20, 10, 1),
    pins=True,
)
def context(contender: Contender, now: Clock, calls: int) -> dict[str, Any]:
    """
    How many round trips the enter and the exit of an empty context take.
    """
    import crochet

    make = crochet.context_in_reactor(BOUND)(_empty)
    trip = contender.blocking(no_op)

    async def coroutine() -> None: ...

    def enter_and_exit() -> None:
        with make():
            pass

    one, of_coroutine, both = _in_turns(
        now, calls, trip, contender.coroutine(coroutine), enter_and_exit
    )
    return {
        "round_trips": both / one,
        "round_trips_of_coroutines": both / of_coroutine,
        "seconds_per_context": both,
    }


@measure(
    (10, 3, 1),
    ("crochet",),
    Bar("report", "ours", 1e-6, unit="s"),
    reports=(1_000_000, 100_000, 10),
)
def report(contender: Contender, now: Clock, reports: int) -> dict[str, Any]:
    """
    Seconds per report of an operation that reports so many times.
    """
    from crochet import report_progress

    def operation() -> float:
        started = now()
        for done in range(reports):
            report_progress(done, reports)
        return now() - started

    return {"seconds_per_report": contender.blocking(operation)() / reports}


#: A server of so many bytes, in a process of its own, until its standard input ends.
SERVER = """
import sys
from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

PIECE = b"0123456789abcdef" * 4096

class Long(Resource):
    isLeaf = True

    def render_GET(self, request):
        self.left = int(request.args[b"size"][0])
        self.request = request
        request.setHeader(b"content-length", b"%d" % self.left)
        request.registerProducer(self, False)
        return NOT_DONE_YET

    def resumeProducing(self):
        piece = PIECE[:self.left]
        self.left -= len(piece)
        if piece:
            self.request.write(piece)
        if not self.left:
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self):
        self.left = 0

class Ends(Protocol):
    def connectionLost(self, reason):
        reactor.stop()

port = reactor.listenTCP(0, Site(Long()), interface="127.0.0.1").getHost().port
stdio.StandardIO(Ends())
print(port, flush=True)
reactor.run()
"""
PIECES = b"0123456789abcdef" * 4096


def _memory(name: str) -> int:
    """
    Return the bytes in memory, now (VmRSS) or at most so far (VmHWM).
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # elsewhere the peak has to do for both
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@measure(
    (3, 1, 1),
    ("crochet",),
    Bar("memory", "peak above the memory before", 16 * 2**20, unit="bytes"),
    mebibytes=(1024, 64, 2),
)
def download(mebibytes: int) -> dict[str, Any]:
    """
    Bytes that memory grows by while so many MiB go through a blocking iterator, 16 items ahead.

    They come from a Twisted server in another process, by Twisted's client and a channel.
    """
    import crochet

    crochet.setup()
    from time import perf_counter

    from twisted.internet import reactor
    from twisted.web.client import Agent

    @crochet.iterate_in_reactor(BOUND, buffersize=16)
    async def body(url: bytes) -> Any:
        response = await Agent(reactor).request(b"GET", url)
        channel = crochet.Channel[bytes](buffersize=16)
        response.deliverBody(channel.as_protocol())
        return channel

    def taken(size: int) -> int:
        checksum = 0
        with body(b"http://127.0.0.1:%d/?size=%d" % (port, size)) as pieces:
            for piece in pieces:
                checksum = zlib.crc32(piece, checksum)
        return checksum

    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        taken(2**20)  # so that all is imported
        gc.collect()
        before, started = _memory("VmRSS"), perf_counter()
        found = taken(mebibytes * 2**20)
        seconds = perf_counter() - started
        grown = _memory("VmHWM") - before
        server.stdin.close()
    expected = 0
    for _ in range(mebibytes * 2**20 // len(PIECES)):
        expected = zlib.crc32(PIECES, expected)
    assert found == expected, "other bytes came than were sent"
    return {"bytes_grown": max(grown, 0), "seconds": seconds}
