"""
Processes that keep their results in a stash of the tests', and share it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet import tcp

from crochet._stash.local import LocalStash
from crochet._stash.memory import MemoryStash
from crochet._threads.threads import start_thread
from support.process import FakeProcess
from support.reactor import close_reactor, new_real_reactor
from support.stepping import BOUND


@pytest.fixture(scope="session", autouse=True)
def reserve() -> None:
    """
    Have Twisted open what it opens once, for all sockets that listen, and keeps.
    """
    cast("Any", tcp)._reservedFD.reserve()


def give(process: FakeProcess, stash: Any) -> Any:
    """
    Have a process keep its results in a stash, and return that.
    """
    process.loop.setup(stash=stash)
    return stash


def descriptors() -> set[str]:
    """
    Return the process's open file descriptors.
    """
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it was that of the listing itself
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


class Here:
    """
    A process with a real reactor, and a stash.
    """

    def __init__(self, stash: Any) -> None:
        self.process = FakeProcess(new_real_reactor(), start_thread)
        self.process.loop.setup(stash=stash, logging=False)
        self.stash = stash
        self.take, self.peek = stash.take, stash.peek
        self._has_ended = False

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """
        Call a body.
        """
        return self.process.run_in_reactor(function)(*args)

    def in_reactor(self, function: Callable[..., Any], *args: Any) -> None:
        """
        Have the reactor thread do something, and wait until it has.
        """
        self.call(lambda: function(*args) and None).wait(BOUND)

    def settle(self, result: Any) -> None:
        """
        Wait until a result is there, and what its end set off in the reactor thread is over.
        """
        self.until(result.done)
        self.in_reactor(lambda: None)

    def timers(self) -> Any:
        """
        Return the timers of the reactor.
        """
        return self.call(self.process.reactor.getDelayedCalls).wait(BOUND)

    def has(self, uid: int) -> bool:
        """
        Tell whether there is something.
        """
        try:
            self.peek(uid)
        except KeyError:
            return False
        return True

    def past(self, uid: int) -> int:
        """
        Return a number when it has expired.
        """
        self.until(lambda: not self.has(uid))
        return uid

    def until(self, is_so: Callable[[], object]) -> None:
        """
        Wait until something is so.
        """
        end = time.monotonic() + BOUND
        while not is_so():
            assert time.monotonic() < end, "this has not come to be so"
            time.sleep(0.001)

    def end(self) -> None:
        """
        Do what the interpreter's exit does.
        """
        if not self._has_ended:
            self._has_ended = True
            self.process.exit()
            close_reactor(self.process.reactor)


class Place:
    """
    Where processes share a stash of one kind.
    """

    kind = "memory"
    open_at_rest = 0

    def __init__(self) -> None:
        self._processes: list[Here] = []

    def new_stash(self, **options: Any) -> Any:
        """
        Return a stash that has not been bound.
        """
        return MemoryStash(**options)

    def process(self, **options: Any) -> Here:
        """
        Return another process.
        """
        here = Here(self.new_stash(**options))
        self._processes.append(here)
        return here

    def close(self) -> None:
        """
        End all processes.
        """
        for here in self._processes:
            here.end()


class LocalPlace(Place):
    """
    A directory.
    """

    kind = "local"
    open_at_rest = 1  # the owner's socket

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="crochet-"))

    def new_stash(self, **options: Any) -> Any:
        return LocalStash(self.path, **options)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.path)


@pytest.fixture(params=[Place, LocalPlace], ids=lambda kind: kind.kind)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    A place for each kind of stash.
    """
    place = request.param()
    yield place
    place.close()


@pytest.fixture(params=[LocalPlace], ids=lambda kind: kind.kind)
def shared(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    Likewise, of those that processes share.
    """
    place = request.param()
    yield place
    place.close()
