"""
The file of a LocalStash, as several processes open it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crochet._stash import rows
from crochet._stash.rows import Rows
from crochet._stash.shared import Row
from support.process import LoggedFailures
from support.stepping import together


def _without_end(row: Row | None) -> Row:
    assert row is not None
    return row._replace(expires=None)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Rows]:
    """
    A file that is not there yet.
    """
    found = Rows(tmp_path / "results.sqlite", 10, evict=False)
    yield found
    found.close()


def test_a_process_waits_for_another_that_makes_the_file(
    file: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    SQLite refuses to, at once, while the other changes the kind of its journal.
    """
    path = tmp_path / "results.sqlite"
    path.touch(0o600)
    pauses: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")

        def let_go(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(rows, "BUSY", 0.01)
        monkeypatch.setattr(rows.time, "monotonic", lambda: 0.0)
        monkeypatch.setattr(rows.time, "sleep", let_go)
        assert file.read(5) is None
    assert pauses == [rows._PAUSE]


def test_it_does_not_wait_for_ever(
    file: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Then it says so.
    """
    path = tmp_path / "results.sqlite"
    path.touch(0o600)
    monkeypatch.setattr(rows, "BUSY", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match="database is locked"):
            file.read(5)


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """
    Each with a connection of its own.
    """

    def use(index: int) -> None:
        found = Rows(path, 100, evict=False)
        found.insert(index, 60.0, Row("owner", "host", 1, "f", None, "done", b""))
        found.close()

    for attempt in range(5):
        path = tmp_path / str(attempt)
        together(8, use)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM results").fetchone() == (8,)


def test_an_expired_row_is_no_more(file: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By the system's clock, which may be set; it is deleted when another is added.
    """
    row = Row("owner", "host", 1, "f", None, "done", b"")
    now = time.time()
    monkeypatch.setattr(rows.time, "time", lambda: now)
    file.insert(1, 60.0, row)
    assert file.claim(1, take=False) == row._replace(expires=now + 60.0)
    monkeypatch.setattr(rows.time, "time", lambda: now + 61.0)
    assert file.claim(1, take=True) is None
    assert _without_end(file.read(1)) == row
    file._next_sweep = 0.0
    file.insert(2, 60.0, row)
    assert file.read(1) is None
    assert _without_end(file.claim(2, take=True)) == row


def test_what_an_owner_has_not_answered_is_lost(file: Rows) -> None:
    """
    When it has ended; but not its answers, nor another number of what it has answered.
    """
    row = Row("owner", "host", 1, "f", None, "pending", b"")
    file.insert(1, 60.0, row)
    file.insert(2, 60.0, row._replace(state="done"))
    file.insert(3, 60.0, row._replace(alias=2))
    file.insert(4, 60.0, row._replace(owner="other"))
    file.lose("owner")
    found = [file.read(uid) for uid in (1, 2, 3, 4)]
    assert [row and row.state for row in found] == ["lost", "done", "pending", "pending"]


_DONE = Row("owner", "host", 1, "f", None, "done", b"")


def test_a_file_of_another_version_is_refused(file: Rows, tmp_path: Path) -> None:
    """
    By an error that says which.
    """
    file.insert(1, 60.0, _DONE)
    file.close()
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as other:
        other.execute("PRAGMA user_version = 7")
    with pytest.raises(OSError, match="it has version 7"):
        file.read(1)


def test_what_fails_changes_nothing(file: Rows) -> None:
    """
    And the next attempt begins anew.
    """
    file.insert(1, 60.0, _DONE)
    with pytest.raises(OSError, match=r"results\.sqlite cannot be read or"):
        file.insert(1, 60.0, _DONE)
    file.insert(2, 60.0, _DONE)
    assert _without_end(file.read(2)) == _DONE


def test_so_many_rows_are_kept(tmp_path: Path, logged: LoggedFailures) -> None:
    """
    One more is refused, or the one that was answered and expires first is deleted, and not one that
    is pending.
    """
    pending = _DONE._replace(state="pending")
    full, evicting = (Rows(tmp_path / "results.sqlite", 2, evict) for evict in (False, True))
    with closing(full), closing(evicting):
        full.insert(1, 60.0, pending)
        full.insert(2, 70.0, pending)
        for rows_, why in ((full, "2 results"), (evicting, "none of them is answered")):
            with pytest.raises(RuntimeError, match=why):
                rows_.insert(3, 60.0, _DONE)
        full.answer(2, "done", b"", b"")
        evicting.insert(3, 60.0, _DONE)
        assert [evicting.read(uid) is not None for uid in (1, 2, 3)] == [True, False, True]


def test_what_stays_for_a_taker_takes_no_room(tmp_path: Path) -> None:
    """
    It may have been killed. Once it is answered, its row stays as long as an answer, not a day.
    """
    now = time.time()
    with closing(Rows(tmp_path / "results.sqlite", 1, evict=True)) as full:
        full.insert(1, 60.0, _DONE._replace(state="pending"))
        full.claim(1, take=True)
        full.insert(2, 60.0, _DONE)
        full.answer(1, "done", b"7", b"")
        full.insert(3, 60.0, _DONE)
        assert [full.claim(uid, take=False) is not None for uid in (1, 2, 3)] == [
            False,
            False,
            True,
        ]
        row = full.read(1)
        assert row is not None
        assert now + 3500 < (row.expires or 0.0) < now + 3700


def test_what_was_taken_is_given_back(file: Rows) -> None:
    """
    As it was, or with the answer that it has got meanwhile; and as long as an alias of it stays.
    """
    pending = _DONE._replace(state="pending")
    now = time.time()
    for uid, row in ((1, _DONE), (2, pending), (3, pending)):
        file.insert(uid, 60.0, row)
    file.insert(4, 500.0, pending._replace(alias=3))
    for uid in (1, 2, 3):
        claimed = file.claim(uid, take=True)
        assert claimed is not None
        if uid == 2:
            file.answer(2, "done", b"8", b"")
        file.give_back(uid, claimed)
    rows_ = [file.claim(uid, take=False) for uid in (1, 2, 3)]
    assert [row and (row.state, row.body) for row in rows_] == [
        ("done", _DONE.body),
        ("done", b"8"),
        ("pending", b""),
    ]
    ends = [row.expires - now for row in rows_ if row and row.expires]
    assert ends[0] < 100
    assert ends[1] < 100
    assert ends[2] > 500


def test_a_connection_of_the_parents_is_left_alone(
    file: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    In a child that was forked by who calls no hook: another is opened, and that one never closed.
    """
    file.insert(1, 60.0, _DONE)
    inherited: list[sqlite3.Connection] = []
    monkeypatch.setattr(rows, "_inherited", inherited)
    pid = os.getpid()
    monkeypatch.setattr(rows.os, "getpid", lambda: pid + 1)
    assert _without_end(file.read(1)) == _DONE
    (parents,) = inherited
    parents.execute("SELECT 1")
    parents.close()
    file.close()  # while this is the child
