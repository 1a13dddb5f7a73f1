"""
The rows of a LocalStash: one file of SQLite's.

Each thread that comes here has a connection of its own, which is closed when the thread ends: of
the worker that is a second after there was something to do. So at rest nothing is open, and a fork
copies no connection, or one that ``close()`` was called for. (SQLite says never to close one that
was copied by a fork: that may undo what the parent is at.)

WAL lets readers read while another process writes; a writer waits for another for 5 s. Nothing is
lost by a process that is killed; the machine's end may cost the last seconds' answers, and no more.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.logger import Logger

from .. import _errors
from .._core.stash import TTL
from .directory import make_private_file, prepare
from .shared import Row, row_of

T = TypeVar("T")

_log = Logger(namespace="crochet")

_VERSION = 1

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS results (
  uid INTEGER PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  name TEXT NOT NULL, alias INTEGER, state TEXT NOT NULL, body BLOB NOT NULL,
  report BLOB NOT NULL,
  taken INTEGER NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_expiry ON results (expires);
PRAGMA user_version = 1;
COMMIT;
"""

# Bits of the column "taken": a process has taken it; another row is an alias of it, so it stays.
_TAKEN, _HAS_ALIAS = 1, 2

_COLUMNS = "owner, host, pid, name, alias, state, body, report, expires"

# Seconds that the row of a result stays, beyond its ttl, for a process that waits for its answer.
_TAKEN_STAYS = 86_400.0

# Seconds that a writer waits for another.
BUSY = 5.0

# And before another attempt at a file that somebody is just making.
_PAUSE = 0.01

# Seconds between two deletions of what is past its time, by this process.
_SWEEP = 5.0

# Connections that were copied by a fork that no hook was called for. They are never closed.
_inherited: list[sqlite3.Connection] = []


class _Local(threading.local):
    connection: sqlite3.Connection | None = None
    pid = 0


