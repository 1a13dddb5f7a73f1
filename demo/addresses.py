"""
Where downloads may connect to: the public internet and the demo's own origin server.

A server that fetches whatever address a visitor names lends the visitor its place in the
network: other services on this machine, the router's admin page, a cloud's metadata service.
So each host is looked up *here*, its address is judged, and that very address is connected
to. Judging the name, or the address of an earlier look-up, would not do: whoever owns a name
may answer each look-up differently.

Everything here runs in the reactor thread.
"""

from __future__ import annotations

import ipaddress
import socket

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from .bounds import Bounded, Intake

CONNECT_SECONDS = 10.0

# The tables of `ipaddress` differ from one Python to the next. What some of them lack is told here.
# Of IPv6, all that is public is in this network; the rest is not given out.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NOT_PUBLIC = [
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24",  # for protocols
        "192.88.99.0/24",  # was for gateways of 6to4
        "2001::/23",  # for protocols; Teredo among them, which hides an IPv4 address
        "2001:db8::/32",  # for documentation, as is the next
        "3fff::/20",
    )
]
# Where the last four bytes are an IPv4 address, to which some gateway or this machine connects:
# "compatible", mapped, and translated (NAT64).
EMBEDDING = [ipaddress.ip_network(each) for each in ("::/96", "::ffff:0:0/96", "64:ff9b::/96")]


class ForbiddenAddress(Exception):
    """
    The host is on a private network, where visitors have no business.
    """


def is_public(address: str) -> bool:
    """
    Say whether an IP address is on the public internet, alike on all Pythons.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded_in(ip)
        if embedded is None and ip not in GLOBAL_UNICAST:
            return False
        ip = embedded or ip
    return ip.is_global and not ip.is_multicast and not any(ip in each for each in NOT_PUBLIC)


def _embedded_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(ip in each for each in EMBEDDING):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour


def guarded_agent(origin: tuple[str, int], intake: Intake) -> Agent:
    """
    Return an HTTP client that reaches public addresses, and *origin* (host and port).

    What comes in is counted by *intake*.
    """
    from twisted.internet import reactor

    return Agent.usingEndpointFactory(reactor, _GuardedEndpoints(origin, intake))


@implementer(IAgentEndpointFactory)
class _GuardedEndpoints:
    def __init__(self, origin: tuple[str, int], intake: Intake) -> None:
        self._origin = origin
        self._intake = intake

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint
        endpoint = _GuardedEndpoint(uri.host.decode("ascii"), uri.port, self._origin)
        endpoint = Bounded(endpoint, self._intake.take_from_wire)
        if uri.scheme == b"https":
            # Certificates are checked against the name, whichever address it led to.
            policy = BrowserLikePolicyForHTTPS()
            endpoint = wrapClientTLS(policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return Bounded(endpoint, self._intake.take)


@implementer(IStreamClientEndpoint)
class _GuardedEndpoint:
    def __init__(self, host: str, port: int, origin: tuple[str, int]) -> None:
        self._host = host
        self._port = port
        self._origin = origin

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        from twisted.internet import reactor

        # getaddrinfo() blocks, so it runs in a thread of the pool, as Twisted's own does.
        found = await deferToThread(
            socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM
        )
        for family, *_, (address, *_) in found:
            if self._may_reach(address):
                kind = TCP6ClientEndpoint if family == socket.AF_INET6 else TCP4ClientEndpoint
                endpoint = kind(reactor, address, self._port, timeout=CONNECT_SECONDS)
                return await endpoint.connect(factory)
        raise ForbiddenAddress(
            f"{self._host} port {self._port} is not on the public internet, and this server "
            "does not let visitors into its own network. Enter a public address."
        )

    def _may_reach(self, address: str) -> bool:
        if (address, self._port) == self._origin:
            return True
        return is_public(address)
