"""
Channels: what callbacks put into them, and who tells whom of the end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from crochet import Channel, TimeoutError
from support.process import LoggedFailures
from support.stepping import BOUND, Background, wait_until


class FakeProducer:
    """
    Notes what it is told; a pull producer's items come one by one.
    """

    def __init__(self, channel: Channel[int], items: Iterator[int] | None = None) -> None:
        self.notes: list[str] = []
        self._channel = channel
        self._items = items

    def resumeProducing(self) -> None:
        self.notes.append("resume")
        if self._items is not None:
            for item in self._items:
                self._channel.write(item)
                return
            self._channel.unregisterProducer()
            self._channel.finish()

    def pauseProducing(self) -> None:
        self.notes.append("pause")

    def stopProducing(self) -> None:
        self.notes.append("stop")


def opened(process: Any, **options: Any) -> tuple[Any, Any]:
    """
    Return a stream, and its channel.
    """
    channels: list[Any] = []

    def body() -> Channel[Any]:
        channels.append(Channel(**options))
        return channels[0]

    stream = process.iterate(BOUND, buffersize=1)(body)()
    in_reactor(process, int)
    return stream, channels[0]


def in_reactor(process: Any, function: Any, *args: Any) -> Any:
    """
    Call a function in the reactor thread.
    """
    return process.wait_for(BOUND)(function)(*args)


@pytest.fixture(scope="module", autouse=True)
def listens(either: Any) -> None:
    """
    Listen once: Twisted then opens a descriptor in reserve, and keeps it.
    """
    listen = either.reactor.listenTCP
    port = in_reactor(either, lambda: listen(0, Factory(), interface="127.0.0.1"))
    in_reactor(either, port.stopListening)


class TestItems:
    """
    What comes out.
    """

    def test_come_in_order_and_then_the_end(self, either: Any) -> None:
        """
        Also those that are put before somebody waits, and the end last.
        """
        stream, channel = opened(either)

        def put_all() -> None:
            for each in range(20):
                channel.put(each)
            channel.finish()
            channel.put("too late")
            channel.fail(KeyError("too late"))

        in_reactor(either, put_all)
        assert list(stream) == list(range(20))

    def test_release_who_waits(self, either: Any) -> None:
        """
        One by one.
        """
        stream, channel = opened(either)
        for each in range(3):
            waiting = Background(next, stream)
            wait_until(lambda: not stream._consumer.pipe.free, "the wait")
            either.reactor.callFromThread(channel.put, each)
            assert waiting.outcome() == each
        stream.close()

    def test_come_before_the_error(self, either: Any) -> None:
        """
        An exception or a Failure.
        """
        for error in (KeyError("of the source"), Failure(KeyError("of the source"))):
            stream, channel = opened(either)
            in_reactor(either, channel.put, 1)
            in_reactor(either, channel.fail, error)
            assert next(stream) == 1
            with pytest.raises(KeyError, match="of the source"):
                next(stream)
            assert list(stream) == []

    def test_are_not_for_other_threads(self, either: Any) -> None:
        """
        Who puts one in another is told what to do.
        """
        stream, channel = opened(either)
        with pytest.raises(RuntimeError, match=r"callFromThread\(channel\.put, item\)"):
            channel.put(1)
        stream.close()


class TestOverflow:
    """
    A source that cannot be paused.
    """

    def test_is_an_error_with_the_count(self, either: Any) -> None:
        """
        After the items that were there. The source is told to end.
        """
        stream, channel = opened(either, buffersize=3)
        closed: list[object] = []

        def put_all() -> None:
            channel.on_close(lambda: closed.append(1))
            for each in range(10):
                channel.put(each)
            channel.on_close(lambda: closed.append(2))

        in_reactor(either, put_all)
        # The first was taken at once.
        assert [next(stream) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(OverflowError, match="full: 3 items wait"):
            next(stream)
        assert list(stream) == []
        assert closed == [1, 2]

    def test_can_drop_the_oldest(self, either: Any) -> None:
        """
        And counts them.
        """
        stream, channel = opened(either, buffersize=3, overflow="drop_oldest")

        def put_all() -> None:
            for each in range(10):
                channel.put(each)
            channel.finish()

        in_reactor(either, put_all)
        assert list(stream) == [0, 7, 8, 9]
        assert channel.dropped == 6

    def test_options_are_looked_at(self) -> None:
        """
        When the channel is made.
        """
        with pytest.raises(ValueError, match="cannot hold 0 items"):
            Channel(0)
        with pytest.raises(ValueError, match='"error" or "drop_oldest", not'):
            Channel(overflow="drop")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a whole number of items, not None"):
            Channel(None)  # type: ignore[arg-type]

    def test_what_it_is_given_is_looked_at(self) -> None:
        """
        Where it is given, and not when it is of use.
        """
        channel = Channel[int]()
        with pytest.raises(TypeError, match="fails with an exception or a Failure, not 'late'"):
            channel.fail("late")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a function without arguments, not None"):
            channel.on_close(None)  # type: ignore[arg-type]


class TestClosing:
    """
    Who is told.
    """

    def test_tells_the_source_once(self, either: Any, logged: LoggedFailures) -> None:
        """
        In the reactor thread, also if one of those told raises.
        """
        stream, channel = opened(either)
        error = ValueError("of a closing")
        told: list[object] = []

        def fail() -> None:
            raise error

        in_reactor(either, channel.on_close, fail)
        in_reactor(either, channel.on_close, lambda: told.append(threading.get_ident()))
        stream.close()
        stream.close()
        assert told == [either.bridge.reactor_thread]
        assert logged.take() == [error]
        in_reactor(either, channel.put, 1)
        assert "0 items" in repr(channel)

    def test_by_a_timeout(self, either: Any) -> None:
        """
        Too, while the stream waits for an item.
        """
        told: list[object] = []

        def body() -> Channel[int]:
            channel: Channel[int] = Channel()
            channel.on_close(lambda: told.append(1))
            return channel

        with pytest.raises(TimeoutError):
            next(either.iterate(0.05, buffersize=1)(body)())
        wait_until(lambda: told == [1], "the source does not learn of it")

    def test_is_no_news_to_a_source_that_has_ended(
        self, either: Any, logged: LoggedFailures
    ) -> None:
        """
        By finishing, or by an error, which is logged if nobody takes it.
        """
        error = KeyError()
        for end in (lambda channel: channel.finish(), lambda channel: channel.fail(error)):
            stream, channel = opened(either)
            told: list[object] = []
            in_reactor(either, channel.on_close, lambda told=told: told.append(1))
            in_reactor(either, end, channel)
            stream.close()
            assert told == []
        del stream
        wait_until(lambda: bool(logged.events), "nothing is logged")  # it may be dropped there
        assert logged.take() == [error]


class TestProducers:
    """
    A channel is an ``IConsumer``.
    """

    def test_that_push_are_paused_and_resumed(self, either: Any) -> None:
        """
        When the buffer is full, and when it is half empty. More than it holds may come.
        """
        stream, channel = opened(either, buffersize=4)
        producer = FakeProducer(channel)
        in_reactor(either, channel.registerProducer, producer, True)

        def put(number: int) -> None:
            for each in range(number):
                channel.write(each)

        in_reactor(either, put, 5)  # of which the stream takes one at once
        assert producer.notes == ["pause"]
        for number in (0, 1):
            assert next(stream) == number
            in_reactor(either, int)
        assert producer.notes == ["pause", "resume"]
        in_reactor(either, put, 5)
        assert producer.notes[2:] == ["pause"] * 4
        stream.close()
        assert producer.notes[-1] == "stop"

    def test_that_are_pulled_are_asked_for_each_item(self, either: Any) -> None:
        """
        And not before.
        """
        stream, channel = opened(either, buffersize=4)
        producer = FakeProducer(channel, iter(range(100)))
        in_reactor(either, channel.registerProducer, producer, False)
        assert [next(stream) for _ in range(5)] == list(range(5))
        in_reactor(either, int)
        assert len(producer.notes) <= 6
        assert list(stream) == list(range(5, 100))

    def test_one_at_a_time(self, either: Any) -> None:
        """
        A second is refused; one that comes too late is stopped.
        """
        stream, channel = opened(either)
        first, second = FakeProducer(channel), FakeProducer(channel)
        in_reactor(either, channel.registerProducer, first, True)
        with pytest.raises(RuntimeError, match="has a producer already"):
            in_reactor(either, channel.registerProducer, second, True)
        stream.close()
        in_reactor(either, channel.registerProducer, second, True)
        assert second.notes == ["stop"]


class Server(Protocol):
    """
    Answers one request: ``/large`` is as large as that, ``/endless`` never ends, ``/cut`` is cut
    off.
    """

    def __init__(self, notes: dict[str, int]) -> None:
        self._notes = notes
        self._left = 0
        self._is_endless = False

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        path = data.split()[1]
        self._left = 100 if path == b"/cut" else LARGE
        self._is_endless = path == b"/endless"
        head = b"" if self._is_endless else b"content-length: %d\r\n" % self._left
        transport.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + head + b"\r\n")
        if path == b"/cut":
            transport.write(b"part")
            transport.loseConnection()
        else:
            transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        if self._left <= 0 and not self._is_endless:
            transport.unregisterProducer()
            return
        self._left -= len(PAGE)
        self._notes["written"] += len(PAGE)
        transport.write(PAGE)

    def stopProducing(self) -> None: ...

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._notes["lost"] += 1


LARGE = 2**24
PAGE = b"x" * 2**16


class TestResponses:
    """
    ``response.deliverBody(channel.as_protocol())``, from a real server.
    """

    @pytest.fixture
    def server(self, either: Any) -> Iterator[tuple[dict[str, int], str]]:
        """
        A server in the same reactor: what it notes, and its address.
        """
        notes = {"written": 0, "lost": 0}
        factory = Factory()
        factory.buildProtocol = lambda addr: Server(notes)  # type: ignore[method-assign]
        listen = either.reactor.listenTCP
        port = in_reactor(either, lambda: listen(0, factory, interface="127.0.0.1"))
        yield notes, f"http://127.0.0.1:{port.getHost().port}"
        in_reactor(either, port.stopListening)
        wait_until(lambda: notes["lost"] == 1, "the end of the connection")

    def body_of(self, either: Any, url: str, **options: Any) -> Any:
        """
        Return a stream of a response's body.
        """

        class Endpoints:
            def endpointForURI(self, uri: Any) -> TCP4ClientEndpoint:
                # The one that an Agent takes by itself looks up names in threads.
                return TCP4ClientEndpoint(either.reactor, uri.host.decode(), uri.port)

        async def get() -> Channel[bytes]:
            agent: Any = Agent.usingEndpointFactory(  # type: ignore[no-untyped-call]
                either.reactor, implementer(IAgentEndpointFactory)(Endpoints)()
            )
            response = await agent.request(b"GET", url.encode())
            channel: Channel[bytes] = Channel(**options)
            response.deliverBody(channel.as_protocol())
            return channel

        return either.iterate(BOUND)(get)()

    def test_come_whole(self, either: Any, server: tuple[dict[str, int], str]) -> None:
        """
        And end.
        """
        pieces = list(self.body_of(either, f"{server[1]}/large", buffersize=4))
        assert sum(map(len, pieces)) == LARGE

    def test_wait_for_the_consumer(self, either: Any, server: tuple[dict[str, int], str]) -> None:
        """
        The server is kept from sending more than the connection and the buffer hold.
        """
        notes, url = server
        stream = self.body_of(either, f"{url}/endless", buffersize=4)
        next(stream)
        before = -1
        while before != notes["written"]:  # until the connection is full
            before = notes["written"]
            for _ in range(50):
                in_reactor(either, int)
        stream.close()
        wait_until(lambda: notes["lost"] == 1, "the end of the connection")
        assert notes["written"] < 2 * LARGE

    def test_that_are_cut_off_are_an_error(
        self, either: Any, server: tuple[dict[str, int], str]
    ) -> None:
        """
        After what has come.
        """
        stream = self.body_of(either, f"{server[1]}/cut")
        assert next(stream) == b"part"
        with pytest.raises(
            Exception, match=r"ResponseFailed|ConnectionDone|lost|PartialDownload|closed"
        ):
            next(stream)


def test_a_protocol_is_told_of_other_ends(either: Any) -> None:
    """
    As errors.
    """
    stream, channel = opened(either)

    def lose() -> None:
        protocol = channel.as_protocol()
        protocol.makeConnection(object())
        protocol.connectionLost(Failure(ConnectionLost()))

    in_reactor(either, lose)
    with pytest.raises(ConnectionLost):
        next(stream)


def test_a_factory_takes_the_protocol(either: Any) -> None:
    """
    Of a connection of any kind: each line that a server sends comes out, and then the end.
    """

    class Greeter(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(b"hello")
            self.transport.loseConnection()

    factory = Factory.forProtocol(Greeter)  # type: ignore[no-untyped-call]
    port = in_reactor(either, lambda: either.reactor.listenTCP(0, factory, interface="127.0.0.1"))

    async def read() -> Channel[bytes]:
        channel: Channel[bytes] = Channel()
        endpoint = TCP4ClientEndpoint(either.reactor, "127.0.0.1", port.getHost().port)
        await connectProtocol(endpoint, channel.as_protocol())
        return channel

    assert b"".join(either.iterate(BOUND)(read)()) == b"hello"
    in_reactor(either, port.stopListening)
