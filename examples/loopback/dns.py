"""
A DNS server for one small zone, example.test.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorUDP
from twisted.names.authority import FileAuthority
from twisted.names.dns import (
    DNSDatagramProtocol,
    Record_A,
    Record_AAAA,
    Record_CNAME,
    Record_MX,
    Record_SOA,
)
from twisted.names.server import DNSServerFactory


class ExampleZone(FileAuthority):
    """
    The zone example.test, from the lines below instead of from a file.
    """

    def loadFile(self, filename: object) -> None:
        """
        Fill in the zone. Twisted calls this once, and takes both attributes from it.
        """
        origin = b"example.test"
        self.soa = (origin, Record_SOA(mname=b"ns." + origin, serial=1, minimum=60, expire=60))
        self.records = {
            origin: [
                self.soa[1],
                Record_A("192.0.2.10"),
                Record_AAAA("2001:db8::10"),
                Record_MX(20, b"backup." + origin),
                Record_MX(10, b"mail." + origin),
            ],
            b"www." + origin: [Record_CNAME(origin)],
            b"mail." + origin: [Record_A("192.0.2.25")],
            b"backup." + origin: [Record_A("192.0.2.26"), Record_A("192.0.2.27")],
        }


def serve(reactor: IReactorUDP) -> tuple[str, int]:
    """
    Answer queries on a free UDP port, until the reactor stops.

    Returns:
        The server's address, as `twisted.names.client.Resolver` takes it.
    """
    factory = DNSServerFactory(authorities=[ExampleZone(None)])
    port = reactor.listenUDP(0, DNSDatagramProtocol(factory), interface="127.0.0.1")
    address = port.getHost()
    return address.host, address.port
