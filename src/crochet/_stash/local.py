"""
A stash for the processes of one user on one machine, without a server.

Each process that has stashed something listens on a socket of its own in a directory, and is asked
there for its pending results. Answers are in a file of SQLite's there, too; see rows.py. What must
always hold, beside what shared.py says:

1. An owner is gone if its socket refuses, or a connection to it has ended. Then the row is read
   again: an answer that is there was written before.
2. A socket is deleted by another process only after it has refused, and its owner had a row or it
   is not young, so that it had been listening: not while a process is just about to.
3. At rest a process has its socket open and nothing else: a connection to an owner is closed when
   nothing was asked of it for a second.

Threads: all of this is the reactor thread's, but the constructor and ``_store_*``.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast, final

from twisted.logger import Logger

from .. import _errors
from .._core.result import call_of
from .answers import MAX_SIZE
from .directory import path_of, prepare
from .numbers import MAX_RESULTS
from .reports import pack_report
from .rows import Rows
from .serializer import Serializer
from .shared import Own, Remote, Row, SharedStash
from .sockets import Connections, Messages

_log = Logger(namespace="crochet")

# Seconds that a connection to an owner stays open when nothing was asked of it.
_IDLE = 1.0

# Seconds in which a process that has made its socket does listen.
_YOUNG = 60.0

# Processes that may be connecting at once. The system has a bound of its own.
_BACKLOG = 1024

# Bytes of the name of a socket, and what Linux has room for; macOS has for 104.
_LONGEST = 107 if sys.platform == "linux" else 103


@final
class LocalStash(SharedStash):
    """
    Keeps results for all processes of this user on this machine that name the same stash.

    Hand it to ``setup(stash=...)``, which calls its methods. It opens nothing before the
    first ``stash()`` or look-up in a process.

    Call it from any thread. Never blocks.

    Args:
        name: of the stash; or the path of a directory that nobody else has rights to. A name stands
            for one under ``$XDG_RUNTIME_DIR``, or else in the temporary folder.
        serializer: makes bytes of values; None is for tagged JSON of plain values.
        allow: classes that may be made from bytes: exceptions, and dataclasses.
        max_size: how many bytes an answer may take.
        max_results: how many results there may be in the stash; one more is refused.
        evict: delete the oldest answered result instead.

    Raises:
        RuntimeError: this system has no Unix sockets.
        TypeError: *allow* has something else.
        ValueError: *name* is not a name, its path is too long, or a number is too small.
    """

    kind = "local"

    def __init__(
        self,
        name: str | os.PathLike[str],
        *,
        serializer: Serializer | None = None,
        allow: Iterable[type] = (),
        max_size: int = MAX_SIZE,
        max_results: int = MAX_RESULTS,
        evict: bool = False,
    ) -> None:
        if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
            raise _errors.no_unix_sockets()
        super().__init__(
            serializer=serializer,
            allow=allow,
            max_size=max_size,
            max_results=max_results,
            evict=evict,
        )
        self._path = path_of(name)
        longest = str(self._path / f"{'0' * 16}.sock")
        if len(os.fsencode(longest)) > _LONGEST:
            raise _errors.path_too_long(str(self._path), _LONGEST - 22)
        self._rows = Rows(self._path / "results.sqlite", max_results, evict)
        self._begin()

    def _begin(self) -> None:
        self._token = ""  # written once it listens; read by any thread
        self._port: Any = None
        self._accepted: set[Messages] = set()
        self._owners: dict[str, _Owner] = {}

    def __repr__(self) -> str:
        return f"LocalStash({str(self._path)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is LocalStash and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    # The store.

    def _store_insert(self, uid: int, ttl: float, row: Row) -> Row:
        row = row._replace(host=row.host or socket.gethostname())
        self._rows.insert(uid, ttl, row)
        token = self._token
        if row.owner == token != "" and not self._socket_of(token).exists():
            # Somebody has cleared it away. What others have asked for by it is lost to them.
            self.process.bridge.call(self._be_reachable_in_reactor)
        return row

    def _store_answer(self, uid: int, row: Row) -> None:
        self._rows.answer(uid, row.state, row.body, row.report)

    def _store_reports(self, reports: list[tuple[int, bytes]]) -> None:
        self._rows.report(reports)

    def _store_claim(self, uid: int, *, take: bool) -> Row | None:
        return self._rows.claim(uid, take=take)

    def _store_give_back(self, uid: int, row: Row) -> None:
        self._rows.give_back(uid, row)

    def _store_read(self, uid: int) -> Row | None:
        return self._rows.read(uid)

    def _why_not(self, uid: int) -> str:
        row = self._rows.read(uid)
        if row is None or row.expires is None:
            return super()._why_not(uid)
        return "it has outlived its ttl" if row.expires <= time.time() else "it was taken"

    def _store_delete(self, uid: int) -> None:
        self._rows.delete(uid)

    def _store_close(self) -> None:
        self._rows.close()

    # This process as an owner.

    def _owner(self) -> str:
        return self._token

    def _be_reachable_in_reactor(self) -> None:
        if self._token and self._socket_of(self._token).exists():
            return  # two threads have come here at once
        prepare(self._path)
        token = self._token or secrets.token_hex(8)
        before, reactor = self._port, self.process.get_reactor()
        self._port = reactor.listenUNIX(
            str(self._socket_of(token)), _Accepted(self), backlog=_BACKLOG, mode=0o600
        )
        if before is not None:  # somebody has deleted its socket; it is not to delete another
            before.stopReading()
            _close_descriptor(before)
        self._token = token
        self._post(self._sweep)

    def _sweep(self) -> None:
        """
        Delete the sockets of processes that were killed, in the worker.
        """
        for path in self._path.glob("*.sock"):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                if time.time() - path.stat().st_mtime < _YOUNG:
                    continue
                probe.setblocking(False)
                if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                    self._bury(path.stem)

    def _bury(self, token: str) -> None:
        self._rows.lose(token)
        with suppress(OSError):  # another was quicker
            self._socket_of(token).unlink()

    def _socket_of(self, token: str) -> Path:
        return self._path / f"{token}.sock"

    def stopped_in_reactor(self) -> None:
        """
        Note that nobody can reach this process any more: its reactor has closed the socket.
        """
        self._token, self._port = "", None

    def _leave(self) -> Callable[[], object]:
        # A reactor that has crashed closes nothing. Those that wait learn of it by the end of their
        # connections, and others by a socket that refuses.
        opened: list[Any] = [self._port, *(each.transport for each in self._accepted)]
        self._token, self._port = "", None
        self._accepted = set()
        self._owners = {}

        def close() -> None:
            for each in opened:
                _close_descriptor(each)

        return close

    def connected_in_reactor(self, connection: Messages) -> None:
        """
        Note a connection of another process.
        """
        self._accepted.add(connection)

    def disconnected_in_reactor(self, connection: Messages) -> None:
        """
        Forget it.
        """
        self._accepted.discard(connection)
        for own in list(self._own.values()):
            own.watchers.discard(connection)

    def received_in_reactor(
        self, connection: Messages, letter: bytes, uid: int, body: bytes
    ) -> None:
        """
        Do what another process asks.
        """
        own = self._own.get(uid)
        if letter == b"F":
            self._forget_taken(uid)
        elif letter == b"C" and own is not None:
            own.result.cancel()
        elif letter == b"W" and own is not None:
            if own.answer is not None:
                _send_answer(connection, uid, own.answer)
                return
            own.watchers.add(connection)
            self._report_to_watcher(connection, own, uid)
            # The worker takes it out of _own, then looks for watchers: one of us sees the other.
            if uid not in self._own:
                self._tell_watchers_in_reactor(uid, own)
        elif letter == b"W":
            connection.send(b"N", uid)

    def _report_to_watcher(self, connection: Messages, own: Own, uid: int) -> None:
        report = pack_report(call_of(own.result).reported)
        if report:
            connection.send(b"P", uid, report)

    def _report_to_watchers_in_reactor(self, own: Own, uid: int, report: bytes) -> None:
        for connection in own.watchers:
            connection.send(b"P", uid, report)

    def _tell_watchers_in_reactor(self, uid: int, own: Own) -> None:
        watchers, own.watchers = own.watchers, set()
        for connection in watchers:
            if own.answer is None:
                connection.send(b"N", uid)
            else:
                _send_answer(connection, uid, own.answer)

    # Other processes as owners.

    def _watch_in_reactor(self, remote: Remote) -> None:
        owner = self._owner_of(remote.row.owner)
        owner.waited.add(remote.uid)
        if not remote.row.alias and not remote.is_kept:
            owner.send(b"F", remote.uid)
        owner.send(b"W", remote.uid)

    def _cancel_in_reactor(self, remote: Remote) -> None:
        self._owner_of(remote.row.owner).send(b"C", remote.uid)

    def _tell_taken_in_reactor(self, uid: int, row: Row) -> None:
        if row.owner != self._token and self._socket_of(row.owner).exists():
            self._owner_of(row.owner).send(b"F", uid)

    def _owner_of(self, token: str) -> _Owner:
        owner = self._owners.get(token)
        if owner is None:
            owner = self._owners[token] = _Owner(self, token, self._socket_of(token))
        return owner

    def heard_in_reactor(self, owner: _Owner, letter: bytes, uid: int, body: bytes) -> None:
        """
        Take what an owner tells.
        """
        if letter == b"P":
            self._hear_report_in_reactor(uid, body)
            return
        owner.waited.discard(uid)
        remotes = self._remotes.get(uid)
        parts = body.split(b"\0", 2)
        if letter == b"A" and remotes and len(parts) == 3 and parts[0] != b"lost":
            state, report, answer = parts
            row = remotes[0].row._replace(
                state=state.decode("ascii", "replace"), body=answer, report=report
            )
            self._answer_in_reactor(uid, row)
            return
        self._look_again_in_reactor(uid, is_owner_gone=True)

    def leave_in_reactor(self, owner: _Owner) -> None:
        """
        Ask an owner for nothing more by this connection.
        """
        if self._owners.get(owner.token) is owner:
            del self._owners[owner.token]

    def lost_in_reactor(self, owner: _Owner, *, has_refused: bool) -> None:
        """
        Look for the answers of an owner that is gone, in the file.
        """
        self.leave_in_reactor(owner)
        if has_refused:
            self._post(partial(self._bury, owner.token))
        for uid in owner.waited:
            self._look_again_in_reactor(uid, is_owner_gone=True)

    def _connection(self) -> str:
        return "listening" if self._token else "not listening"

    def after_fork_in_child(self) -> None:
        """
        Begin anew, in a forked child, and close what is the parent's.
        """
        inherited: list[Any] = [self._port]
        inherited += [each.transport for each in self._accepted]
        inherited += [
            owner.connection and owner.connection.transport for owner in self._owners.values()
        ]
        for each in inherited:
            _close_descriptor(each)
        super().after_fork_in_child()
        self._begin()


class _Accepted(Connections):
    """
    Makes connections of other processes, and notes when no more will come.
    """

    def stopFactory(self) -> None:
        self._stash.stopped_in_reactor()


class _Owner:
    """
    Another process, as long as something is asked of it.
    """

    def __init__(self, stash: LocalStash, token: str, path: Path) -> None:
        self.token = token
        self.waited: set[int] = set()  # the numbers whose answers it was asked for
        self.connection: Messages | None = None
        self._stash = stash
        self._unsent: list[tuple[bytes, int]] = []
        self._idle: Any = None
        reactor = self._reactor = stash.process.get_reactor()
        reactor.connectUNIX(str(path), Connections(self), timeout=5)

    def send(self, letter: bytes, uid: int) -> None:
        """
        Ask it for something, as soon as it is connected.
        """
        if self.connection is None:
            self._unsent.append((letter, uid))
        else:
            self.connection.send(letter, uid)
            self._stay()

    def connected_in_reactor(self, connection: Messages) -> None:
        """
        Send what has waited for that.
        """
        self.connection = connection
        for letter, uid in self._unsent:
            connection.send(letter, uid)
        self._unsent.clear()
        self._stay()

    def received_in_reactor(
        self, connection: Messages, letter: bytes, uid: int, body: bytes
    ) -> None:
        """
        Hand on what it tells.
        """
        self._stash.heard_in_reactor(self, letter, uid, body)
        self._stay()

    def disconnected_in_reactor(self, connection: Messages) -> None:
        """
        It has ended, or we have closed the connection.
        """
        self.connection = None
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._stash.lost_in_reactor(self, has_refused=False)

    def refused_in_reactor(self) -> None:
        """
        It has ended, and has left its socket.
        """
        self._stash.lost_in_reactor(self, has_refused=True)

    def _stay(self) -> None:
        if self._idle is None or not self._idle.active():
            self._idle = self._reactor.callLater(_IDLE, self._close_if_idle)
        else:
            self._idle.reset(_IDLE)

    def _close_if_idle(self) -> None:
        if self.connection is None:
            return
        if self.waited:
            self._idle = None  # received_in_reactor() begins anew
            return
        self._stash.leave_in_reactor(self)  # first: nothing is to be sent any more
        cast("Any", self.connection.transport).loseConnection()


def _send_answer(connection: Messages, uid: int, answer: tuple[str, bytes, bytes]) -> None:
    state, body, report = answer
    connection.send(b"A", uid, b"\0".join((state.encode(), report, body)))


def _close_descriptor(transport: Any) -> None:
    """
    Close what a reactor has that does not run here, and nothing else of it.
    """
    descriptor = getattr(transport, "socket", None)
    if descriptor is not None:
        with suppress(OSError):  # the program has closed it already
            descriptor.close()
