"""
The same lookups as dns_lookup.py, with `async def`.

    python dns_lookup_async.py                                   a DNS server of its own
    python dns_lookup_async.py --server 9.9.9.9:53 example.com   a server of yours

A decorated coroutine function is called without `await`: it runs in the reactor's thread, where
it may await Deferreds, and the caller blocks for its result. Several lookups in one go cost the
caller one wait.
"""

from __future__ import annotations

import argparse
import sys

from twisted.internet.defer import Deferred, gatherResults
from twisted.names import client, dns
from twisted.names.error import DNSNameError

from crochet import setup, wait_for

setup()


async def addresses(resolver: client.Resolver, name: str) -> list[str]:
    """
    Return a host's IPv4 addresses, if any. Not decorated: it is awaited in the reactor's thread.
    """
    try:
        answers, _, _ = await resolver.lookupAddress(name)
    except DNSNameError:
        return []
    return [rr.payload.dottedQuad() for rr in answers if rr.type == dns.A]


@wait_for(timeout=10.0)
async def report(resolver: client.Resolver, domain: str) -> dict[str, list[str]]:
    """
    Return the addresses of a domain and of its mail servers, the preferred one first.
    """
    answers, _, _ = await resolver.lookupMailExchange(domain)
    exchanges = sorted(
        (rr.payload for rr in answers if rr.type == dns.MX), key=lambda mx: mx.preference
    )
    hosts = [domain, *(str(mx.name) for mx in exchanges)]
    # Each lookup starts here and now; only their answers are waited for, all together.
    lookups = [Deferred.fromCoroutine(addresses(resolver, host)) for host in hosts]
    return dict(zip(hosts, await gatherResults(lookups, consumeErrors=True), strict=True))


@wait_for(timeout=10.0)
async def loopback_server() -> tuple[str, int]:
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
    parser.add_argument("domain", nargs="?", default="example.test")
    parser.add_argument("--server", metavar="HOST:PORT", help="default: one on loopback")
    options = parser.parse_args()
    if options.server is None:
        server = loopback_server()
    else:
        host, _, port = options.server.rpartition(":")
        server = (host, int(port))

    try:
        for host, found in report(client.Resolver(servers=[server]), options.domain).items():
            print(host, "has address", *found or ["none"])
    except DNSNameError:
        sys.exit(f"{options.domain}: the server knows no such name")


if __name__ == "__main__":
    main()
