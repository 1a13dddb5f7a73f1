"""
A LocalStash in processes that are in this one: its directory, its sockets, and what comes between.

What ends a process is in test_processes.py.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, TimeoutError, getConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

import crochet
from crochet._core.result import call_of
from crochet._stash import directory, local, reports, shared, sockets
from crochet._stash.directory import make_private_file, path_of, prepare
from crochet._stash.local import LocalStash
from crochet._stash.reports import Reports, pack_report, unpack_report
from crochet._stash.rows import Rows
from crochet._stash.shared import Row
from crochet._stash.sockets import Connections, Messages, user_of
from crochet._threads import clock
from support.process import LoggedFailures
from support.stepping import BOUND

from .conftest import Here, LocalPlace
from .test_contract import Reporting


@pytest.fixture
def place() -> Iterator[LocalPlace]:
    """
    A directory.
    """
    place = LocalPlace()
    yield place
    place.close()


class TestDirectory:
    """
    Where processes find each other.
    """

    @pytest.mark.parametrize("name", ["", ".hidden", "a b", "x" * 65, "ä"])
    def test_has_a_plain_name(self, name: str) -> None:
        """
        Anything else is refused.
        """
        with pytest.raises(ValueError, match="64 letters"):
            path_of(name)

    def test_is_the_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Under what the system has for that, if that is private; else in the temporary folder.
        """
        tmp_path.chmod(0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert path_of("shop") == tmp_path / "crochet" / "shop"
        mine = Path(tempfile.gettempdir(), f"crochet-{os.geteuid()}", "shop")
        tmp_path.chmod(0o750)
        assert path_of("shop") == mine
        for other in ("relative", str(tmp_path / "missing")):
            monkeypatch.setenv("XDG_RUNTIME_DIR", other)
            assert path_of("shop") == mine

    def test_can_be_a_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        An absolute one from then on.
        """
        monkeypatch.chdir(tmp_path)
        assert path_of("./shop") == path_of(Path("shop")) == tmp_path / "shop"

    def test_is_made_with_the_one_above(self, tmp_path: Path) -> None:
        """
        Both for this user alone.
        """
        path = tmp_path / "crochet" / "shop"
        prepare(path)
        prepare(path)
        assert [each.stat().st_mode & 0o777 for each in (path, path.parent)] == [0o700] * 2

    def test_is_refused_if_others_have_rights(self, tmp_path: Path) -> None:
        """
        To it, or to what is in it.
        """
        prepare(tmp_path / "shop")
        (tmp_path / "shop").chmod(0o710)
        with pytest.raises(PermissionError, match="shop"):
            prepare(tmp_path / "shop")
        make_private_file(tmp_path / "file")
        (tmp_path / "file").chmod(0o640)
        with pytest.raises(PermissionError, match="file"):
            make_private_file(tmp_path / "file")

    def test_must_not_be_too_deep(self) -> None:
        """
        For the names of sockets are short.
        """
        with pytest.raises(ValueError, match="long"):
            LocalStash("/tmp/" + "x" * 100)

    def test_needs_unix_sockets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where there are none, RedisStash is named.
        """
        monkeypatch.delattr(local.socket, "AF_UNIX")
        with pytest.raises(RuntimeError, match="RedisStash"):
            LocalStash("shop")

    def test_makes_stashes_equal(self) -> None:
        """
        Those of one directory.
        """
        assert len({LocalStash("/a/b"), LocalStash(Path("/a/b")), LocalStash("/a/c")}) == 2


class Noted:
    """
    What connections are told to.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args[1:]))


class Transport(StringTransport):
    """
    A connection to nobody.
    """

    is_aborted = False
    writes = 0

    def doWrite(self) -> None:
        self.writes += 1

    def getHandle(self) -> None: ...

    def abortConnection(self) -> None:
        self.is_aborted = True


class TestConnections:
    """
    To other processes.
    """

    def _connected(self, noted: Noted) -> tuple[Messages, Transport]:
        connection, transport = Connections(noted).buildProtocol(None), Transport()
        connection.makeConnection(transport)
        return connection, transport

    def test_of_other_users_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Before anything that they send is looked at.
        """
        monkeypatch.setattr(sockets, "user_of", lambda handle: os.geteuid() + 1)
        noted = Noted()
        connection, transport = self._connected(noted)
        connection.dataReceived(b"\0\0\0\x09W" + bytes(8))
        connection.connectionLost()
        assert (transport.is_aborted, noted.calls) == (True, [])

    @pytest.mark.parametrize("data", [b"\0\0\0\x02no", b"\xff\xff\xff\xff"])
    def test_end_with_what_is_no_message(
        self, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Too short, or too long.
        """
        monkeypatch.setattr(sockets, "user_of", lambda handle: None)
        noted = Noted()
        connection, transport = self._connected(noted)
        connection.dataReceived(data)
        connection.connectionLost()
        assert transport.is_aborted
        assert noted.calls == [("connected_in_reactor",), ("disconnected_in_reactor",)]

    def test_hand_messages_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        In whichever pieces they come.
        """
        monkeypatch.setattr(sockets, "user_of", lambda handle: os.geteuid())
        noted = Noted()
        connection, transport = self._connected(noted)
        connection.send(b"W", 7, b"body")
        for byte in transport.value():
            connection.dataReceived(bytes([byte]))
        assert noted.calls[1:] == [("received_in_reactor", b"W", 7, b"body")]

    def test_send_answers_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        As far as there is room; the reactor sends the rest, and closes what is to be closed.
        """
        monkeypatch.setattr(sockets, "user_of", lambda handle: None)
        connection, transport = self._connected(Noted())
        for letter, transport.disconnecting, transport.connected, is_sent in (
            (b"W", False, True, False),
            (b"A", False, True, True),
            (b"A", True, True, False),
            (b"A", False, False, False),
        ):
            transport.writes = 0
            connection.send(letter, 7)
            assert transport.writes == is_sent

    def test_that_take_long_are_tried_again(self) -> None:
        """
        A process that is busy or stopped is not gone; one that refuses is.
        """
        noted, connector = Noted(), Noted()
        connector.reactor = clock = Clock()
        factory = Connections(noted)
        # It is stopped; it has too many to accept; this process has no descriptor left.
        busy = [TimeoutError(), ConnectError(), ConnectError(errno.EMFILE)]
        for tries, error in enumerate(busy, 1):
            factory.clientConnectionFailed(connector, Failure(error))
            clock.advance(1.0)
            assert (len(connector.calls), noted.calls) == (tries, [])
        for number in (errno.ECONNREFUSED, errno.ENOENT):
            factory.clientConnectionFailed(connector, Failure(getConnectError((number, ""))))
        assert noted.calls == [("refused_in_reactor",)] * 2

    def test_are_of_anybody_where_no_system_call_tells(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        There the directory keeps others away.
        """
        here, there = socket.socketpair()
        with closing(here), closing(there):
            assert user_of(here) == os.geteuid()
            monkeypatch.delattr(sockets.socket, "SO_PEERCRED")
            assert user_of(here) is None


class TestOwners:
    """
    What comes between an owner and those that ask it.
    """

    def test_dead_ones_are_swept(self, place: LocalPlace) -> None:
        """
        Their sockets are deleted, if they are not young, and what they have not answered is lost.
        """
        here = place.process()
        here.call(lambda: 7).stash()
        row = Row("dead", "host", 1, "f", None, "pending", b"")
        here.stash._rows.insert(1, 60.0, row)
        for name in ("dead", "young"):
            with closing(socket.socket(socket.AF_UNIX)) as other:
                other.bind(str(place.path / f"{name}.sock"))
        os.utime(place.path / "dead.sock", (1, 1))
        here.stash._sweep()
        here.stash._rows.close()
        names = {path.name for path in place.path.glob("*.sock")}
        assert names == {"young.sock", f"{here.stash._token}.sock"}
        with pytest.raises(crochet.ResultLost):
            here.peek(1).wait(BOUND)

    def test_answer_before_they_have_stored(self, place: LocalPlace) -> None:
        """
        Who asks then gets the answer at once.
        """
        here, there = place.process(), place.process()
        is_stored, is_answered = Event(), Event()
        store = here.stash._store_answer

        def store_late(*args: Any) -> None:
            is_answered.set()
            assert is_stored.wait(BOUND)
            store(*args)

        here.stash._store_answer = store_late
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        here.in_reactor(pending.callback, 7)
        assert is_answered.wait(BOUND)
        assert there.take(uid).wait(BOUND) == 7
        is_stored.set()

    @pytest.mark.parametrize("value", [7, {"a": [1, None, (b"2", "3")]}])
    def test_tell_small_answers_at_once(self, place: LocalPlace, value: object) -> None:
        """
        To those that wait, from the reactor thread, whatever the worker is at; and store them when
        that is done.
        """
        here, there = place.process(), place.process()
        is_free, pending = Event(), Deferred[Any]()
        uid = here.call(lambda: pending).stash()
        looked = there.peek(uid)
        (own,) = here.stash._own.values()
        here.until(lambda: own.watchers)
        here.stash._post(lambda: is_free.wait(BOUND))
        here.in_reactor(pending.callback, value)
        assert looked.wait(BOUND) == value
        assert there.stash._store_read(uid).state == "pending"
        is_free.set()
        there.until(lambda: there.stash._store_read(uid).state == "done")
        there.stash._rows.close()
        here.end()
        assert there.take(uid).wait(BOUND) == value

    def test_know_what_they_have_not(self, place: LocalPlace) -> None:
        """
        Then its row decides; and it is lost if that has no answer.
        """
        here, there = place.process(), place.process()
        here.call(lambda: 7).stash()
        row = Row(here.stash._token, "host", 1, "f", None, "pending", b"")
        there.stash._store_insert(1, 60.0, row)
        there.stash._rows.close()
        with pytest.raises(crochet.ResultLost):
            there.take(1).wait(BOUND)

    def test_know_it_before_a_wait_for_it_is_noted(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. A thread begins a wait for a pending result of another process.
        2. The reactor thread hears that this one has it not, so that it is lost.
        3. The thread notes which result it was that it began.
        """
        here, there = place.process(), place.process()
        here.call(lambda: 7).stash()
        row = Row(here.stash._token, "host", 1, "f", None, "pending", b"")
        there.stash._store_insert(1, 60.0, row)
        there.stash._rows.close()

        def begin(*args: Any, **kwargs: Any) -> Any:
            result = shared_begin(*args, **kwargs)
            there.until(result.done)
            return result

        shared_begin = shared.begin
        monkeypatch.setattr(shared, "begin", begin)
        with pytest.raises(crochet.ResultLost):
            there.take(1).wait(BOUND)

    def test_listen_once(self, place: LocalPlace) -> None:
        """
        However many threads come to be owners at once.
        """
        here = place.process()
        here.call(lambda: 7).stash()
        token = here.stash._token
        here.in_reactor(here.stash._be_reachable_in_reactor)
        assert here.stash._token == token
        assert len(list(place.path.glob("*.sock"))) == 1

    def test_are_connected_to_as_long_as_they_are_waited_for(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        With no timer while nothing comes; soon after the answer the connection is closed.
        """
        monkeypatch.setattr(local, "_IDLE", 0.01)
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        (owner,) = there.stash._owners.values()
        there.until(lambda: there.timers() == [])  # while it connects there is one, too
        assert owner.connection is not None
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7
        there.until(lambda: there.stash._owners == {})

    def test_whose_reactor_crashes_are_gone(self, place: LocalPlace) -> None:
        """
        A crash closes nothing, so the stash does.
        """
        here, there = place.process(), place.process()
        result = here.call(Deferred)
        waiting = there.peek(result.stash())
        there.until(lambda: there.stash.status().waiting == 1)
        here.process.reactor.callFromThread(here.process.reactor.crash)
        with pytest.raises(crochet.ResultLost):
            waiting.wait(BOUND)
        # The crash closes the connection first, so that is told before this has noted it.
        here.until(lambda: here.stash.status().state == "not listening")
        result.exception()

    def test_without_a_row_have_nothing(self, place: LocalPlace) -> None:
        """
        What was looked at, and is gone with its owner, is a KeyError: somebody may have taken it.
        """
        here, there = place.process(), place.process()
        result = here.call(Deferred)
        uid = result.stash()
        waiting = there.peek(uid)
        there.until(lambda: there.stash.status().waiting == 1)
        there.stash._store_delete(uid)
        there.stash._rows.close()
        here.end()
        with pytest.raises(KeyError, match="no result is stashed"):
            waiting.wait(BOUND)
        result.exception()

    def test_whose_socket_was_cleared_away_listen_again(self, place: LocalPlace) -> None:
        """
        With the directory, by what clears temporary folders; as soon as they stash something.
        """
        here, there = place.process(), place.process()
        before, after = Deferred[Any](), Deferred[Any]()
        here.call(lambda: before).stash()
        there.until(lambda: not there.has(5))
        for each in (here, there):
            assert each.stash.stop(BOUND)  # which closes the file
        shutil.rmtree(place.path)
        uid = here.call(lambda: after).stash()
        here.until(here.stash._socket_of(here.stash._token).exists)
        taken = there.take(uid)
        here.in_reactor(after.callback, 7)
        assert taken.wait(BOUND) == 7
        here.in_reactor(before.callback, None)

    @pytest.mark.parametrize("size", [1, 100_000])
    def test_store_answers_as_soon_as_they_can(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch, logged: LoggedFailures, size: int
    ) -> None:
        """
        The disk is full, or somebody has locked the file for long; they are asked for it meanwhile.
        """
        monkeypatch.setattr(shared, "_RETRY", 0.01)
        here, there = place.process(), place.process()
        answer, store = Rows.answer, []

        def fail(*args: Any) -> None:
            store.append(args)
            if len(store) < 3:
                raise OSError("the disk is full")
            answer(*args)

        monkeypatch.setattr(Rows, "answer", fail)
        pending: Deferred[Any] = Deferred()
        uids = [here.call(lambda: pending).stash() for _ in range(2)]
        taken = there.take(uids[0])
        there.until(lambda: there.stash.status().waiting == 1)
        here.in_reactor(pending.callback, b"x" * size)
        assert len(taken.wait(BOUND)) == size
        here.until(lambda: not here.stash._own)
        here.end()
        assert len(there.take(uids[1]).wait(BOUND) or b"x" * size) == size
        assert {str(event["error"]) for event in logged.events} == {"the disk is full"}
        logged.take()

    def test_have_a_last_chance_to_store(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch, logged: LoggedFailures
    ) -> None:
        """
        When their reactor stops.
        """
        here, there = place.process(), place.process()
        errors = [OSError("the disk is full")]
        answer = Rows.answer

        def fail(*args: Any) -> None:
            if errors:
                raise errors.pop()
            answer(*args)

        monkeypatch.setattr(Rows, "answer", fail)
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        here.in_reactor(pending.callback, 7)
        here.until(lambda: not errors)
        here.until(lambda: here.timers())  # another attempt, much later
        here.end()
        assert there.take(uid).wait(BOUND) == 7
        logged.take()

    def test_that_cannot_be_connected_to_are_an_error(self, place: LocalPlace) -> None:
        """
        Which the result has; nothing is left of the wait.
        """
        here, there = place.process(), place.process()
        uid = here.call(Deferred).stash()

        def fail(remote: Any) -> None:
            raise OSError(24, "Too many open files")

        there.stash._watch_in_reactor = fail
        with pytest.raises(OSError, match="Too many open files"):
            there.peek(uid).wait(BOUND)
        assert there.stash._remotes == {}
        del there.stash._watch_in_reactor

    def test_that_talk_nonsense_are_not_believed(self, place: LocalPlace) -> None:
        """
        Of another version, say: the row decides.
        """
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        waiting = there.peek(uid)
        (owner,) = there.stash._owners.values()
        for letter, body in ((b"P", b"[[["), (b"P", b"\xff"), (b"?", b"")):
            there.in_reactor(there.stash.heard_in_reactor, owner, letter, uid + 1, body)
            there.in_reactor(there.stash._hear_report_in_reactor, uid, body)
        assert (waiting.done(), waiting.progress) == (False, None)
        there.in_reactor(there.stash.heard_in_reactor, owner, b"A", uid, b"no zero")
        with pytest.raises(crochet.ResultLost):
            waiting.wait(BOUND)
        here.in_reactor(pending.callback, None)


class TestSharedStash:
    """
    What both kinds have in common, on this one.
    """

    def test_finds_its_own_by_another_number(self, place: LocalPlace) -> None:
        """
        That a taker has stashed it under.
        """
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        result = here.call(lambda: pending)
        again = there.take(result.stash()).stash()
        assert here.take(again) is result
        here.in_reactor(pending.callback, 7)

    def test_is_first_used_in_the_reactor_thread(self, place: LocalPlace) -> None:
        """
        Which does not block.
        """
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        result = here.call(lambda: pending)
        uid = here.call(lambda: result.stash()).wait(BOUND)
        there.until(lambda: there.has(uid))
        here.in_reactor(pending.callback, 7)
        assert there.take(uid).wait(BOUND) == 7

    def test_takes_what_it_has_looked_at(self, place: LocalPlace) -> None:
        """
        The very same, which then is nobody else's.
        """
        here, there, elsewhere = (place.process() for _ in range(3))
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        looked = there.peek(uid)
        assert there.take(uid) is looked
        with pytest.raises(KeyError):
            elsewhere.take(uid)
        here.in_reactor(pending.callback, 7)
        assert looked.wait(BOUND) == 7
        elsewhere.until(lambda: elsewhere.stash._rows.read(uid) is None)
        elsewhere.stash._rows.close()

    def test_keeps_what_is_answered_while_it_is_stashed_again(self, place: LocalPlace) -> None:
        """
        The answer is this process's own then, by another number.
        """
        here, there, elsewhere = (place.process() for _ in range(3))
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        (own,) = here.stash._own.values()
        here.until(lambda: own.watchers)  # so that it is told, and need not ask the worker
        insert = there.stash._store_insert

        def answer_and_insert(*args: Any) -> None:
            there.stash._store_insert = insert
            here.in_reactor(pending.callback, 7)
            there.until(taken.done)
            insert(*args)

        there.stash._store_insert = answer_and_insert
        assert elsewhere.take(taken.stash()).wait(BOUND) == 7

    def test_tells_errors_of_the_store(self, place: LocalPlace) -> None:
        """
        To who waits; but one that comes back is waited for.
        """
        here, there = place.process(), place.process()
        result = here.call(Deferred)
        waiting = there.peek(result.stash())
        there.until(lambda: there.stash.status().waiting == 1)
        errors: list[OSError] = [OSError("damaged"), ConnectionError("away")]

        def read(uid: int) -> None:
            raise errors.pop()

        there.stash._store_read = read
        (uid,) = there.stash._remotes
        for left in (1, 0):
            there.in_reactor(lambda: there.stash._look_again_in_reactor(uid, is_owner_gone=False))
            there.until(lambda left=left: len(errors) == left)  # type: ignore[misc]
        with pytest.raises(OSError, match="damaged"):
            waiting.wait(BOUND)
        del there.stash._store_read
        result.cancel()

    def test_gives_up_a_store_that_does_not_answer(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        And then nothing is taken.
        """
        here = place.process()
        uid = here.call(lambda: 7).stash()
        monkeypatch.setattr(shared, "PATIENCE", 0.01)
        is_free = Event()
        here.stash._post(lambda: is_free.wait(BOUND))
        with pytest.raises(crochet.TimeoutError, match="has not been reached"):
            here.take(uid)
        is_free.set()
        monkeypatch.setattr(shared, "PATIENCE", BOUND)
        assert here.take(uid).wait(BOUND) == 7

    def test_says_nothing_of_calls_of_its_own(self, place: LocalPlace) -> None:
        """
        They run here.
        """
        here = place.process()
        assert here.stash.explain(call_of(here.call(lambda: 7))) == ""


class TestReports:
    """
    How far an operation is.
    """

    def _reports(self, here: Here, told: list[Any]) -> Reports:
        return Reports(here.stash.process, lambda reports, then: told.append((reports, then)))

    def test_are_there_and_back(self) -> None:
        """
        As bytes; those of no plain numbers are none.
        """
        now = time.monotonic()
        report = (3, 4, "bytes", now - 1, 1, now - 2)
        back = unpack_report(pack_report(report))
        assert back == pytest.approx(report, abs=1.0)  # type: ignore[arg-type]
        assert pack_report((object(), *report[1:])) == b""  # type: ignore[arg-type]
        assert unpack_report(pack_report(None)) is None

    def test_stay_in_order_however_long_a_look_at_the_clocks_takes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. A thread looks at one. 2. Another goes on. 3. It looks at the other. An older report is
        no news.
        """
        wall, waits = reports.time.time, [0.0]
        monkeypatch.setattr(reports.time, "time", lambda: wall() - waits[0])
        monkeypatch.setattr(reports, "_offsets", [])
        now = clock.monotonic()
        packed = []
        for number, wait in enumerate((0.0, 0.5)):
            waits[0] = wait
            packed.append(pack_report((number, 2, None, now - 1.0 + number / 1000, 0, now - 2.0)))
        ats = []
        for data, wait in zip(packed, (-0.5, 0.5), strict=True):
            waits[0] = wait
            report = unpack_report(data)
            assert report is not None
            ats.append(report[3])
        assert ats[0] < ats[1]
        waits[0] = 3600.0  # it was set
        report = unpack_report(pack_report((1, 2, None, now, 0, now)))
        assert report is not None
        assert abs(report[3] - now) < 0.1

    def test_that_come_before_they_are_listened_for_are_told(self, place: LocalPlace) -> None:
        """
        The interleaving: it was noted what is told, a report comes, and then it is listened for.
        """
        here = place.process()
        told: list[Any] = []
        found = self._reports(here, told)
        running = Reporting(here)
        running.report(1)
        found.follow(5, call_of(running.result), None)
        here.until(lambda: told)
        assert [(uid, unpack_report(data)[0]) for uid, data in told[0][0]] == [(5, 1)]  # type: ignore[index]
        here.in_reactor(running.answer.callback, None)
        found.forget(call_of(running.result))

    def test_are_stored_one_after_the_other(
        self, place: LocalPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What comes while a slow store is at it waits for its end; then the last of it is told.
        """
        monkeypatch.setattr(reports, "PAUSE", 0.0)
        here = place.process()
        told: list[Any] = []
        found = self._reports(here, told)
        running, other = Reporting(here), Reporting(here)
        for uid, each in enumerate((running, other)):
            found.follow(uid, call_of(each.result), None)
        running.report(1)
        here.until(lambda: told)
        running.report(2)
        other.report(3)
        here.in_reactor(lambda: None)
        assert len(told) == 1
        told[0][1]()
        here.until(lambda: len(told) == 2)
        assert [(uid, unpack_report(data)[0]) for uid, data in told[1][0]] == [(1, 3), (0, 2)]  # type: ignore[index]
        for each in (running, other):
            here.in_reactor(each.answer.callback, None)
            found.forget(call_of(each.result))

    def test_of_what_is_answered_are_not_told(self, place: LocalPlace) -> None:
        """
        For the answer brings the last.
        """
        here = place.process()
        told: list[Any] = []
        found = self._reports(here, told)
        running = Reporting(here)
        found.follow(5, call_of(running.result), None)

        def report_and_end() -> None:
            running.report(1)
            running.answer.callback(None)

        here.in_reactor(report_and_end)
        here.until(lambda: not found._news)
        here.in_reactor(lambda: None)
        assert told == []
        found.forget(call_of(running.result))


def test_the_directory_module_looks_without_following_links(tmp_path: Path) -> None:
    """
    A link to a private directory is none.
    """
    (tmp_path / "real").mkdir(0o700)
    os.symlink(tmp_path / "real", tmp_path / "link")
    assert directory._is_private(tmp_path / "real")
    assert not directory._is_private(tmp_path / "link")