class Rows:
    """
    Reads and writes the file.

    Args:
        path: of the file.
        max_results: how many rows there may be.
        evict: delete the oldest answered for a new one.
    """

    def __init__(self, path: Path, max_results: int, evict: bool) -> None:
        self._path = path
        self._max_results = max_results
        self._evict = evict
        self._local = _Local()
        self._next_sweep = 0.0

    def _open(self) -> sqlite3.Connection:
        local = self._local
        if local.connection is not None and local.pid != os.getpid():
            _inherited.append(local.connection)
            local.connection = None
        end = time.monotonic() + BUSY
        while local.connection is None:
            try:
                local.connection, local.pid = self._connect(), os.getpid()
            except sqlite3.OperationalError as error:
                # SQLite itself does not wait for another process that makes the file, or mends it.
                if "locked" not in str(error) or time.monotonic() >= end:
                    raise
                time.sleep(_PAUSE)
        return local.connection

    def _connect(self) -> sqlite3.Connection:
        prepare(self._path.parent)  # each time: somebody may have cleared it away
        make_private_file(self._path)
        # It is closed by another thread than its own if it is dropped by the collector.
        connection = sqlite3.connect(
            self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"it has version {version}, not {_VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """
        Close this thread's connection.
        """
        connection, self._local.connection = self._local.connection, None
        if connection is not None and self._local.pid == os.getpid():
            connection.close()

    def _run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> T:
        """
        Do something with the file, all of it or nothing.
        """
        try:
            connection = self._open()
            if not writes:
                return work(connection)
            connection.execute("BEGIN IMMEDIATE")
            try:
                value = work(connection)
                connection.execute("COMMIT")
                return value
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.close()  # another attempt begins anew
            raise _errors.store_broken(str(self._path), error) from error

    def insert(self, uid: int, ttl: float, row: Row) -> None:
        """
        Add a row.

        Raises:
            RuntimeError: there are as many as may be.
        """

        def work(connection: sqlite3.Connection) -> None:
            now = time.time()
            (kept,) = connection.execute("SELECT count(*) FROM results").fetchone()
            if time.monotonic() >= self._next_sweep or kept >= self._max_results:
                self._next_sweep = time.monotonic() + _SWEEP
                gone = connection.execute("DELETE FROM results WHERE expires <= ?", (now,))
                kept -= gone.rowcount
            if kept >= self._max_results:
                # Without those that stay only for a taker that may be waiting.
                query = f"SELECT count(*) FROM results WHERE NOT taken & {_TAKEN}"
                (kept,) = connection.execute(query).fetchone()
            if kept >= self._max_results and not (self._evict and _evict(connection)):
                why = "none of them is answered" if self._evict else ""
                raise _errors.stash_full(self._max_results, why)
            connection.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
                (uid, *row[:8], now + ttl),
            )
            if row.alias is not None:
                connection.execute(
                    "UPDATE results SET taken = taken | ?, expires = max(expires, ?) WHERE uid = ?",
                    (_HAS_ALIAS, now + ttl + _TAKEN_STAYS, row.alias),
                )

        self._run(work)

    def answer(self, uid: int, state: str, body: bytes, report: bytes) -> None:
        """
        Enter an answer and the last report, if there is such a row. One that was taken stays for
        its taker no longer than an answer.
        """
        query = (
            "UPDATE results SET state = ?, body = ?, report = ?, expires = "
            f"CASE taken WHEN {_TAKEN} THEN min(expires, ?) ELSE expires END WHERE uid = ?"
        )
        values = state, body, report, time.time() + TTL, uid
        self._run(lambda connection: connection.execute(query, values))

    def report(self, reports: list[tuple[int, bytes]]) -> None:
        """
        Enter how far pending results are.
        """
        query = "UPDATE results SET report = ? WHERE uid = ? AND state = 'pending'"
        rows = [(report, uid) for uid, report in reports]
        self._run(lambda connection: connection.executemany(query, rows))

    def claim(self, uid: int, *, take: bool) -> Row | None:
        """
        Look for a row that nobody has taken, and take it.
        """
        query = (
            f"SELECT {_COLUMNS} FROM results WHERE uid = ? AND NOT taken & {_TAKEN} AND expires > ?"
        )

        def look(connection: sqlite3.Connection) -> Row | None:
            found = connection.execute(query, (uid, time.time())).fetchone()
            return row_of(found) if found else None

        def work(connection: sqlite3.Connection) -> Row | None:
            row = look(connection)
            if row is None:
                return None
            if row.state == "pending" or not _delete(connection, uid):
                connection.execute(
                    "UPDATE results SET taken = taken | ?, expires = max(expires, ?) WHERE uid = ?",
                    (_TAKEN, time.time() + _TAKEN_STAYS, uid),
                )
            return row

        return self._run(work) if take else self._run(look, writes=False)

    def give_back(self, uid: int, row: Row) -> None:
        """
        Have a row be there that was claimed, as it was before, or answered meanwhile.
        """
        query = (
            "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT (uid) DO "
            f"UPDATE SET taken = taken & ~{_TAKEN}, "
            f"expires = CASE WHEN taken & {_HAS_ALIAS} THEN expires ELSE excluded.expires END"
        )
        self._run(lambda connection: connection.execute(query, (uid, *row[:9])))

    def read(self, uid: int) -> Row | None:
        """
        Look for a row, taken or not.
        """
        query = f"SELECT {_COLUMNS} FROM results WHERE uid = ?"
        found = self._run(lambda found: found.execute(query, (uid,)).fetchone(), writes=False)
        return row_of(found) if found else None

    def delete(self, uid: int) -> None:
        """
        Delete a row, if it is there and no other is an alias of it.
        """
        self._run(lambda connection: _delete(connection, uid))

    def lose(self, owner: str) -> None:
        """
        Enter that what an owner has not answered is lost. It expires like an answer.
        """
        query = (
            "UPDATE results SET state = 'lost', expires = min(expires, ?) "
            "WHERE owner = ? AND state = 'pending' AND alias IS NULL"
        )
        self._run(lambda found: found.execute(query, (time.time() + TTL, owner)))


def _delete(connection: sqlite3.Connection, uid: int) -> bool:
    """
    Delete a row that is no other's alias, and tell whether there was one.
    """
    query = f"DELETE FROM results WHERE uid = ? AND NOT taken & {_HAS_ALIAS}"
    return connection.execute(query, (uid,)).rowcount > 0


def _evict(connection: sqlite3.Connection) -> bool:
    """
    Delete the oldest row that has an answer, and tell whether there was one.
    """
    query = (
        "SELECT uid, name FROM results WHERE state != 'pending' "
        f"AND NOT taken & {_TAKEN} ORDER BY expires LIMIT 1"
    )
    oldest = connection.execute(query).fetchone()
    if oldest is None:
        return False
    connection.execute("DELETE FROM results WHERE uid = ?", oldest[:1])
    _log.warn(
        "the stash is full: the answer of {name}(), the oldest, was deleted for a new result",
        name=oldest[1],
    )
    return True
