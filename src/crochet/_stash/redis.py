"""
A stash for processes on any machines, on a server of Redis or Valkey.

The hash of a result is its row, with the number in braces, so that a cluster has all of it in one
place; a publish is a hint to read it again. What must always hold, beside what shared.py says:

1. Nothing that comes from the server is parsed before its HMAC was found right. It is over the
   number, the state, the expiry and the body: so no row can be altered, or stand for another. (How
   far an operation is has one of its own, for it changes.)
2. An owner has a lease while it has pending results here, which it renews well before its end. A
   reader that finds neither an answer nor a lease, on the server's clock, knows that it is gone.
   But not while the server was slow or away: then the owner could not renew it either. Who has
   not been in touch with the server does not know whether it was, and gives the owner a while.
3. All keys expire with their result. One that was taken, and is pending beyond its time, is kept by
   its owner, as long as that lives.
4. While the server is away calls go on; answers wait in a bounded queue, and are sent after.

Threads: the worker, which alone gives commands, and a listener, which alone reads what is
published. It is there while a stashed result is pending or waited for, and has a connection of its
own. Both are ended by stop().
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, final
from urllib.parse import urlsplit

from twisted.logger import Logger

from .. import _errors
from .._core.stash import Process
from .._threads import clock
from .._threads.primitives import Waiter, entries_of
from .._threads.worker import Worker
from .answers import MAX_SIZE
from .numbers import MAX_RESULTS
from .serializer import Serializer
from .shared import SMALL, Own, Remote, Row, SharedStash, forget_error, row_of

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError, RedisError, ResponseError
    from redis.retry import Retry
except ImportError as error:
    raise _errors.no_redis() from error

_log = Logger(namespace="crochet")

# Seconds that an owner's lease lasts, and after which it is renewed.
LEASE = 15.0
_RENEWAL = 5.0

# Seconds in which an owner that lives has renewed it once the server is there again; it may have
# been away before a process came to look.
_GRACE = 8.0

# What is in place of a lease when its owner has ended, for so many seconds.
_GONE, _GONE_STAYS = b"0", 86_400.0

# Seconds that one command may take, and its repetition as many once more.
_TIMEOUT = 5.0

# A command that takes longer, in seconds, says that the server was busy or stopped.
_SLOW = 1.0

# Seconds that a row is still there when its answer was taken: others may be about to read it.
_LINGERS = 5.0

# And one, at least, that was taken while it was pending: its taker may be waiting for a server that
# is away. Its owner keeps it for so long again and again, as long as it is pending.
_TAKEN_STAYS = 60.0

# Seconds between two looks at what others have taken, while answered results are stashed.
_HEARING = 60.0

# Seconds that it is listened for when there is nothing to be heard of: more may come.
_IDLE = 1.0

# How many rows are looked at by one command.
_BATCH = 500

# What is signed with a report, so that it cannot stand for a row.
_REPORT = b"report\0"

# How many answers wait for a server that is away.
_MOST_UNSENT = 10_000

# Looks at a row that nobody has taken, with when it expires; and may take it. (No state is secret:
# "p" is for pending.) One that is signed with a key which the taker does not have stays for others.
# The mark is the taker's own, for redis-py sends a command again whose reply was lost. A server
# that was stopped carries out what it was sent once it goes on; so it is told until when, or it
# would take for a process that has given up. The owner is told that it need not keep the result,
# and is to tell the taker the answer, as by _WATCH.
_CLAIM = """
local names = {'data', 'taken', 'state', 'aliased', 'report', 'signer'}
local found = redis.call('HMGET', KEYS[1], unpack(names))
if not found[1] or (found[2] and found[2] ~= ARGV[1]) then return false end
local is_known = false
for index = 8, #ARGV do is_known = is_known or ARGV[index] == found[6] end
if ARGV[1] ~= '' and is_known then
  local now = redis.call('TIME')
  if now[1] + now[2] / 1e6 > tonumber(ARGV[4]) then return 'late' end
  redis.call('HSET', KEYS[1], 'taken', ARGV[1])
  if found[3] == 'p' then
    local left = redis.call('PTTL', KEYS[1])
    if left >= 0 and left < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  elseif not found[4] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  local owner = string.match(string.sub(found[1], 33), '^%["(%x+)"')
  if owner and owner ~= ARGV[5] then
    redis.call('PUBLISH', ARGV[6] .. owner, ARGV[7])
    if found[3] == 'p' and ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'w:' .. ARGV[5], '1') end
  end
