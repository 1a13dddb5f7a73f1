"""
What stashes have in common that several processes share.

The store, a file or a server, has a row for each number. What must always hold:

1. The row decides. Who takes a result has marked its row, or deleted it, in one step of the store:
   of any number of processes and threads, one. Messages between processes are hints; after each,
   and after each loss of a connection, the row is read again.
2. An answer is in its row before its owner forgets it. So a reader that finds neither an answer
   nor an owner knows that the result is lost.
3. A result in its own process is the very object, and there its row is all that is looked at.
4. Only the worker talks to the store. A thread waits for it, for a bounded time; the reactor
   thread never does: it gets a pending result instead.

A pending result of another process is an ordinary call whose body waits for a hint; see ``Remote``.
If its taker stashes it again, the new row is an alias of the first: the owner need not know.

Threads: ``put``, ``take`` and ``peek`` are called by any; ``_store_*`` run in the worker's; methods
that end in ``_in_reactor`` in the reactor's. ``_own`` and ``_remotes`` are read by any.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import _errors
from .._core.call import Call
from .._core.deadline import get_end
from .._core.progress import progress_of
from .._core.result import EventualResult, call_of
from .._core.stash import TTL, Process, Stash, StashStatus
from .._threads import clock
from .._threads.primitives import Latch, Waiter, claim, entries_of
from .._threads.timeouts import Seconds
from .._threads.worker import Worker
from .answers import MAX_SIZE, Codec
from .calls import Outcome, answered, begin, collect, name_of, outcome_of
from .memory import MemoryStash, new_uid
from .numbers import MAX_RESULTS, number_of, ttl_seconds
from .reports import Reports, pack_report, unpack_report
from .serializer import Serializer

if TYPE_CHECKING:
    from .._core.bridge import CallFromThread

T = TypeVar("T")

_log = Logger(namespace="crochet")

# Seconds that a thread waits for the store, unless a deadline makes them fewer.
PATIENCE = 10.0

# Seconds before another attempt to store an answer.
_RETRY = 5.0

# Bytes of an answer that the reactor thread sends, and makes a value of. The worker does the rest.
SMALL = 16_384


class Row(NamedTuple):
    """
    What the store has of a result.

    Attributes:
        owner: the name of the process that runs it.
        host: the name of its machine.
        pid: its process id.
        name: of the function called.
        alias: the number that its owner knows it by, if that is another.
        state: what has become of it.
        body: the bytes of the answer.
        report: those of how far it is, or was; see reports.py.
        expires: when its time is over, by the store's clock; None for never. Of one that was read.
        told_since: what says that its answer is told to this process since it was claimed, if so.
    """

    owner: str
    host: str
    pid: int
    name: str
    alias: int | None
    state: str
    body: bytes
    report: bytes = b""
    expires: float | None = None
    told_since: object = None


def row_of(columns: Iterable[Any]) -> Row:
    """
    Return a row that was read, of its columns in their order. It shares its words with others, for
    thousands may be waited for, of few owners.
    """
    row = Row(*columns)
    owner, host, name, state = map(intern, (row.owner, row.host, row.name, row.state))
    return row._replace(owner=owner, host=host, name=name, state=state)


class Found(NamedTuple):
    """
    A row that a look has found, and its answer if it has one. If it is pending and was taken by its
    own process, that has the result.
    """

    row: Row
    outcome: Outcome | None = None
    own: EventualResult[Any] | None = None


class Own:
    """
    A pending result that this process has stashed.
    """

    __slots__ = ("answer", "is_kept", "result", "row", "watchers")

    def __init__(self, result: EventualResult[Any]) -> None:
        self.result = result
        self.row: Row | None = None  # as it was stored; the worker's
        # Who is to have the answer as soon as it is there. Reactor thread only.
        self.watchers: set[Any] = set()
        # Its state, bytes and last report, once it has any, if they are few. Written before the
        # job that stores it is posted, or by that.
        self.answer: tuple[str, bytes, bytes] | None = None
        # Whether somebody elsewhere may still want it. False once its own process has taken it.
        self.is_kept = True


class Remote:
    """
    A pending result of another process, which this one waits for.
    """

    __slots__ = ("begun", "is_answered", "is_kept", "result", "row", "uid", "waiting")

    def __init__(self, uid: int, row: Row, is_kept: bool) -> None:
        self.uid = uid  # that the owner knows
        self.row = row
        # Whether its row stays when the answer has come: others may come for it.
        self.is_kept = is_kept
        self.is_answered = False  # by its owner, or for its loss; the reactor thread writes
        self.result: EventualResult[Any] | None = None
        # Opened when its owner was asked, or never will be. None when nobody waits for that.
        self.begun: Latch | None = Latch()
        # Fires with the answer. Reactor thread only; None before the call has started.
        self.waiting: Deferred[Outcome] | None = None


class SharedStash(ABC):
    """
    Keeps results where other processes find them.
    """

    kind = "shared"

    def __init__(
        self,
        *,
        serializer: Serializer | None = None,
        allow: Iterable[type] = (),
        max_size: int = MAX_SIZE,
        max_results: int = MAX_RESULTS,
        evict: bool = False,
    ) -> None:
        self._codec = Codec(serializer, allow, max_size)
        self._table = MemoryStash(
            max_results=max_results, evict=evict, on_evict=self._delete_evicted
        )
        self._own: dict[int, Own] = {}
        self._remotes: dict[int, list[Remote]] = {}
        # Which pending results are those of other processes.
        self._remote_of: dict[Call, Remote] = {}
        # While drain() waits: is released by each answer.
        self._drain: Waiter | None = None
        self._process: Process | None = None
        self._before: Stash | None = None  # has what this process has stashed before
        self._worker: Worker[_Job] | None = None
        self._reports: Reports | None = None

    def bind(self, process: Process) -> None:
        """
        Belong to a process from now on. Opens nothing.

        Raises:
            RuntimeError: it belongs to another already.
        """
        if self._process is not None:
            raise RuntimeError(f"{self!r} is used already; make another object for this process")
        self._process = process
        self._before = process.bridge.stash
        self._table.bind(process)
        self._reports = Reports(process, self._tell_reports_in_reactor)
        self._worker = Worker(
            process.start_thread, "crochet-stash", _Job.run, end=self._store_close, lingers=1.0
        )

    @property
    def process(self) -> Process:
        """
        The process that it belongs to.
        """
        assert self._process is not None
        return self._process

    # What a stash of a certain kind does.

    @abstractmethod
    def _store_insert(self, uid: int, ttl: float, row: Row) -> Row:
        """
        Add a row, in the worker, and return it as it is there. That of which it is an alias stays
        as long, whoever takes it.
        """

    @abstractmethod
    def _store_answer(self, uid: int, row: Row) -> None:
        """
        Enter an answer, and the last report, if there is such a row, taken or not. In the worker.
        """

    @abstractmethod
    def _store_reports(self, reports: list[tuple[int, bytes]]) -> None:
        """
        Enter how far pending results are. In the worker.
        """

    @abstractmethod
    def _store_claim(self, uid: int, *, take: bool) -> Row | None:
        """
        Look for a row that nobody has taken; and take it: mark it, or if it has an answer, delete
        it. A marked one stays for its taker. In the worker.
        """

    @abstractmethod
    def _store_give_back(self, uid: int, row: Row) -> None:
        """
        Have a row that was just claimed be there for others again. In the worker.
        """

    @abstractmethod
    def _store_read(self, uid: int) -> Row | None:
        """
        Look for a row, taken or not. In the worker.
        """

    @abstractmethod
    def _store_delete(self, uid: int) -> None:
        """
        Delete a row, if it is there and no other is an alias of it. In the worker.
        """

    @abstractmethod
    def _store_close(self) -> None:
        """
        Give back what this thread has of the store. In the worker.
        """

    @abstractmethod
    def _leave(self) -> Callable[[], object]:
        """
        Be no owner any more. Return what says so to others, to be called in the worker.
        """

    @abstractmethod
    def _be_reachable_in_reactor(self) -> None:
        """
        Let other processes ask for this one's results, from now on.
        """

    @abstractmethod
    def _owner(self) -> str:
        """
        Return this process's name among the others; empty if they cannot reach it.
        """

    @abstractmethod
    def _watch_in_reactor(self, remote: Remote) -> None:
        """
        Have ``_answer_in_reactor()`` called when there is an answer, or it is lost.
        """

    @abstractmethod
    def _cancel_in_reactor(self, remote: Remote) -> None:
        """
        Ask the owner to cancel.
        """

    @abstractmethod
    def _tell_taken_in_reactor(self, uid: int, row: Row) -> None:
        """
        Tell the owner that it need not keep a result any more.
        """

    @abstractmethod
    def _tell_watchers_in_reactor(self, uid: int, own: Own) -> None:
        """
        Send the answer to those that wait for it.
        """

    @abstractmethod
    def _report_to_watchers_in_reactor(self, own: Own, uid: int, report: bytes) -> None:
        """
        Send them how far it is.
        """

    @abstractmethod
    def _connection(self) -> str:
        """
        Return how this process is connected to the others, in words. From any thread.
        """

    # Results of this process.

    def put(self, result: EventualResult[Any], ttl: Seconds = TTL) -> int:
        """
        Keep a result and return its number. From any thread; blocks until the store has it, but in
        the reactor thread.

        Raises:
            OSError: the store cannot be reached.
            RuntimeError: there are as many as may be.
            TypeError: *ttl* is no number.
            ValueError: *ttl* is not above zero.
        """
        limit = ttl_seconds(ttl)
        remote = self._remote_of.get(call_of(result))
        if remote is not None and not result.done():
            return self._put_again(remote, limit)
        self._be_reachable(result)
        uid = self._table.put(result, limit)
        own = self._own[uid] = Own(result)
        try:
            self._do(_Job(partial(self._insert, uid, own, limit)))
        except BaseException:
            self._table.pop(uid)
            self._own.pop(uid, None)
            # A signal handler's exception does not keep the row from being added.
            self._post(partial(self._store_delete, uid), forget_error)
            raise
        return uid

    def _delete_evicted(self, uid: int) -> None:
        self._post(partial(self._store_delete, uid))

    def _put_again(self, remote: Remote, ttl: float) -> int:
        remote.is_kept = True  # before it looks for the answer: see _on_remote_end()
        uid = new_uid()
        assert remote.result is not None
        report = pack_report(call_of(remote.result).reported)
        row = remote.row._replace(alias=remote.uid, state="pending", body=b"", report=report)
        self._do(_Job(partial(self._store_insert, uid, ttl, row)))
        if not remote.result.done():
            return uid
        # It was answered meanwhile, and its row may be gone. It is an answer of this process now.
        self._post(partial(self._store_delete, uid))
        return self.put(remote.result, ttl)

    def _be_reachable(self, result: EventualResult[Any]) -> None:
        if self._owner():
            return
        bridge = self.process.bridge
        if bridge.is_reactor_thread():
            self._be_reachable_in_reactor()
            return
        try:
            begin(bridge, "stash", self._be_reachable_in_reactor).wait(PATIENCE)
        except _errors.ReactorStopped:
            if not result.done():  # an answer needs no owner
                raise

    def _insert(self, uid: int, own: Own, ttl: float) -> None:
        # 1. The answer comes. 2. This looks for it. 3. This has it told when it comes.
        # Verdict: a done callback that is added after the answer is called at once.
        result = own.result
        state, body = self._packed(result) if result.done() else ("pending", b"")
        told = call_of(result).reported
        owner, report = self._owner(), pack_report(told)
        row = Row(owner, "", os.getpid(), name_of(result), None, state, body, report)
        try:
            own.row = self._store_insert(uid, ttl, row)
        except BaseException:
            self._own.pop(uid, None)
            raise
        if state == "pending":
            assert self._reports is not None
            self._reports.follow(uid, call_of(result), told)
            result.add_done_callback(partial(self._on_answer, uid))
        else:
            self._own.pop(uid, None)

    def _on_answer(self, uid: int, result: EventualResult[Any]) -> None:
        own = self._own.get(uid)
        if own is not None and own.watchers and self.process.bridge.is_reactor_thread():
            # They wait, and to go by the worker takes as long as all the rest of the way.
            outcome = outcome_of(result)
            if outcome.error is None and self._codec.is_small(outcome.value):
                own.answer = self._answer_of(result)
                self._tell_watchers_in_reactor(uid, own)
        self._post(partial(self._publish, uid, result))

    def _publish(self, uid: int, result: EventualResult[Any]) -> None:
        """
        Tell the answer of a result of this process, in the worker.
        """
        assert self._reports is not None
        own = self._own.get(uid)
        if own is None:
            self._reports.forget(call_of(result))
            return
        keeps = False
        try:
            if own.is_kept or own.watchers or own.answer:
                answer = own.answer or self._answer_of(result)
                state, body, report = answer
                if len(body) <= SMALL and state != "lost":
                    own.answer = answer
                    if own.watchers:  # before it is stored: they wait
                        self.process.bridge.call(self._tell_watchers_in_reactor, uid, own)
                assert own.row is not None
                self._store_answer(uid, own.row._replace(state=state, body=body, report=report))
        except OSError:
            # The disk is full, or somebody has locked the file for long. It is asked for here, and
            # stored later. When the reactor ends, it is lost.
            keeps = self.process.bridge.refusal is None
            if keeps:
                self.process.bridge.call(self._publish_later_in_reactor, uid, result)
            raise
        finally:
            # What asks from now on has to look at the row: LocalStash.received_in_reactor().
            if not keeps:
                self._own.pop(uid, None)
            self._reports.forget(call_of(result))
            if own.watchers and not keeps:
                self.process.bridge.call(self._tell_watchers_in_reactor, uid, own)
            drain = self._drain
            if drain is not None:
                drain.put(None)

    def _publish_later_in_reactor(self, uid: int, result: EventualResult[Any]) -> None:
        self.process.get_reactor().callLater(_RETRY, self._on_answer, uid, result)

    def _tell_reports_in_reactor(
        self, reports: list[tuple[int, bytes]], then: Callable[[], object]
    ) -> None:
        for uid, report in reports:
            own = self._own.get(uid)
            if own is not None and own.watchers:
                self._report_to_watchers_in_reactor(own, uid, report)
        # A store that is away is no news to who reports, and those that wait are told of it.
        self._post(partial(self._store_reports, reports), lambda value, error: then())

    def _answer_of(self, result: EventualResult[Any]) -> tuple[str, bytes, bytes]:
        return (*self._packed(result), pack_report(call_of(result).reported))

    def _packed(self, result: EventualResult[Any]) -> tuple[str, bytes]:
        value, error, frames, is_cancelled = outcome_of(result)
        if error is None:
            return self._codec.pack(name_of(result), value)
        if isinstance(error, _errors.ReactorStopped) and self.process.bridge.refusal is not None:
            return "lost", b""
        return self._codec.pack_error(error, frames, is_cancelled=is_cancelled)

    # Results of any process.

    def take(self, result_id: int | str) -> EventualResult[Any]:
        """
        Take out the result of that number: of any number of takers, one does. From any thread;
        blocks until the store has told, but in the reactor thread, where it returns a pending one.

        Raises:
            KeyError: there is none, or no more.
            OSError: the store cannot be reached.
            ReactorStopped: it is pending, and there is no reactor to wait for it.
        """
        return self._find(result_id, take=True)

    def peek(self, result_id: int | str) -> EventualResult[Any]:
        """
        Return the result of that number, which stays. Likewise.
        """
        return self._find(result_id, take=False)

    def _find(self, result_id: int | str, *, take: bool) -> EventualResult[Any]:
        uid = number_of(result_id)
        if not 0 <= uid < 2**63:
            _log.debug("what was asked for is the number of no result")
            raise _errors.no_result()
        bridge = self.process.bridge
        if bridge.is_reactor_thread():
            return begin(bridge, "retrieve_result", self._find_in_reactor, uid, take)
        job = _Job(partial(self._claim, uid, take))
        try:
            found = self._do(job)
            if found is not None:
                return self._result_of(uid, found, take)
        except BaseException:
            self._give_back_later(uid, job, take)
            raise
        finally:
            del job  # the traceback holds this frame
        return self._result_before(uid, take)

    async def _find_in_reactor(self, uid: int, take: bool) -> Any:
        found: Deferred[Found | None] = Deferred()
        call = self.process.bridge.call

        def tell(value: Found | None, error: BaseException | None) -> None:
            fire = found.callback if error is None else found.errback
            call(_fire, found, fire, value if error is None else error)

        job = _Job(partial(self._claim, uid, take), tell)
        self._post_job(job)
        try:
            claimed = await found
            result = None if claimed is None else self._result_of(uid, claimed, take)
        except BaseException:
            self._give_back_later(uid, job, take)
            raise
        finally:
            del job
        return await (self._result_before(uid, take) if result is None else result)

    def _claim(self, uid: int, take: bool) -> Found | None:
        row = self._store_claim(uid, take=take)
        if row is None:
            if not self._has_some_before():
                why = self._why_not(uid)
                _log.debug("no result is stashed under the number asked for: {why}", why=why)
            return None
        if row.state != "pending":
            # Here: it may take long, and no signal handler's exception comes to this thread.
            return Found(row, self._unpacked(row))
        if take and row.owner == self._owner() and row.alias is None:
            own = self._own.get(uid)
            if own is not None:
                # It is taken by its own process: nobody elsewhere will ask for the answer.
                own.is_kept = False
                self._store_delete(uid)
                return Found(row, own=own.result)
        return Found(row)

    def _why_not(self, uid: int) -> str:
        """
        Tell why nothing was found, as far as the store knows. In the worker.
        """
        return "unknown, or gone, for it was taken or has outlived its ttl"

    def _give_back_later(self, uid: int, job: _Job, take: bool) -> None:
        """
        Have a result be there for others whose taker gets an exception instead: of a signal
        handler, at the end of its time, or for want of a reactor to wait in.
        """
        if take and not claim(job, "work"):  # it was begun
            self._post(partial(self._give_back, uid, job))  # which comes after it

    def _give_back(self, uid: int, job: _Job) -> None:
        if job.value is None:
            return  # it has found nothing
        row, _, mine = job.value
        for remote in entries_of(self._remote_of.values()):
            # A wait that it has begun goes on, and is not to delete the row when it ends.
            if remote.uid == (uid if row.alias is None else row.alias):
                remote.is_kept = True
        self._store_give_back(uid, row)
        own = self._own.get(uid)
        if own is not None:
            own.is_kept = True
        elif mine is not None:
            # It was answered while it was taken, and that was stored nowhere.
            state, body, report = self._answer_of(mine)
            self._store_answer(uid, row._replace(state=state, body=body, report=report))

    def _result_before(self, uid: int, take: bool) -> EventualResult[Any]:
        before = self._before
        if before is None or not self._has_some_before():
            raise _errors.no_result()
        return before.take(uid) if take else before.peek(uid)

    def _has_some_before(self) -> bool:
        return self._before is not None and self._before.status().kept > 0

    def _result_of(self, uid: int, found: Found, take: bool) -> EventualResult[Any]:
        row, outcome, _ = found
        mine = self._table.pop(uid) if take else self._table.get(uid)
        if mine is not None:
            return mine
        bridge = self.process.bridge
        known = row.alias if row.alias is not None else uid
        own = self._own.get(known)
        if own is not None:  # another process has taken it, and stashed it again
            return own.result
        if outcome is None:
            return self._remote(known, row, take)
        if take and row.owner:
            bridge.call(self._tell_taken_in_reactor, uid, row)
        result = answered(bridge, row.name, outcome, unpack_report(row.report))
        if not take:
            collect(result)  # an error is not lost if this looker drops it
        return result

    def _unpacked(self, row: Row) -> Outcome:
        if row.state == "lost":
            progress = progress_of(unpack_report(row.report))
            return Outcome(None, _errors.lost(row.name, row.host, row.pid, progress))
        value, error = self._codec.unpack(row.state, row.body)
        return Outcome(value, error, is_cancelled=row.state == "cancelled")

    # Pending results of other processes.

    def _remote(self, uid: int, row: Row, take: bool) -> EventualResult[Any]:
        for remote in tuple(self._remotes.get(uid, ())):
            # Somebody in this process waits for it already. Two threads that come here at once
            # both begin to, which does no harm.
            if remote.result is not None and not remote.result.done():
                if take and row.alias is None:
                    remote.is_kept = False
                return remote.result
        remote = Remote(uid, row, is_kept=not take or row.alias is not None)
        bridge, reported = self.process.bridge, unpack_report(row.report)
        result = begin(bridge, row.name, self._wait_in_reactor, remote, reported=reported)
        remote.result = result
        self._remote_of[call_of(result)] = remote
        result.add_done_callback(partial(self._on_remote_end, remote))
        if not take:
            result.add_done_callback(collect)
        if not self.process.bridge.is_reactor_thread():
            # A call that is cancelled before it has begun answers at once, and says so. This one
            # runs in its owner, so let it begin before the program has it.
            begun = remote.begun
            if begun is not None:
                begun.wait(PATIENCE)
        return result

    def _wait_in_reactor(self, remote: Remote) -> Deferred[Any]:
        self._remotes.setdefault(remote.uid, []).append(remote)
        waiting = self._next_in_reactor(remote)
        waiting.addBoth(self._end_wait_in_reactor, remote)
        try:
            self._watch_in_reactor(remote)
        except OSError:
            waiting.errback(Failure())  # type: ignore[no-untyped-call]  # no descriptor is left, say
        begun, remote.begun = remote.begun, None
        if begun is not None:
            begun.open()
        return waiting

    def _next_in_reactor(self, remote: Remote) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        remote.waiting = waiting
        return waiting.addErrback(self._on_cancel_in_reactor, remote)

    def _on_cancel_in_reactor(self, failure: Failure, remote: Remote) -> Failure | Deferred[Any]:
        # The owner's operation is to end, in its own way: wait for what that answers. But where
        # the reactor ends, nobody waits.
        failure.trap(CancelledError)  # type: ignore[no-untyped-call]
        if self.process.bridge.refusal is not None:
            return failure
        self._cancel_in_reactor(remote)
        return self._next_in_reactor(remote)

    def _end_wait_in_reactor(self, outcome: Outcome | Failure, remote: Remote) -> object:
        remotes = self._remotes[remote.uid]
        remotes.remove(remote)
        if not remotes:
            del self._remotes[remote.uid]
        if isinstance(outcome, Failure):
            return outcome
        remote.is_answered = True
        if outcome.is_cancelled and remote.result is not None:
            call_of(remote.result).cancel_requested = True  # by whomever
        return outcome.value if outcome.error is None else Failure(outcome.error)  # type: ignore[no-untyped-call]

    def _on_remote_end(self, remote: Remote, result: EventualResult[Any]) -> None:
        if remote.begun is not None:
            remote.begun.open()  # the reactor may have ended before
        self._remote_of.pop(call_of(result), None)
        # The result has its answer before this looks, and _put_again() writes before it looks for
        # the answer: so either the row stays, or that one finds the answer.
        if remote.is_answered and not remote.is_kept:
            self._post(partial(self._store_delete, remote.uid))
        if remote.waiting is None and self.process.bridge.refusal is None:
            # Withdrawn before it had started: the body has not asked the owner.
            self.process.bridge.call(self._cancel_in_reactor, remote)

    def _answer_in_reactor(self, uid: int, row: Row) -> None:
        """
        Give an answer of few bytes to those that wait for it.
        """
        self._hear_report_in_reactor(uid, row.report)
        self._give_in_reactor(uid, self._unpacked(row))

    def _hear_report_in_reactor(self, uid: int, report: bytes) -> None:
        """
        Note how far an operation is that runs elsewhere, for those that wait for it.
        """
        reported = unpack_report(report)
        for remote in self._remotes.get(uid, ()):
            if remote.result is not None and reported is not None:
                call = call_of(remote.result)
                if call.reported is None or call.reported[3] <= reported[3]:
                    call.reported = reported

    def _give_in_reactor(self, uid: int, outcome: Outcome) -> None:
        for remote in tuple(self._remotes.get(uid, ())):
            waiting = remote.waiting
            if waiting is not None and not waiting.called:
                waiting.callback(outcome)

    def _look_again_in_reactor(self, uid: int, *, is_owner_gone: bool) -> None:
        """
        Read the row of a result that is waited for, and give the answer if there is one.

        Args:
            uid: its number.
            is_owner_gone: it is lost, if there is none: its owner has ended, or could not store it.
        """
        if uid not in self._remotes:
            return

        def tell(row: Row | None, error: BaseException | None) -> None:
            call = self.process.bridge.call
            if isinstance(error, ConnectionError):
                return  # a server that is away comes back, and then the row is read again
            if error is not None:
                call(self._give_in_reactor, uid, Outcome(None, error))
            elif row is not None and row.state != "pending":
                call(self._hear_report_in_reactor, uid, row.report)
                call(self._give_in_reactor, uid, self._unpacked(row))
            elif row is None or is_owner_gone:
                call(self._lose_in_reactor, uid, row is None)

        self._post(partial(self._store_read, uid), tell)

    def _lose_in_reactor(self, uid: int, has_no_row: bool) -> None:
        for remote in tuple(self._remotes.get(uid, ())):
            row, waiting = remote.row, remote.waiting
            if waiting is None or waiting.called:
                continue
            if has_no_row and remote.is_kept:  # another has taken it, or its time is over
                waiting.callback(Outcome(None, _errors.no_result()))
            else:
                # The thread that began this wait may not have noted its result yet.
                told = progress_of(unpack_report(row.report))
                progress = remote.result.progress if remote.result is not None else told
                error = _errors.lost(row.name, row.host, row.pid, progress)
                waiting.callback(Outcome(None, error))

    def _forget_taken(self, uid: int) -> None:
        """
        Keep a result no longer that a process elsewhere has taken: its error is the taker's now.
        """
        taken = self._table.pop(uid)  # which does not end it when its time is over
        if taken is not None:
            taken.add_done_callback(collect)

    def explain(self, call: Call) -> str:
        """
        Tell more of a call that is a wait for another process. From any thread; never blocks.
        """
        remote = self._remote_of.get(call)
        if remote is None:
            return ""
        return f"It runs in process {remote.row.pid} on {remote.row.host}."

    # The worker.

    def _post(
        self,
        work: Callable[[], T],
        tell: Callable[[T | None, BaseException | None], object] | None = None,
    ) -> None:
        self._post_job(_Job(work, tell or _log_error))

    def _post_job(self, job: _Job) -> None:
        assert self._worker is not None
        self._worker.post(job)

    def _do(self, job: _Job) -> Any:
        """
        Have the worker do something, and wait for it. The reactor thread waits for nothing.
        """
        if self.process.bridge.is_reactor_thread():
            job.tell = _log_error
            self._post_job(job)
            return None
        self._post_job(job)
        left = max(get_end() - clock.monotonic(), 0.0)
        patience = min(PATIENCE, left)
        try:
            # What has begun is waited for longer: the store has its own bound, and says more.
            if not job.done.wait(patience) and (
                claim(job, "work") or not job.done.wait(min(2 * PATIENCE, left - patience))
            ):
                raise _errors.store_too_slow(repr(self), patience)
            if job.error is not None:
                raise job.error
            return job.value
        except BaseException:
            claim(job, "work")  # a signal handler's: what has not begun is not to be done
            raise
        finally:
            del job  # the traceback holds this frame

    # The end.

    def drain(self, timeout: float) -> bool:
        """
        Wait until this process's stashed results have their answers, for *timeout* seconds at most.

        Returns:
            Whether they have.
        """
        end = clock.monotonic() + timeout
        waiter = self._drain = Waiter()
        while self._has_pending():
            left = end - clock.monotonic()
            if left <= 0:
                break
            waiter.wait(min(left, PATIENCE))
        self._drain = None
        return not self._has_pending()

    def _has_pending(self) -> bool:
        return any(own.is_kept for own in entries_of(self._own.values()))

    def end_in_reactor(self) -> Deferred[None] | None:
        """
        Have all answers told and stored while the reactor, which stops, still turns: the end of our
        connections says that there are no more.
        """
        worker = self._worker
        if worker is None or not worker.has_thread:
            return None
        stored: Deferred[None] = Deferred()
        call = self.process.get_reactor().callFromThread

        def tell(value: object, error: BaseException | None) -> None:
            call(stored.callback, None)

        for uid, own in entries_of(self._own.items()):
            if own.result.done():  # one that could not be stored has its last chance
                self._on_answer(uid, own.result)
        self._post(bool, tell)  # behind all that is to be stored
        return stored

    def leave(self) -> None:
        """
        Let other processes learn that the reactor has ended. From its thread; never blocks.
        """
        if self._reports is not None:
            self._reports.begin()
        if self._owner():
            self._post(self._leave())  # after what is still to be stored

    def stop(self, timeout: float) -> bool:
        """
        Have all answers stored, and give back what is open. Blocks up to *timeout* seconds.

        Returns:
            Whether that was done.
        """
        return self._worker is None or self._worker.stop(timeout)

    def get_caller(self) -> CallFromThread | None:
        """
        Return what has the worker call something before a fork, with nothing of the store open.
        """
        call = self._worker.caller() if self._worker is not None else None
        if call is None:
            return None

        def close_and_call(function: Callable[..., object], /, *args: object) -> None:
            call(self._store_close)
            call(function, *args)

        return close_and_call

    def status(self) -> StashStatus:
        """
        Tell what it does now. From any thread; never blocks.
        """
        kept, owned = self._table.status()[1:3]
        return StashStatus(self.kind, kept, owned, len(self._remotes), self._connection())

    def after_fork_in_child(self) -> None:
        """
        Begin anew, in a forked child: what is kept and waited for is the parent's.
        """
        if self._worker is not None:
            self._worker.after_fork_in_child()
        self._table.clear()
        self._own = {}
        self._remotes = {}
        self._remote_of = {}
        self._drain = None
        if self._process is not None:
            self._reports = Reports(self._process, self._tell_reports_in_reactor)


class _Job:
    """
    Something for the worker to do, once, unless the thread that waits for it is quicker to give up:
    the first to empty the slot ``work`` has it.
    """

    __slots__ = ("done", "error", "tell", "value", "work")

    def __init__(
        self,
        work: Callable[[], Any],
        tell: Callable[[Any, BaseException | None], object] | None = None,
    ) -> None:
        self.work = work
        self.tell = tell
        self.value: Any = None  # written before it is done; read only after
        self.error: BaseException | None = None  # likewise
        self.done = Latch()

    def run(self) -> None:
        """
        Do it, and tell what came of it.
        """
        work = getattr(self, "work", None)
        if work is None or not claim(self, "work"):
            return
        try:
            self.value = work()
        except BaseException as error:
            self.error = error
        self.done.open()
        if self.tell is not None:
            self.tell(self.value, self.error)


def _log_error(value: object, error: BaseException | None) -> None:
    if error is not None:
        _log.error("{error}", error=error)


def forget_error(value: object, error: BaseException | None) -> None:
    """
    Leave it to status(), to the waits or to who has called to tell of it.
    """


def _fire(deferred: Deferred[Any], fire: Callable[[Any], object], value: object) -> None:
    if not deferred.called:  # it may have been cancelled
        fire(value)
