"""
What the examples talk to, so that they run without a network: small servers, and one client,
on this machine's loopback interface.

Plain Twisted, without Crochet: each function must be called in the reactor's thread. Your own
program has no use for this package; its servers are somewhere else.
"""