end
return {found[1], found[5]}
"""

# Has a row be there again that was taken.
_GIVE_BACK = """
for index, field in ipairs({'data', 'state', 'signer'}) do
  redis.call('HSETNX', KEYS[1], field, ARGV[index])
end
redis.call('HDEL', KEYS[1], 'taken')
if ARGV[4] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""

# Has a row stay for others that are aliases of it.
_ALIAS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HSET', KEYS[1], 'aliased', '1')
if ARGV[1] == '' then
  redis.call('PERSIST', KEYS[1])
else
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
end
"""

# Has a row expire that is no other's alias, with nobody to take it meanwhile.
_DELETE = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'aliased') == 0 then
  redis.call('HSETNX', KEYS[1], 'taken', '1')
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
"""

# Has the owner cancel: by a message, and for one that does not listen yet or just now, by a mark.
_CANCEL = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'cancel', '1') end
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""

# Enters an answer, or how far it is, and tells those that wait for it.
_TELL = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state or (state ~= 'p' and ARGV[5] == '') then return end
if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], 'report', ARGV[1]) end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'data', ARGV[5], 'state', 'a')
  if redis.call('HEXISTS', KEYS[1], 'taken') == 1 then
    local left = redis.call('PTTL', KEYS[1])
    if left >= 0 and left < tonumber(ARGV[6]) then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
  end
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'w:' then
    local channel = ARGV[2] .. string.sub(field, 3)
    if ARGV[1] ~= '' then redis.call('PUBLISH', channel, ARGV[3] .. ARGV[1]) end
    if ARGV[5] ~= '' then redis.call('PUBLISH', channel, ARGV[4]) end
  end
