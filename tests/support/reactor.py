"""
Reactors for tests: a fake one that is turned by hand, and real ones to be closed.

Fakes do what the real thing does as far as the library can tell, and test_support.py holds them to
it: there, one contract runs on each fake and on what it stands for.
"""

from __future__ import annotations

import asyncio
import os
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase

from crochet._reactor import choice as _choice
from crochet._reactor.restart import release
from support.stepping import (
    BOUND,
)


class FakeReactor(ReactorBase):
    """
    Twisted's reactor without anything to poll, and with virtual time.

    Run it like any other, in a thread or, if it has been told to stop, in the test's own. When it
    has nothing to do but to wait for a timer, time jumps there. Or step it: ``start()``, then
    ``turn()`` and ``advance()``.
    """

    _registerAsIOThread = False  # a fact about the process, and this is not its reactor
    _addInternalReader = None  # for it reads no descriptors

    def __init__(self) -> None:
        self._now = 0.0
        self._wakings: SimpleQueue[None] = SimpleQueue()
        super().__init__()

    def seconds(self) -> float:
        return self._now

    def mainLoop(self) -> None:
        """
        Loop by a method of its own: so there is no wakeup, and all that comes from other threads is
        to be seen in ``threadCallQueue``.
        """
        super().mainLoop()

    def installWaker(self) -> None:
        """
        Need none: waking is putting something into a queue.
        """

    def wakeUp(self) -> None:
        self._wakings.put(None)

    def doIteration(self, delay: float | None) -> None:
        if self._wakings.empty() and delay:
            self._now += delay
        elif delay is None:
            self._wait_to_be_woken()
        while not self._wakings.empty():
            self._wakings.get()

    def _wait_to_be_woken(self) -> None:
        try:
            self._wakings.get(timeout=BOUND)
        except Empty:  # the reactor logs what is raised here, so say it and stop
            self.crash()
            raise AssertionError("nothing has woken this reactor, nor told it to stop") from None

    def removeAll(self) -> list[Any]:
        return []

    def start(self) -> None:
        """
        Begin to run, step by step.
        """
        self.startRunning(installSignalHandlers=False)

    def turn(self) -> None:
        """
        Do what is due.
        """
        self.runUntilCurrent()

    def advance(self, seconds: float) -> None:
        """
        Let time pass, and do what is due then.
        """
        self._now += seconds
        self.turn()

    def number_of_wakings(self) -> int:
        """
        Count the wake-ups that are on their way.
        """
        return self._wakings.qsize()


def new_real_reactor(name: str | None = None) -> Any:
    """
    Return a reactor of Twisted's that is not the process's; ``close_reactor()`` it.

    Args:
        name: of ``setup()``'s; else it is the one that all tests are run with, see conftest.py.
    """
    name = name or os.environ.get("CROCHET_TEST_REACTOR") or "default"
    kind = _choice._class_of(name)
    reactor = kind(asyncio.new_event_loop()) if name == "asyncio" else kind()
    # That is a fact about the process, and this is not its reactor.
    reactor._registerAsIOThread = False
    return reactor


def close_reactor(reactor: Any) -> None:
    """
    Close what a reactor that has ended keeps open.
    """
    if isinstance(reactor, FakeReactor):
        return
    if reactor.threadpool is not None and reactor.threadpool.started:
        reactor.threadpool.stop()
    release(reactor)


def run_once(reactor: Any, end: str = "stop") -> None:
    """
    Run a reactor until it is told to end.
    """
    reactor.callWhenRunning(getattr(reactor, end))
    reactor.run(False)


def new_asyncio_reactor() -> Any:
    """
    Return a reactor with an event loop of its own.
    """
    reactor = AsyncioSelectorReactor(asyncio.new_event_loop())
    reactor._registerAsIOThread = False
    return reactor
