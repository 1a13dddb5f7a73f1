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

CONNECT_SECONDS = 10.0


class ForbiddenAddress(Exception):
    """
    The host is on a private network, where visitors have no business.
    """


def guarded_agent(origin: tuple[str, int]) -> Agent:
    """
    Return an HTTP client that reaches public addresses, and *origin* (host and port).
    """
    from twisted.internet import reactor

    return Agent.usingEndpointFactory(reactor, _GuardedEndpoints(origin))


@implementer(IAgentEndpointFactory)
class _GuardedEndpoints:
    def __init__(self, origin: tuple[str, int]) -> None:
        self._origin = origin

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint = _GuardedEndpoint(uri.host.decode("ascii"), uri.port, self._origin)
        if uri.scheme == b"https":
            # Certificates are checked against the name, whichever address it led to.
            policy = BrowserLikePolicyForHTTPS()
            return wrapClientTLS(policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return endpoint


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
        ip = ipaddress.ip_address(address)
        # ::ffff:127.0.0.1 is 127.0.0.1 in another dress.
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return ip.is_global and not ip.is_multicast
