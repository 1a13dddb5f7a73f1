"""
``setup(reactor=...)`` with another installed is refused at once, names both, and changes nothing.
"""

import inspect
import threading

from _operations import check_alive
from _state import state
from _verdict import check, judge, needs, refusal_of
from twisted.internet import reactor

import crochet

KINDS = {
    "asyncio": "AsyncioSelectorReactor",
    "epoll": "EPollReactor",
    "poll": "PollReactor",
    "select": "SelectReactor",
}
HERE = type(reactor).__name__


def check_refused():
    """
    Check that all others are refused.
    """
    before, threads = state(), set(threading.enumerate())
    readers = len(reactor.getReaders())
    for name, kind in KINDS.items():
        if kind == HERE:
            continue
        error = refusal_of(lambda name=name: crochet.setup(reactor=name), RuntimeError)
        text = str(error)
        check(repr(name) in text and HERE in text, f"not both are named: {text}")
        check("top of the program" in text, f"where to put the call: {text}")
        state().check_not_grown(before, f"after setup(reactor={name!r})")
    check(set(threading.enumerate()) == threads, "the threads are others")
    check(len(reactor.getReaders()) == readers, "the reactor has another number of readers")
    from twisted.internet import reactor as now

    check(now is reactor, f"another reactor is installed: {now!r}")


def hazard():
    needs("reactor" in inspect.signature(crochet.setup).parameters, "setup(reactor=...)")
    needs(HERE in KINDS.values(), f"a reactor that has a name, not {HERE}")
    check_refused()
    check(not reactor.running, "the reactor runs")
    name = next(name for name, kind in KINDS.items() if kind == HERE)
    crochet.setup(reactor=name)
    check_alive()
    check_refused()
    check_alive()
    for choice in (name, reactor, None):
        crochet.setup(reactor=choice)
    check_alive()
    return f"{len(KINDS) - 1} others refused beside {HERE}, before it ran and while it did"


judge(hazard)
