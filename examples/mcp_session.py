"""
A session with an MCP server, from a plain script.

    python mcp_session.py                     the server that is in this file
    python mcp_session.py COMMAND ARGUMENT…   another one, that speaks MCP on its standard output

The client library is made of `async with` blocks, which have to be entered and exited in one task:
a call for each end gives "Attempted to exit cancel scope in a different task than it was entered
in". `context_in_reactor` keeps them in one, and `blocking` is for what is called in between.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, ListToolsResult

from crochet import blocking, context_in_reactor, setup


class Session(Protocol):
    """
    What of a ClientSession is used here, as blocking code uses it.
    """

    def list_tools(self) -> ListToolsResult: ...

    def call_tool(self, name: str, arguments: dict[str, object]) -> CallToolResult: ...


@context_in_reactor(timeout=30.0)
@asynccontextmanager
async def connect(command: str, *arguments: str) -> AsyncIterator[ClientSession]:
    """
    Start a server, and connect to it.
    """
    parameters = StdioServerParameters(command=command, args=[*arguments])
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


def serve() -> None:
    """
    Be a server, of a library that lends books.
    """
    from mcp.server import MCPServer

    server = MCPServer("library")

    @server.tool()
    def lend(title: str, weeks: int = 2) -> str:
        """
        Lend a book.
        """
        return f"{title} is yours for {weeks} weeks"

    server.run("stdio")


def main() -> None:
    """
    Show what tools the server has, and use that of ours.
    """
    setup(reactor="asyncio")
    command = sys.argv[1:] or [sys.executable, __file__, "--serve"]
    with connect(*command) as connected:
        session = blocking(connected, timeout=30.0, as_=Session)
        for tool in session.list_tools().tools:
            print(f"{tool.name}: {(tool.description or '').strip()}")
        if not sys.argv[1:]:
            answer = session.call_tool("lend", {"title": "Emma", "weeks": 3})
            print(answer.content[0].text)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
