"""
How processes on one machine ask each other for results: a Unix socket each.

A message is a length, a letter, the number of a result, and what belongs to that:

- ``W`` tell me the answer of this one · ``F`` forget it, I have it · ``C`` cancel it
- ``A`` here is its answer: its state, its last report and its bytes, with zero bytes between
- ``N`` look at its row · ``P`` so far it is

Nothing that comes is looked at before the system has told that the other process is this user's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any, cast

from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from .shared import SMALL

_HEAD = struct.Struct("!cQ")

# What the kernel tells of the process at the other end: its id, its user's and its group's.
_CREDENTIALS = struct.Struct("3i")


# Seconds before another attempt at an owner that is busy or stopped.
_PAUSE = 0.1


class Messages(Int32StringReceiver):
    """
    One connection between two processes.
    """

    # Attributes of the class, for Twisted makes them without arguments.
    MAX_LENGTH = 2 * SMALL  # an answer of few bytes, with what comes around it
    noisy = False
    stash: Any

    def connectionMade(self) -> None:
        """
        Refuse other users' processes, before anything that they send is read.
        """
        self._is_ours = user_of(cast("Any", self.transport).getHandle()) in (None, os.geteuid())
        if not self._is_ours:
            cast("Any", self.transport).abortConnection()
            return
        self.stash.connected_in_reactor(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Drop what comes after the connection was refused.
        """
        if self._is_ours:
            super().dataReceived(data)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """
        Hand on a message. What is none ends the connection.
        """
        if len(string) < _HEAD.size:
            cast("Any", self.transport).abortConnection()
            return
        letter, uid = _HEAD.unpack_from(string)
        self.stash.received_in_reactor(self, letter, uid, string[_HEAD.size :])

    def lengthLimitExceeded(self, length: int) -> None:
        """
        End the connection: no process of ours sends so much.
        """
        cast("Any", self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Hand that on.
        """
        if self._is_ours:
            self.stash.disconnected_in_reactor(self)

    def send(self, letter: bytes, uid: int, body: bytes = b"") -> None:
        """
        Send a message. In the reactor thread.
        """
        self.sendString(_HEAD.pack(letter, uid) + body)  # type: ignore[no-untyped-call]
        transport = cast("Any", self.transport)
        if letter == b"A" and transport.connected and not transport.disconnecting:
            # A thread waits for it: do now what the reactor does after its next poll. That is still
            # to come, should not all be sent, or the connection have ended.
            transport.doWrite()


class Connections(ClientFactory):
    """
    Makes them, to other processes or from them.

    Args:
        stash: is told of each that opens, that closes, that is refused, and what comes.
    """

    noisy = False

    def __init__(self, stash: Any) -> None:
        self._stash = stash

    def buildProtocol(self, addr: object) -> Messages:
        """
        Make one.
        """
        made = Messages()
        made.stash = self._stash
        return made

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """
        Hand that on, if nobody listens there. One that is busy or stopped is tried again.
        """
        to, number = cast("Any", connector), getattr(cast("Any", reason.value), "osError", None)
        if number in (errno.ECONNREFUSED, errno.ENOENT):
            self._stash.refused_in_reactor()
        else:
            to.reactor.callLater(_PAUSE, to.connect)


def user_of(connection: socket.socket) -> int | None:
    """
    Return whose process is at the other end of a Unix socket; None where no system call tells.

    There, the directory alone keeps others away.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    found = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])
