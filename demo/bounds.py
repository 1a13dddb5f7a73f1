"""
What one download's server may send, however it sends it.

`Limits.size` counts content. A server that wants to keep us busy need not send any: header lines
without end, a line without end, one interim answer after the other, a chunk of one byte behind a
kilobyte of its description, a TLS connection that never gets to the point. So what comes is
counted here, below HTTP, and once more below TLS.

The connection is then dropped, not closed. To close TLS in good order is to wait for the other
side, who may go on sending meanwhile.

Everything here runs in the reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

# Of all that comes before the content: what browsers put up with, or less.
MAX_LINE = 8_192
MAX_LINES = 200
MAX_HEAD = 65_536


class Intake:
    """
    Counts what one download's server sends.
    """

    def __init__(self, max_size: int) -> None:
        # Why no more is taken, as a sentence for the visitor; empty while there is no reason.
        self.problem = ""
        self._is_in_head = True
        self._head = self._lines = self._line = 0
        # What comes around the content takes less than that itself, but for very odd servers.
        self._max_wire = 2 * max_size + MAX_HEAD
        self._wire = 0

    def begin_body(self) -> None:
        """
        Note that what comes from now on is content.
        """
        self._is_in_head = False

    def take(self, data: bytes) -> int:
        """
        Return how many of these bytes of HTTP may be passed on now; 0 if that is the end.
        """
        if not self._is_in_head:
            return len(data)
        # Line by line, for the next one may be content.
        end = data.find(b"\n") + 1
        size = end or len(data)
        self._line += size
        self._head += size
        if self._line > MAX_LINE:
            self.problem = f"The server sends a header line of more than {MAX_LINE:,} bytes."
        elif self._lines >= MAX_LINES:
            self.problem = f"The server sends more than {MAX_LINES:,} lines before the page."
        elif self._head > MAX_HEAD:
            self.problem = f"The server sends more than {MAX_HEAD:,} bytes before the page."
        if end:
            self._lines += 1
            self._line = 0
        return 0 if self.problem else size

    def take_from_wire(self, data: bytes) -> int:
        """
        Return how many of these bytes, encrypted or not, may be passed on; 0 if that is the end.
        """
        self._wire += len(data)
        if self._wire > self._max_wire:
            self.problem = f"The server sends more than {self._max_wire:,} bytes around the page."
            return 0
        return len(data)


@implementer(IStreamClientEndpoint)
class Bounded:
    """
    An endpoint whose connections pass on what they may.

    Args:
        endpoint: Makes the connections.
        take: Returns how many of some bytes may be passed on; after 0 the connection is dropped.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, take: Callable[[bytes], int]) -> None:
        self._endpoint = endpoint
        self._take = take

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        factory = WrappingFactory(protocolFactory)
        factory.protocol = lambda factory, wrapped: _Bounded(factory, wrapped, self._take)
        return self._endpoint.connect(factory).addCallback(lambda made: made.wrappedProtocol)


class _Bounded(ProtocolWrapper):
    def __init__(self, factory: Any, wrapped: IProtocol, take: Callable[[bytes], int]) -> None:
        super().__init__(factory, wrapped)
        self._take = take

    def dataReceived(self, data: bytes) -> None:
        while data and not self.disconnecting:
            size = self._take(data)
            if not size:
                self.abortConnection()
                return
            super().dataReceived(data[:size])
            data = data[size:]

    def loseConnection(self) -> None:
        self.abortConnection()

    def abortConnection(self) -> None:
        self.disconnecting = 1
        self.transport.abortConnection()