end
"""

# Has the answer told to a process, and returns the row.
_WATCH = """
local found = redis.call('HMGET', KEYS[1], 'data', 'report')
if found[1] then redis.call('HSET', KEYS[1], 'w:' .. ARGV[1], '1') end
return found
"""


@final
class RedisStash(SharedStash):
    """
    Keeps results for all processes, on any machines, that name the same server and have the key.

    Hand it to ``setup(stash=...)``, which calls its methods. It opens nothing before the
    first ``stash()`` or look-up in a process. It needs the extra ``crochet[redis]``.

    Call it from any thread. Never blocks.

    Args:
        url: of the server, as redis-py has them: ``redis://``, ``rediss://`` (whose certificate is
            verified) or ``unix://``, with a user and password if it wants them; or
            ``redis+cluster://`` with one of a cluster's servers, or
            ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE``.
        key: a secret of 16 bytes or more, which all processes have; or several: the first signs,
            and each is good for reading, so that keys can be changed one process at a time.
        prefix: of the keys and channels on the server.
        serializer: makes bytes of values; None is for tagged JSON of plain values.
        allow: classes that may be made from bytes: exceptions, and dataclasses.
        max_size: how many bytes an answer may take.
        max_results: how many results this process may keep; one more is refused.
        evict: delete this process's oldest answered result instead.

    Raises:
        ImportError: redis-py is not there.
        TypeError: *key* is neither text nor bytes, or *allow* has something else.
        ValueError: *url* is none, *key* is too short, or a number too small.
    """

    kind = "redis"

    def __init__(
        self,
        url: str,
        *,
        key: str | bytes | Sequence[str | bytes],
        prefix: str = "crochet",
        serializer: Serializer | None = None,
        allow: Iterable[type] = (),
        max_size: int = MAX_SIZE,
        max_results: int = MAX_RESULTS,
        evict: bool = False,
    ) -> None:
        super().__init__(
            serializer=serializer,
            allow=allow,
            max_size=max_size,
            max_results=max_results,
            evict=evict,
        )
        self._url = url
        self._connect = connector_of(url)
        self._keys = [_key(each) for each in ([key] if isinstance(key, (str, bytes)) else key)]
        if not self._keys:
            raise ValueError("RedisStash has no key to sign with: give one of 16 bytes or more")
        self._prefix = prefix
        self._listener: Worker[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._token = ""  # written when it is reachable; read by any thread
        self._client: Any = None  # the worker makes it; the listener reads it
        self._offset = 0.0  # of the server's clock, in seconds; the worker writes
        self._leased = -math.inf  # when the lease was renewed; the worker writes
        self._in_touch = -math.inf  # when the server was there last; likewise
        self._judges_from = -math.inf  # when a missing lease means something; likewise
        self._next_hearing = -math.inf  # when to ask what others have taken; likewise
        self._lease_ends: dict[str, float] = {}  # those of others, as last seen; likewise
        self._away_since: float | None = None  # the worker and the listener write
        self._unsent: deque[tuple[int, Row]] = deque()  # the worker writes
        self._is_listening = False
        self._is_stopping = False
        self._channel = ""  # the listener writes
        # What it hears by; another one when it has heard of an answer that nobody waited for yet,
        # None while it hears nothing. Likewise.
        self._subscription: object = None
        self._pause = Waiter()  # the listener waits here before another attempt

    def bind(self, process: Process) -> None:
        """
        Belong to a process from now on. Opens nothing.
        """
        super().bind(process)
        self._listener = Worker(
            process.start_thread, "crochet-stash-listener", self._listen, lingers=0.0
        )

    def __repr__(self) -> str:
        parts = urlsplit(self._url)
        where = parts.netloc.rpartition("@")[2]
        return f"RedisStash('{parts.scheme}://{where}{parts.path}')"

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is RedisStash
            and (other._url, other._prefix) == (self._url, self._prefix)
            and other._keys == self._keys
        )

    def __hash__(self) -> int:
        return hash((self._url, self._prefix))

    # Commands. All in the worker.

    def _command(self, work: Callable[[Any], Any]) -> Any:
        """
        Give commands to the server, connected to it if need be.

        Raises:
            ConnectionError: it is away.
        """
        begun = clock.monotonic()
        if begun - self._in_touch > LEASE:
            self._judges_from = max(self._judges_from, begun + _GRACE)
        try:
            if self._client is None:
                client = self._connect()
                seconds, microseconds = client.time()
                self._offset = seconds + microseconds / 1e6 - clock.monotonic()
                self._client = client
            value = work(self._client)
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
                _log.error(
                    "a key of {stash} is not its own ({error}): something else has written it",
                    stash=self,
                    error=error,
                )
                return None
            self._note_away()
            # redis-py quotes the command: a number is secret, and a row may be.
            error.args = (str(error).rpartition("caused error: ")[2],)
            raise _errors.server_away(repr(self), error) from error
        finally:
            if clock.monotonic() - begun > _SLOW:
                self._judges_from = clock.monotonic() + LEASE
        self._away_since, self._in_touch = None, begun
        return value

    def _note_away(self) -> None:
        self._judges_from = clock.monotonic() + LEASE
        if self._away_since is None:
            self._away_since = clock.monotonic()

    def _key_of(self, uid: int) -> str:
        return f"{self._prefix}:{{{uid}}}"

    def _channel_of(self, owner: str) -> str:
        return f"{self._prefix}:to:{owner}"

    def _lease_of(self, owner: str) -> str:
        return f"{self._prefix}:lease:{owner}"

    def _signed(self, uid: int, row: Row) -> bytes:
        head = [*row[:6], row.expires]
        data = json.dumps(head).encode() + b"\0" + row.body
        return _mac(self._keys[0], uid, data) + data

    def _is_signed(self, uid: int, mac: bytes, data: bytes) -> bool:
        if any(hmac.compare_digest(mac, _mac(key, uid, data)) for key in self._keys):
            return True
        _log.error(
            "a result in {stash} was refused: its signature is wrong. It was written with "
            "another key, or was altered there",
            stash=self,
        )
        return False

    def _verified(
        self, uid: int, found: Sequence[bytes | None] | None, *, is_taken: bool = False
    ) -> Row | None:
        """
        Return the row, if it is one that a process with the key has written for that number. One
        that is taken may be past its time.

        Args:
            uid: the number.
            found: what the server has: the row, and how far it is.
            is_taken: it is.
        """
        if not found or found[0] is None:
            return None
        mac, data = found[0][:32], found[0][32:]
        if not self._is_signed(uid, mac, data):
            return None
        head, _, body = data.partition(b"\0")
        owner, host, pid, name, alias, state, expires = json.loads(head)
        if not is_taken and expires is not None and expires < self._now():
            return None
        report = self._verified_report(uid, found[1] or b"")
        return row_of((owner, host, pid, name, alias, state, body, report, expires))

    def _signed_report(self, uid: int, report: bytes) -> bytes:
        return report and _mac(self._keys[0], uid, _REPORT + report) + report

    def _verified_report(self, uid: int, found: bytes) -> bytes:
        mac, report = found[:32], found[32:]
        return report if found and self._is_signed(uid, mac, _REPORT + report) else b""

    def _now(self) -> float:
        """
        Return the time by the server's clock.
        """
        return clock.monotonic() + self._offset

    def _expiry(self, ttl: float) -> float | None:
        return None if ttl == math.inf else self._now() + ttl

    def _store_insert(self, uid: int, ttl: float, row: Row) -> Row:
        key = self._key_of(uid)

        def work(client: Any) -> Row:
            stored = row._replace(host=row.host or socket.gethostname(), expires=self._expiry(ttl))
            # By then the offset is known. An owner has its lease before it has a pending row.
            if row.state == "pending" and row.owner == self._token:
                self._renew_lease(client)
            state = "p" if row.state == "pending" else "a"
            data = self._signed(uid, stored)
            with client.pipeline() as pipe:
                fields = {"data": data, "state": state, "signer": _name_of(self._keys[0])}
                if row.report:
                    fields["report"] = self._signed_report(uid, row.report)
                pipe.hset(key, mapping=fields)
                if ttl != math.inf:
                    # Longer, so that those that wait for it hear that its owner has cancelled it.
                    pipe.pexpire(key, int((ttl + _LINGERS) * 1000))
                pipe.execute()
            if row.alias is not None:
                stays = "" if ttl == math.inf else str(int((ttl + _TAKEN_STAYS) * 1000))
                _run(client, _ALIAS, self._key_of(row.alias), stays)
            return stored

        stored: Row = self._command(work)
        if row.state == "pending":
            self._listen_from_now_on()
        elif clock.monotonic() > self._next_hearing:
            # Nothing listens here for what others take: they are not to be kept for nothing.
            self._next_hearing = clock.monotonic() + _HEARING
            self._post(self._hear_of_own, forget_error)
        return stored

    def _renew_lease(self, client: Any) -> None:
        now = clock.monotonic()
        if now - self._leased >= _RENEWAL - 0.1:
            client.set(self._lease_of(self._token), "1", px=int(LEASE * 1000))
            self._leased = now

    def _store_answer(self, uid: int, row: Row) -> None:
        if len(self._unsent) >= _MOST_UNSENT:
            self._unsent.popleft()
            _log.error("{stash} is away: an answer that waited for it was dropped", stash=self)
        self._unsent.append((uid, row))
        try:
            self._send()
        except OSError:
            self._listen_from_now_on()  # which has it sent as soon as the server is there again

    def _send(self) -> None:
        """
        Enter the answers that wait for it.
        """
        while self._unsent:
            self._command(partial(self._send_one, *self._unsent[0]))
            self._unsent.popleft()

    def _send_one(self, uid: int, row: Row, client: Any) -> None:
        # Nothing is read before: its owner has written the row, and knows it. The script sees
        # whether it is still there.
        data = self._signed(uid, row)
        message = f"A{uid} ".encode() + (data if len(data) <= SMALL else b"")
        self._tell(client, uid, row.report, message, data)

    def _tell(
        self, client: Any, uid: int, report: bytes, message: bytes = b"", data: bytes = b""
    ) -> None:
        signed = self._signed_report(uid, report)
        told = signed, self._channel_of(""), f"P{uid} ", message, data, int(_TAKEN_STAYS * 1000)
        _run(client, _TELL, self._key_of(uid), *told)

    def _store_reports(self, reports: list[tuple[int, bytes]]) -> None:
        for uid, report in reports:
            if self._away_since is not None:
                return  # others are not to wait for that, too
            self._command(partial(self._tell, uid=uid, report=report))

    def _store_claim(self, uid: int, *, take: bool) -> Row | None:
        mark = f"{self._token}-{secrets.token_hex(8)}" if take else ""
        subscription = self._subscription  # before the claim; see _watch_in_reactor()
        found = self._command(partial(self._claim_in_time, uid, mark))
        if found == b"late":  # unless its clock was set
            self._store_close()
            found = self._command(partial(self._claim_in_time, uid, mark))
        row = self._verified(uid, None if found == b"late" else found)
        if row is None or row.state != "pending" or row.owner == self._token:
            return row
        if self._is_gone(row.owner):
            # Who looks again and again is to see at once what a wait has come to before.
            return row._replace(state="lost")
        return row._replace(told_since=subscription) if take and row.alias is None else row

    def _claim_in_time(self, uid: int, mark: str, client: Any) -> Any:
        # A little before this gives up.
        latest = self._now() + 1.8 * _TIMEOUT
        times = int(_LINGERS * 1000), int(_TAKEN_STAYS * 1000), latest
        told = self._token, self._channel_of(""), f"F{uid}"
        names = map(_name_of, self._keys)
        return _run(client, _CLAIM, self._key_of(uid), mark, *times, *told, *names)

    def _store_give_back(self, uid: int, row: Row) -> None:
        def work(client: Any) -> None:
            ends = row.expires
            left = "" if ends is None else max(int((ends - self._now() + _LINGERS) * 1000), 1)
            state = "p" if row.state == "pending" else "a"
            told = self._signed(uid, row), state, _name_of(self._keys[0]), left
            _run(client, _GIVE_BACK, self._key_of(uid), *told)

        self._command(work)

    def _store_read(self, uid: int) -> Row | None:
        found = self._command(lambda client: client.hmget(self._key_of(uid), "data", "report"))
        return self._verified(uid, found, is_taken=True)

    def _store_delete(self, uid: int) -> None:
        lingers = int(_LINGERS * 1000)
        self._command(lambda client: _run(client, _DELETE, self._key_of(uid), lingers))

    def _store_close(self) -> None:
        # At rest there is no connection. The listener has one of its own.
        client, self._client = self._client, None
        if client is not None:
            _close(client)

    # This process as an owner.

    def _owner(self) -> str:
        return self._token

    def _be_reachable_in_reactor(self) -> None:
        self._token = self._token or secrets.token_hex(8)

    def _leave(self) -> Callable[[], object]:
        token, self._token = self._token, ""
        leased, self._leased = self._leased, -math.inf

        def leave() -> None:
            if leased > -math.inf:
                stays = int(_GONE_STAYS * 1000)
                self._command(lambda client: client.set(self._lease_of(token), _GONE, px=stays))

        return leave

    def _tell_watchers_in_reactor(self, uid: int, own: Own) -> None:
        """
        Do nothing: the server has told them.
        """

    def _report_to_watchers_in_reactor(self, own: Own, uid: int, report: bytes) -> None:
        """
        Do nothing: the server tells them.
        """

    # Other processes as owners.

    def _watch_in_reactor(self, remote: Remote) -> None:
        if not self._token:
            self._be_reachable_in_reactor()  # to be told there
        self._listen_from_now_on()
        # Mostly the claim has seen to it that the answer is told here. It may have come since:
        #
        # 1. The worker notes the subscription, then claims. The reactor thread enters the wait,
        #    then compares the subscription.
        # 2. The listener hears an answer, looks for a wait, and if there is none, changes the
        #    subscription; then it has the reactor thread give the answer to those that wait. With a
        #    new connection it changes the subscription, then asks anew for all that wait.
        #
        # Verdict: the wait is entered before the listener looks, and gets the answer, or finds
        # another subscription, and looks at the row.
        if remote.row.told_since is None or remote.row.told_since is not self._subscription:
            self._watch(remote.uid, remote.row.owner)

    def _watch(self, uid: int, owner: str) -> None:
        """
        Have the answer told to this process, and look whether it is there, or lost.
        """
        call = self.process.bridge.call

        def work() -> tuple[Row | None, bool]:
            found = self._command(
                lambda client: _run(client, _WATCH, self._key_of(uid), self._token)
            )
            return self._verified(uid, found, is_taken=True), self._is_gone(owner)

        def tell(found: tuple[Row | None, bool] | None, error: BaseException | None) -> None:
            # An error is none of the wait's: it goes on until the server is there again.
            if found is not None:
                row, is_gone = found
                if row is not None:
                    call(self._hear_report_in_reactor, uid, row.report)
                if row is None or row.state != "pending" or is_gone:
                    call(self._look_again_now_in_reactor, uid, is_gone or row is None)

        self._post(work, tell)

    def _look_again_now_in_reactor(self, uid: int, is_gone: bool) -> None:
        self._look_again_in_reactor(uid, is_owner_gone=is_gone)

    def _is_gone(self, owner: str) -> bool:
        lease, now = self._lease_of(owner), clock.monotonic()
        ends = self._lease_ends.get(owner, 0.0)
        if now < ends:
            return False  # nobody can tell before; and one that ends in order says so in its rows
        value, left = self._command(partial(_each, [("get", lease), ("pttl", lease)]))
        if value == _GONE:
            return True  # another has found out, or it has said so itself
        self._lease_ends[owner] = self._judges_from if value is None else now + left / 1000
        if value is not None or now < self._judges_from:
            return False
        stays = int(_GONE_STAYS * 1000)
        # Unless it comes back just now.
        return bool(self._command(lambda client: client.set(lease, _GONE, px=stays, nx=True)))

    def _cancel_in_reactor(self, remote: Remote) -> None:
        uid, channel = remote.uid, self._channel_of(remote.row.owner)
        self._post(
            lambda: self._command(
                lambda client: _run(client, _CANCEL, self._key_of(uid), channel, f"C{uid}")
            )
        )

    def _tell_taken_in_reactor(self, uid: int, row: Row) -> None:
        """
        Do nothing: the server has told it.
        """

    def _say(self, channel: str, message: str) -> None:
        self._post(
            lambda: self._command(lambda client: client.publish(channel, message)), forget_error
        )

    # The listener.

    def _listen_from_now_on(self) -> None:
        # 1. What is to be listened for is entered; then this looks. 2. The listener writes False,
        # and then looks whether there is something. So one of the two goes on.
        if not self._is_listening and self._listener is not None:
            self._is_listening = True
            self._listener.post(None)

    def _has_to_listen(self) -> bool:
        is_needed = bool(self._remotes or self._unsent) or self._has_pending()
        return is_needed and not self._is_stopping

    def _listen(self, _: None) -> None:
        failures = 0
        while True:
            self._is_listening = True
            if not self._has_to_listen():
                self._is_listening = False
                if not self._has_to_listen():
                    return
                continue
            try:
                self._listen_until_it_fails()
                failures = 0
            except (RedisError, OSError):
                # Said by status(), and by the waits that end meanwhile.
                self._note_away()
                self._pause.wait(min(0.05 * 2**failures, 2.0))
                failures = min(failures + 1, 10)

    def _listen_until_it_fails(self) -> None:
        client = self._connect()
        try:
            with client.pubsub() as pubsub:
                self._channel = self._channel_of(self._token)
                pubsub.subscribe(self._channel)
                now = renewal = needed = clock.monotonic()
                while True:
                    is_needed = self._has_to_listen()  # once: it looks at all that is stashed
                    if is_needed:
                        needed = now
                    elif self._is_stopping or now >= needed + _IDLE:
                        break
                    if now >= renewal:
                        self._post(self._look_after_all, forget_error)
                        # Sooner, for an owner whose lease ends by then. That was looked up last
                        # time: of one that lives, it is renewed before.
                        first = min(entries_of(self._lease_ends.values()), default=math.inf)
                        renewal = now + min(_RENEWAL, max(first - now, 0.0) + 0.2)
                    left = renewal - now if is_needed else needed + _IDLE - now
                    message = pubsub.get_message(timeout=max(left, 0.0))
                    if message is not None:
                        self._heard(message)
                    now = clock.monotonic()
        finally:
            self._subscription = None
            _close(client)

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._subscription = object()  # before looking who waits; see _watch_in_reactor()
            # What was told before, or while the server was away, was told to nobody.
            self._post(self._look_after_all, forget_error)
            self._post(self._hear_of_own, forget_error)
            for uid, remotes in entries_of(self._remotes.items()):
                for remote in tuple(remotes)[:1]:
                    self._watch(uid, remote.row.owner)
        if message["type"] != "message":
            return
        head, _, data = bytes(message["data"]).partition(b" ")
        if not head[1:].isdigit() or len(head) > 20:
            return
        letter, uid = head[:1], int(head[1:])
        call = self.process.bridge.call_from_thread  # not call(), which takes longer: they wait
        if letter == b"P":
            call(self._hear_report_in_reactor, uid, self._verified_report(uid, data))
            return
        if letter == b"A" and uid not in self._remotes:
            self._subscription = object()  # before the answer is given; likewise
        row = self._verified(uid, [data, None], is_taken=True) if data and letter == b"A" else None
        if row is None or row.state in ("pending", "lost"):
            call(self._heard_in_reactor, letter, uid)
        else:  # it is signed, and an answer does not change
            call(self._answer_in_reactor, uid, row)

    def _heard_in_reactor(self, letter: bytes, uid: int) -> None:
        # Anybody who can publish there can say so: it is a hint, or does what a taker may do.
        own = self._own.get(uid)
        if letter == b"A":
            self._look_again_in_reactor(uid, is_owner_gone=False)
        elif letter == b"C" and own is not None:
            own.result.cancel()
        elif letter == b"F":
            self._post(partial(self._forget_taken, uid))  # after _hear_of_own()

    def _look_after_all(self) -> None:
        """
        Renew the lease, send what waits for it, and look for owners that are gone.
        """
        if self._has_pending():
            self._command(self._renew_lease)
            self._keep_taken()
        self._send()
        owners = {
            uid: remote.row.owner
            for uid, remotes in entries_of(self._remotes.items())
            for remote in tuple(remotes)
        }
        gone = {owner for owner in set(owners.values()) if self._is_gone(owner)}
        ends = self._lease_ends
        self._lease_ends = {owner: ends[owner] for owner in {*owners.values()} if owner in ends}
        # A message may have been lost, and the server can lose a row.
        for uid, (state, *_) in self._marks_of(list(owners)):
            if state != b"p" or owners[uid] in gone:
                is_gone = owners[uid] in gone
                self.process.bridge.call(self._look_again_now_in_reactor, uid, is_gone)

    def _keep_taken(self) -> None:
        """
        Have rows stay that others have taken, while they are pending here.
        """
        kept = set(self._table.uids())
        taken = [self._key_of(uid) for uid, _ in entries_of(self._own.items()) if uid not in kept]
        for first in range(0, len(taken), _BATCH):
            some = taken[first : first + _BATCH]
            ends = self._command(partial(_each, [("pttl", key) for key in some]))
            # Those without an end, and those that are gone, have less than none left.
            least = _TAKEN_STAYS * 500
            soon = [key for key, left in zip(some, ends, strict=True) if 0 <= left < least]
            stays = int(_TAKEN_STAYS * 1000)
            self._command(partial(_each, [("pexpire", key, stays) for key in soon]))

    def _hear_of_own(self) -> None:
        """
        Do what others have asked for while nothing listened here.
        """
        pending = [uid for uid, _ in entries_of(self._own.items())]  # also what is taken
        for uid, (state, taken, cancel) in self._marks_of([*{*pending, *self._table.uids()}]):
            own = self._own.get(uid)
            result = self._table.get(uid) if state == b"p" and own is None else None
            row = self._store_read(uid) if result is not None and result.done() else None
            if result is not None and row is not None:
                # The server has come back with an older state than it had.
                kind, body, report = self._answer_of(result)
                self._store_answer(uid, row._replace(state=kind, body=body, report=report))
            if cancel is not None and own is not None:
                own.result.cancel()
            # One without a row may be about to get it, and who takes it here has it in hand.
            if taken is not None and not taken.startswith(f"{self._token}-".encode()):
                self._forget_taken(uid)

    def _marks_of(self, uids: list[int]) -> Iterator[tuple[int, list[bytes | None]]]:
        """
        Look at what is not secret of rows: their states, and whether they are taken and cancelled.
        """
        for first in range(0, len(uids), _BATCH):
            some = uids[first : first + _BATCH]

            rows = [("hmget", self._key_of(uid), "state", "taken", "cancel") for uid in some]
            yield from zip(some, self._command(partial(_each, rows)), strict=True)

    def stop(self, timeout: float) -> bool:
        """
        Have all answers stored, and give back what is open. Blocks up to *timeout* seconds.

        Returns:
            Whether that was done.
        """
        end = clock.monotonic() + timeout
        self._is_stopping = True
        try:
            if self._is_listening:
                self._pause.put(None)
                self._say(self._channel, "S")
            self._post(self._hear_of_own, forget_error)
            has_ended = self._listener is None or self._listener.stop(timeout)
            return super().stop(max(end - clock.monotonic(), 0.0)) and has_ended
        finally:
            self._is_stopping = False
            if self._unsent:
                _log.error(
                    "{stash} is away: {number} answers of stashed results wait for it. They are "
                    "lost if this process ends now",
                    stash=self,
                    number=len(self._unsent),
                )

    def _connection(self) -> str:
        since = self._away_since
        if since is not None:
            return f"away for {clock.monotonic() - since:.3g} s"
        return "connected" if self._client is not None else "not connected"

    def explain(self, call: Any) -> str:
        """
        Tell more of a call that is a wait for another process. Thread-safe. Never blocks.
        """
        text = super().explain(call)
        since = self._away_since
        if text and since is not None:
            text = f"{text} {self!r} has been away for {clock.monotonic() - since:.3g} s."
        return text

    def after_fork_in_child(self) -> None:
        """
        Begin anew, in a forked child. redis-py closes what it finds to be a parent's.
        """
        super().after_fork_in_child()
        if self._listener is not None:
            self._listener.after_fork_in_child()
        self._begin()


def connector_of(url: str) -> Callable[[], Any]:
    """
    Return what makes a client for a URL. It opens nothing.

    Raises:
        ValueError: it is no such URL.
    """
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
        # A connection that the server has closed meanwhile is noticed by the first command.
        "retry": Retry(NoBackoff(), 1),
    }
    scheme, _, rest = url.partition("://")
    if scheme in ("redis", "rediss", "unix"):
        redis.ConnectionPool.from_url(url)  # raises ValueError, and opens nothing
    if scheme in ("redis", "unix"):
        return lambda: redis.Redis.from_url(url, **options)
    if scheme == "rediss":
        return lambda: redis.Redis.from_url(url, ssl_check_hostname=True, **options)
    if scheme in ("redis+cluster", "rediss+cluster"):
        from redis.cluster import RedisCluster

        del options["retry"]  # it has its own
        address = f"{scheme.partition('+')[0]}://{rest}"
        return lambda: RedisCluster.from_url(address, **options)
    if scheme == "redis+sentinel":
        return _sentinel(rest, options)
    raise ValueError(f"RedisStash knows no {scheme!r}: give a URL of redis:// and its kin")


def _close(client: Any) -> None:
    """
    Close all that a client has open. redis-py leaves to the garbage collector what that of a
    cluster has with its nodes, and that of sentinels with these.
    """
    if hasattr(client, "disconnect_connection_pools"):
        client.disconnect_connection_pools()
    client.close()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        sentinel.close()


def _sentinel(rest: str, options: dict[str, Any]) -> Callable[[], Any]:
    from redis.sentinel import Sentinel

    hosts, _, service = rest.partition("/")
    addresses: list[tuple[str, int]] = []
    for each in hosts.split(","):
        host, _, port = each.rpartition(":")
        if not host or not port.isdigit() or not service:
            raise ValueError("RedisStash wants redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
        addresses.append((host, int(port)))
    sentinel: Any = Sentinel
    # The options are for sentinels, too: redis-py's own have it ask one that is gone for seconds.
    return lambda: sentinel(addresses, sentinel_kwargs=options, **options).master_for(service)


def _key(key: str | bytes) -> bytes:
    found = key.encode() if isinstance(key, str) else key
    if type(found) is not bytes:
        raise TypeError(f"a key of RedisStash is text or bytes, not {type(key).__name__}")
    if len(found) < 16:
        raise ValueError(
            f"a key of RedisStash has 16 bytes or more, this one {len(found)}: make one with "
            "secrets.token_hex(), and give it to all processes"
        )
    return found


def _each(commands: list[tuple[Any, ...]], client: Any) -> list[Any]:
    """
    Give many commands at once.
    """
    with client.pipeline(transaction=False) as pipe:
        for name, *arguments in commands:
            getattr(pipe, name)(*arguments)
        # A row that is none, of another type than ours, is not to spoil it for the others.
        found = list(pipe.execute(raise_on_error=False))
    for index, each in enumerate(found):
        if isinstance(each, ResponseError) and "WRONGTYPE" in str(each):
            found[index] = [None] * 3
        elif isinstance(each, Exception):
            raise each
    return found


def _run(client: Any, script: str, key: str, *arguments: Any) -> Any:
    """
    Run a script on a key; it is sent only to a server that does not know it.
    """
    try:
        return client.evalsha(_digest_of(script), 1, key, *arguments)
    except NoScriptError:
        return client.eval(script, 1, key, *arguments)


@cache
def _digest_of(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _mac(key: bytes, uid: int, data: bytes) -> bytes:
    return hmac.digest(key, uid.to_bytes(8, "big") + data, "sha256")


def _name_of(key: bytes) -> str:
    """
    Tell one key from another. Nothing can be signed with it, or read out of it.
    """
    return _mac(key, 0, b"name\0")[:8].hex()
