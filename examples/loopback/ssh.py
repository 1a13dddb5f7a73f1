"""
An SSH client that types a few lines into a remote terminal and reads what appears.
"""

from __future__ import annotations

import re

from twisted.conch.error import ConchError
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

CONTROL_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[^\[])")
CONTROL_D = b"\x04"


class _Terminal(SSHChannel):
    """
    A terminal session: types, then collects what is shown until the server closes it.
    """

    name = b"session"

    def __init__(self, connection: _Connection) -> None:
        super().__init__(conn=connection)
        self._shown: list[bytes] = []

    def channelOpen(self, specificData: bytes) -> None:
        """
        Ask for a terminal with a shell in it, and type into it.
        """
        size = packRequest_pty_req(b"xterm", (24, 80, 0, 0), b"")
        self.conn.sendRequest(self, b"pty-req", size)
        self.conn.sendRequest(self, b"shell", b"")
        self.write(self.conn.client.typed)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep what the server shows.
        """
        self._shown.append(data)

    def closed(self) -> None:
        """
        Hand over what was shown, without the terminal's control sequences.
        """
        text = CONTROL_SEQUENCE.sub(b"", b"".join(self._shown))
        self.conn.client.finish(text.decode().replace("\r\n", "\n"))


class _Connection(SSHConnection):
    """
    Opens one terminal as soon as the login is done.
    """

    def __init__(self, client: _Client) -> None:
        super().__init__()
        self.client = client

    def serviceStarted(self) -> None:
        """
        Open the terminal.
        """
        super().serviceStarted()
        self.openChannel(_Terminal(self))


class _Login(SSHUserAuthClient):
    """
    Logs in with one key, and with nothing else.
    """

    def __init__(self, user: bytes, key: Key, connection: _Connection) -> None:
        super().__init__(user, connection)
        self._key: Key | None = key

    def getPublicKey(self) -> Key | None:
        """
        Offer the key, once.
        """
        key, self._key = self._key, None
        if key is not None:
            self._private = key
            return key.public()
        return None

    def getPrivateKey(self) -> Deferred[Key]:
        """
        Sign with the key that was offered.
        """
        return succeed(self._private)


class _Client(SSHClientTransport):
    """
    The connection: accepts the one host key it was given, logs in, and ends with the session.
    """

    def __init__(self, user: bytes, key: Key, host_key: Key, typed: bytes) -> None:
        self._user, self._key, self._host_key = user, key, host_key
        self.typed = typed
        self._answer: Deferred[str] | None = Deferred(lambda _: self.transport.abortConnection())
        self.finished = self._answer

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """
        Refuse any server but the one we mean.
        """
        if Key.fromString(pubKey) == self._host_key:
            return succeed(True)
        return fail(ConchError("this is not the server's key"))

    def connectionSecure(self) -> None:
        """
        Log in.
        """
        self.requestService(_Login(self._user, self._key, _Connection(self)))

    def finish(self, outcome: str | Failure) -> None:
        """
        Say how it went, once, and hang up.
        """
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.callback(outcome)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """
        Say so if the connection ended before the session did.
        """
        super().connectionLost(reason)
        self.finish(reason)


async def converse(
    reactor: IReactorTime, port: int, user: bytes, key: Key, host_key: Key, *lines: str
) -> str:
    """
    Log in to a server on loopback, type some lines and Ctrl-D, and wait for the end.

    Returns:
        All that the terminal showed.
    """
    typed = b"".join(line.encode() + b"\r" for line in lines) + CONTROL_D
    client = _Client(user, key, host_key, typed)
    await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port), client)
    return await client.finished
