"""
Objects of real libraries as blocking code uses them: aiohttp, httpx, psycopg, websockets, AMP and
treq.

Each program serves itself over loopback; PostgreSQL is a server that is started here.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import Finished, run_python

_SETUP = """
    import sys
    import crochet
    from crochet import blocking

    bound = float(sys.argv[1])
    crochet.setup(reactor="asyncio", stall_warning=None)
"""
_PAGES = """
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Pages(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"line of " + request.path + b"\\n" + 70_000 * b"." + b"\\n"

    @crochet.wait_for(timeout=bound)
    def listen():
        return reactor.listenTCP(0, Site(Pages()), interface="127.0.0.1").getHost().port

    url = f"http://127.0.0.1:{listen()}"
"""


def ran(program: str, *args: str) -> list[str]:
    """
    Run a program that must not write to stderr, and return the lines that it prints.
    """
    finished: Finished = run_python(program, *args)
    assert finished.stderr == ""
    return finished.stdout.splitlines()


def test_httpx() -> None:
    """
    One task enters, holds and exits client and stream; its lines are a stream.
    """
    pytest.importorskip("httpx")
    program = """
    import httpx

    new_client = blocking(httpx.AsyncClient, timeout=bound, wrap=(httpx.Response,))
    with new_client(base_url=url, trust_env=False) as client:
        assert client.get("/a").text.startswith("line of /a")
        with client.stream("GET", "/b") as response:
            assert not response.is_closed
            lines = response.aiter_lines()
            print(next(lines), len(next(lines)))
            lines.close()
        assert response.is_closed
        try:
            with client.stream("GET", "/c"):
                raise KeyError("of the block")
        except KeyError as error:
            print(error)
        try:
            client.get("http://127.0.0.1:1/")
        except httpx.ConnectError:
            print("refused")
        client.headers["x-one"] = "1"  # what attributes hold is handed out as it is
        print(client.is_closed)
    print(client.is_closed)
    """
    assert ran(_SETUP + _PAGES + program) == [
        "line of /b 70000",
        "'of the block'",
        "refused",
        "False",
        "True",
    ]


def test_aiohttp() -> None:
    """
    What could be awaited or entered is for ``with``.
    """
    pytest.importorskip("aiohttp")
    program = """
    import aiohttp

    new_session = blocking(aiohttp.ClientSession, timeout=bound, wrap=(aiohttp.ClientResponse,))
    with new_session() as session:
        with session.get(url + "/a") as response:
            print(response.status, response.text()[:10], response.charset)
    print(session.closed)
    """
    assert ran(_SETUP + _PAGES + program) == ["200 line of /a None", "True"]


def test_websockets() -> None:
    """
    A connection is for ``with``, its messages are for ``for``; a server that closes ends it.
    """
    pytest.importorskip("websockets")
    program = """
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.asyncio.server import serve

    async def answer(connection):
        async for message in connection:
            if message == "count":
                for number in range(3):
                    await connection.send(str(number))
            elif message == "close":
                await connection.close()
            else:
                await connection.send(message.upper())

    @crochet.context_in_reactor(bound)
    def serving():
        return serve(answer, "127.0.0.1", 0)

    open_connection = blocking(connect, timeout=bound, wrap=(ClientConnection,))
    with serving() as server:
        port = server.sockets[0].getsockname()[1]
        with open_connection(f"ws://127.0.0.1:{port}", proxy=None) as connection:
            connection.send("hello")
            print(connection.recv())
            connection.send("count")
            with iter(connection) as messages:
                print(next(messages), next(messages))
            print(connection.recv())
            connection.send("close")
            print(list(connection))
            try:
                connection.recv()
            except Exception as error:
                print(type(error).__name__)
        with open_connection(f"ws://127.0.0.1:{port}", proxy=None) as connection:
            try:
                connection.recv.with_timeout(0.01)()
            except crochet.TimeoutError as error:
                print(str(error)[:37])
    """
    assert ran(_SETUP + program) == [
        "HELLO",
        "0 1",
        "2",
        "[]",
        "ConnectionClosedOK",
        "ClientConnection.recv() has not answe",
    ]


_MCP_SERVER = """
import asyncio, os
from mcp.server import MCPServer

server = MCPServer("test")

@server.tool()
async def add(one: int, two: int) -> int:
    return one + two

@server.tool()
async def sleep() -> None:
    await asyncio.sleep(600)

@server.tool()
async def die() -> None:
    os._exit(3)

server.run("stdio")
"""
_MCP = """
    from contextlib import asynccontextmanager
    from mcp import ClientSession, StdioServerParameters, stdio_client

    @crochet.context_in_reactor(bound)
    @asynccontextmanager
    async def connect():
        parameters = StdioServerParameters(command=sys.executable, args=["-c", sys.argv[2]])
        async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
            await session.initialize()
            yield session

    def call(session, tool, **arguments):
        answer = session.call_tool(tool, arguments)
        return answer.content[0].text
"""


def test_mcp() -> None:
    """
    A session with a server in a process of its own: errors come out as they were, also out of the
    task groups; two at once are left in the order of their opening; a server that dies is told.
    """
    pytest.importorskip("mcp")
    program = """
    session_of = lambda session: blocking(session, timeout=bound)
    with connect() as raw:
        session = session_of(raw)
        print(call(session, "add", one=1, two=2))
        try:
            session.call_tool.with_timeout(0.3)("sleep")
        except crochet.TimeoutError as error:
            print(str(error)[:45])
        print(call(session, "add", one=2, two=2))
    try:
        with connect() as raw:
            raise KeyError("of the block")
    except KeyError as error:
        print(error)
    first, second = connect(), connect()
    one, two = session_of(first.__enter__()), session_of(second.__enter__())
    first.__exit__(None, None, None)
    print(call(two, "add", one=3, two=3))
    second.__exit__(None, None, None)
    with connect() as raw:
        try:
            call(session_of(raw), "die")
        except Exception as error:
            print(type(error).__name__)
    """
    assert ran(_SETUP + _MCP + program, _MCP_SERVER) == [
        "3",
        "ClientSession.call_tool() has not answered in",
        "4",
        "'of the block'",
        "6",
        "MCPError",
    ]


def test_amp() -> None:
    """
    A protocol whose methods return Deferreds, of which the remote's errors come as they are.
    """
    program = """
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
    from twisted.internet.protocol import Factory
    from twisted.protocols import amp

    class Divide(amp.Command):
        arguments = [(b"over", amp.Integer()), (b"under", amp.Integer())]
        response = [(b"result", amp.Float())]
        errors = {ZeroDivisionError: b"ZERO"}

    class Divider(amp.AMP):
        @Divide.responder
        def divide(self, over, under):
            return {"result": over / under}

    @crochet.wait_for(timeout=bound)
    def listen():
        factory = Factory.forProtocol(Divider)
        return reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port

    def connect(port):
        return connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), amp.AMP())

    remote = blocking(connect, timeout=bound)(listen())
    print(remote.callRemote(Divide, over=1, under=4))
    try:
        remote.callRemote(Divide, over=1, under=0)
    except ZeroDivisionError as error:
        print("refused:", error)
    """
    assert ran(_SETUP.replace('reactor="asyncio", ', "") + program) == [
        "{'result': 0.25}",
        "refused: division by zero",
    ]


def test_treq_and_agent() -> None:
    """
    Responses by methods that return Deferreds, and a body piece by piece, through a channel.
    """
    pytest.importorskip("treq")
    program = """
    import treq
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    pool = HTTPConnectionPool(reactor, persistent=False)
    client = blocking(HTTPClient(Agent(reactor, pool=pool)), timeout=bound)
    response = client.get(url + "/a")
    print(response.code, crochet.wait_for(bound)(treq.text_content)(response)[:10])

    @crochet.iterate_in_reactor(bound, buffersize=4)
    def pieces(response):
        channel = crochet.Channel(4)
        response.deliverBody(channel.as_protocol())
        return channel

    agent = blocking(Agent(reactor, pool=pool), timeout=bound)
    response = agent.request(b"GET", (url + "/b").encode())
    with pieces(response) as body:
        print(response.version[0], sum(map(len, body)))
    response = agent.request(b"GET", (url + "/c").encode())
    with pieces(response) as body:
        print(next(body)[:10])  # and leave
    """
    assert ran(_SETUP.replace('reactor="asyncio", ', "") + _PAGES + program) == [
        "200 line of /a",
        "b'HTTP' 70012",
        "b'line of /c'",
    ]


def _postgres() -> Path | None:
    """
    Return where PostgreSQL's programs are. Debian has them in no PATH.
    """
    found = shutil.which("initdb") or max(
        glob.glob("/usr/lib/postgresql/*/bin/initdb"), default=None
    )
    return None if found is None else Path(found).resolve().parent


@pytest.fixture
def postgres() -> Iterator[str]:
    """
    Start a PostgreSQL of its own, on a socket in a folder; say where that is.
    """
    programs = _postgres()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: Debian has it as postgresql")
    # It refuses to be root. Its folder is no other test's, which are root's.
    user = "nobody" if os.name == "posix" and os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="crochet-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        initdb = [
            programs / "initdb",
            "--auth=trust",
            "--username=crochet",
            "--no-sync",
            "-D",
            data,
        ]
        subprocess.run(
            initdb, user=user, cwd=folder, check=True, timeout=60, stdout=subprocess.DEVNULL
        )
        options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off"}
        command = [programs / "postgres", "-D", data]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with subprocess.Popen(
            command,
            user=user,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                said = []
                for line in process.stdout:
                    said.append(line)
                    if "ready to accept connections" in line:
                        break
                else:
                    pytest.fail("".join(said))
                yield folder
            finally:
                process.terminate()
                process.stdout.read()


def test_psycopg(postgres: str) -> None:
    """
    A connection, transactions, and a cursor of the server's that gives a million rows, a few at a
    time.
    """
    pytest.importorskip("psycopg")
    program = """
    from typing import Any, Protocol

    import psycopg
    from psycopg import AsyncConnection, AsyncCursor, AsyncServerCursor

    class Cursor(Protocol):
        def execute(self, query: str, params: Any = None) -> Any: ...
        def fetchone(self) -> Any: ...
        def __enter__(self): ...
        def __exit__(self, *error): ...
        def __iter__(self): ...

    class Connection(Protocol):
        def execute(self, query: str, params: Any = None) -> Cursor: ...
        def cursor(self, name: str = "") -> Cursor: ...
        def transaction(self): ...
        def __enter__(self): ...
        def __exit__(self, *error): ...

    cursors = AsyncCursor, AsyncServerCursor
    connect = blocking(AsyncConnection.connect, timeout=bound, as_=Connection, wrap=cursors)
    connection = connect(f"host={sys.argv[2]} user=crochet dbname=postgres")
    with connection:
        connection.execute("create table words (word text primary key)")
        connection.commit()
        with connection.transaction():
            connection.execute("insert into words values (%s)", ["one"])
        try:
            with connection.transaction():
                connection.execute("insert into words values (%s)", ["two"])
                raise KeyError("rolled back")
        except KeyError as error:
            print(error)
        try:
            connection.execute("insert into words values (%s)", ["one"])
        except psycopg.errors.UniqueViolation:
            print("is there already")
            connection.rollback()
        print(connection.execute("select word from words").fetchall())
        with connection.cursor("many") as cursor:
            cursor.execute("select * from generate_series(1, 1000000)")
            print(type(blocking.unwrap(cursor)).__name__, cursor.fetchone(), cursor.fetchmany(2))
            with iter(cursor) as rows:
                print([row for row, _ in zip(rows, range(3))])
            cursor.itersize = 500
        print(connection.closed)
        try:
            connection.execute.with_timeout(0.1)("select pg_sleep(60)")
        except crochet.TimeoutError as error:
            print(str(error)[:50])
    print(connection.closed)
    """
    lines = ran(_SETUP + program, postgres)
    assert lines == [
        "'rolled back'",
        "is there already",
        "[('one',)]",
        "AsyncServerCursor (1,) [(2,), (3,)]",
        "[(4,), (5,), (6,)]",
        "False",
        "AsyncConnection.execute() has not answered in 0.1 ",
        "True",
    ]
