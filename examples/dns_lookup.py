"""
Look up addresses and mail servers from ordinary, blocking code.

    python dns_lookup.py                                   a DNS server of its own, on loopback
    python dns_lookup.py --server 9.9.9.9:53 example.com   a server of yours

The two decorated functions are Twisted code and run in the reactor's thread; whoever calls them
gets a list, or an exception, and need not know.
"""

from __future__ import annotations

import argparse
import sys

from twisted.internet.defer import Deferred
from twisted.names import client, dns
from twisted.names.error import DNSNameError

from crochet import setup, wait_for

setup()


@wait_for(timeout=10.0)
def addresses(resolver: client.Resolver, name: str) -> Deferred[list[str]]:
    """
    Return the IPv4 addresses of a host.
    """

    def from_answer(answer: tuple[list[dns.RRHeader], ...]) -> list[str]:
        return [rr.payload.dottedQuad() for rr in answer[0] if rr.type == dns.A]

    return resolver.lookupAddress(name).addCallback(from_answer)


@wait_for(timeout=10.0)
def mail_servers(resolver: client.Resolver, domain: str) -> Deferred[list[str]]:
    """
    Return the names of the hosts that take a domain's mail, the preferred one first.
    """

    def from_answer(answer: tuple[list[dns.RRHeader], ...]) -> list[str]:
        exchanges = [rr.payload for rr in answer[0] if rr.type == dns.MX]
        return [str(mx.name) for mx in sorted(exchanges, key=lambda mx: mx.preference)]

    return resolver.lookupMailExchange(domain).addCallback(from_answer)


@wait_for(timeout=10.0)
def loopback_server() -> tuple[str, int]:
    """
    Start a DNS server that knows example.test, and return its address.
    """
    from loopback.dns import serve
    from twisted.internet import reactor

    return serve(reactor)


def main() -> None:
    """
    Print what the command line asks for.
    """
    parser = argparse.ArgumentParser(description="Look up addresses and mail servers.")
    parser.add_argument("name", nargs="?", default="example.test")
    parser.add_argument("--server", metavar="HOST:PORT", help="default: one on loopback")
    options = parser.parse_args()
    if options.server is None:
        server = loopback_server()
    else:
        host, _, port = options.server.rpartition(":")
        server = (host, int(port))

    resolver = client.Resolver(servers=[server])
    try:
        print(options.name, "has address", *addresses(resolver, options.name))
        for host in mail_servers(resolver, options.name):
            print(options.name, "mail goes to", host, "at", *addresses(resolver, host))
    except DNSNameError:
        sys.exit(f"{options.name}: the server knows no such name")


if __name__ == "__main__":
    main()
