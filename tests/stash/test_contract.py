"""
What every stash does, whichever it is.

Each test runs on all of them, with real reactors. "Another process" is another whole library with a
reactor of its own; see ``Place``. Those in processes of their own are in test_processes.py.
"""

from __future__ import annotations

import os
import socket
from contextvars import copy_context
from fractions import Fraction
from functools import partial
from threading import Event, current_thread
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from crochet import _errors
from crochet._core.deadline import deadline
from crochet._stash import reports
from crochet._stash.serializer import PickleSerializer
from crochet._streams.progress import report
from crochet._threads import clock
from support.process import LoggedFailures
from support.stepping import BOUND, together

from .conftest import Here, Place, descriptors


def test_a_stash_belongs_to_one_process(shared: Place) -> None:
    """
    For its threads and sockets do.
    """
    here = shared.process()
    with pytest.raises(RuntimeError, match="is used already"):
        here.stash.bind(here.stash.process)


def test_a_result_is_taken_once(place: Place) -> None:
    """
    By the process that stashed it, which gets the very object; a second taker gets a KeyError.
    """
    here = place.process()
    result = here.call(lambda: 7)
    uid = result.stash()
    assert 0 <= uid < 2**63
    assert here.take(uid) is result
    with pytest.raises(KeyError, match="no result is stashed under this number"):
        here.take(uid)
    assert result.wait(BOUND) == 7


def test_a_value_is_never_serialized_in_its_own_process(
    place: Place, logged: LoggedFailures
) -> None:
    """
    Nor is one that cannot be; that others could not have it is logged.
    """
    here = place.process()
    value = object()
    uid = here.call(lambda: value).stash()
    assert here.peek(uid).wait(BOUND) is value
    assert here.take(uid).wait(BOUND) is value
    here.end()
    logged.take()


def test_a_look_leaves_it_there(place: Place) -> None:
    """
    Any number of times, until somebody takes it.
    """
    here = place.process()
    result = here.call(lambda: 7)
    uid = result.stash()
    assert [here.peek(str(uid)) for _ in range(3)] == [result] * 3
    assert here.take(str(uid)) is result
    with pytest.raises(KeyError):
        here.peek(uid)


def test_each_stashing_allows_one_retrieval(place: Place) -> None:
    """
    Of the same result, by different numbers.
    """
    here = place.process()
    result = here.call(lambda: 7)
    uids = {result.stash() for _ in range(3)}
    assert len(uids) == 3
    assert {here.take(uid) for uid in uids} == {result}


def test_of_many_threads_one_takes(place: Place) -> None:
    """
    And all others get a KeyError.
    """
    here = place.process()

    def take(index: int) -> int:
        try:
            here.take(uid)
        except KeyError:
            return 0
        return 1

    for _ in range(5):
        uid = here.call(lambda: 7).stash()
        assert sum(together(8, take)) == 1


def test_no_text_tells_why_there_is_nothing(place: Place) -> None:
    """
    Unknown, used and expired numbers, and what is no number, all have the same.
    """
    here = place.process()
    used = here.call(lambda: 7).stash()
    here.take(used)
    expired = here.stash.put(here.call(lambda: 7), ttl=0.001)
    texts = set()
    for uid in (used, 5, -1, 2**80, "five", None, True, here.past(expired)):
        for look in (here.take, here.peek):
            with pytest.raises(KeyError) as caught:
                look(uid)
            texts.add(str(caught.value))
    assert len(texts) == 1


def test_the_debug_log_tells_why_there_is_nothing(place: Place) -> None:
    """
    As far as the stash knows: most keep nothing of what was taken, or is past its time.
    """
    here = place.process()
    used = here.call(lambda: 7).stash()
    here.take(used)
    expired = here.past(here.stash.put(here.call(lambda: 7), ttl=0.001))
    reasons: dict[object, str] = {}

    def note(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.debug:
            reasons[uid] = str(formatEvent(event))

    globalLogPublisher.addObserver(note)
    try:
        for uid in (used, expired, 5, 2**80):
            with pytest.raises(KeyError):
                here.take(uid)
    finally:
        globalLogPublisher.removeObserver(note)
    assert "taken" in reasons[used]
    assert "has outlived its ttl" in reasons[expired]
    assert "unknown" in reasons[5]
    assert "of no result" in reasons[2**80] or "unknown" in reasons[2**80]


def test_an_expired_pending_result_is_cancelled(place: Place) -> None:
    """
    In its owner, with nobody looking.
    """
    here = place.process()
    cancelled: Deferred[None] = Deferred(lambda _: None)
    result = here.call(lambda: cancelled)
    here.stash.put(result, ttl=0.01)
    with pytest.raises(CancelledError):
        result.wait(BOUND)


def test_more_than_the_bound_are_refused(place: Place) -> None:
    """
    With an error that says so.
    """
    here = place.process(max_results=2)
    for _ in range(2):
        uid = here.call(lambda: 7).stash()
    with pytest.raises(RuntimeError, match="2 results are kept already"):
        here.call(lambda: 7).stash()
    here.take(uid)
    here.call(lambda: 7).stash()


def test_the_oldest_answered_is_dropped_for_more(place: Place) -> None:
    """
    If the program says so.
    """
    here = place.process(max_results=2, evict=True)
    pending: Deferred[Any] = Deferred()
    uids = []
    for each in (pending, 7, 8, 9):
        result = here.call(lambda each=each: each)  # type: ignore[misc]
        if each is not pending:
            here.settle(result)
        uids.append(result.stash())
    assert not here.has(uids[1])
    assert not here.has(uids[2])
    assert here.take(uids[3]).wait(BOUND) == 9
    assert not here.take(uids[0]).done()


def test_a_failure_that_nobody_collects_is_logged_once(
    place: Place, logged: LoggedFailures
) -> None:
    """
    When the process ends, as for any result.
    """
    here = place.process()

    def fail() -> None:
        raise ValueError("of a body")

    result = here.call(fail)
    result.stash()
    here.settle(result)
    del result
    here.end()
    (error,) = logged.take()
    assert isinstance(error, ValueError)


def test_what_was_taken_can_be_stashed_again(place: Place) -> None:
    """
    Pending, under a new number.
    """
    here = place.process()
    pending: Deferred[Any] = Deferred()
    result = here.call(lambda: pending)
    again = here.take(result.stash()).stash()
    here.in_reactor(pending.callback, 7)
    assert here.take(again).wait(BOUND) == 7


def test_nothing_is_left_in_the_reactor_at_rest(place: Place) -> None:
    """
    Neither a timer nor a call, though results are kept.
    """
    here = place.process()
    result = here.call(lambda: 7)
    result.stash()
    here.settle(result)
    here.until(lambda: not here.timers())
    assert here.process.loop.status().calls == ()


def test_status_tells_what_is_kept(place: Place) -> None:
    """
    And of what kind it is.
    """
    here = place.process()
    pending: Deferred[Any] = Deferred()
    here.call(lambda: 7).stash()
    here.call(lambda: pending).stash()
    here.until(lambda: here.stash.status()[1:3] == (2, 1))
    assert here.stash.status().kind == place.kind
    here.in_reactor(pending.callback, None)
    here.until(lambda: here.stash.status().owned == 0)


def test_takes_nothing_but_its_ttl(place: Place) -> None:
    """
    A number of seconds above zero, or None.
    """
    here = place.process()
    for ttl in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"ttl|NaN"):
            here.stash.put(here.call(lambda: 7), ttl=ttl)
    uid = here.stash.put(here.call(lambda: 7), ttl=None)
    assert here.take(uid).wait(BOUND) == 7


def test_can_be_used_in_the_reactor_thread(place: Place) -> None:
    """
    Where nothing may block: what has to be looked for comes later, as a value or a KeyError.
    """
    here = place.process()
    uid = here.call(lambda: 7).stash()

    async def collect(uid: int) -> Any:
        return await here.take(uid)

    assert here.call(collect, uid).wait(BOUND) == 7
    with pytest.raises(KeyError, match="no result is stashed"):
        here.call(collect, uid).wait(BOUND)
    own = here.call(lambda: here.stash.put(here.call(lambda: 8))).wait(BOUND)
    here.until(lambda: here.has(own))
    assert here.take(own).wait(BOUND) == 8


class Text(str):
    """
    As templates and forms have it.
    """


def test_a_number_may_be_of_any_class_of_text(place: Place) -> None:
    """
    But not of one that is a number of another kind.
    """
    here = place.process()
    uid = here.call(lambda: 7).stash()
    assert here.take(Text(uid)).wait(BOUND) == 7
    one = here.call(lambda: 7).stash()
    for wrong in (float(one), str(one) + " ", f"+{one}", Text("1_0"), b"1"):
        with pytest.raises(KeyError):
            here.take(wrong)


@pytest.mark.parametrize("ttl", [1e12, 1e300, 10**400])
def test_a_ttl_may_be_any_number(place: Place, ttl: Any) -> None:
    """
    One that nobody will live to see is as good as none.
    """
    here = place.process()
    pending: Deferred[Any] = Deferred()
    uids = [here.stash.put(here.call(lambda each=each: each), ttl) for each in (7, pending)]  # type: ignore[misc]
    here.in_reactor(pending.callback, 8)
    assert [here.take(uid).wait(BOUND) for uid in uids] == [7, 8]


class Interrupted(BaseException):
    """
    What a signal handler raises.
    """


def interrupt(here: Here) -> Any:
    """
    Have the next wait for the store end by a signal handler's exception, when it is done.
    """
    do = here.stash._do

    def do_and_raise(job: Any) -> None:
        here.stash._do = do
        do(job)
        raise Interrupted

    here.stash._do = do_and_raise


@pytest.mark.parametrize("kind", ["answered", "pending", "own", "answered meanwhile"])
def test_what_a_signal_keeps_from_its_taker_stays(shared: Place, kind: str) -> None:
    """
    1. The store marks it as taken. 2. An exception comes to the thread. Then another may take it.
    """
    here, there = shared.process(), shared.process()
    pending: Deferred[Any] = Deferred()
    result = here.call(lambda: 7 if kind == "answered" else pending)
    if kind == "answered":
        here.settle(result)
    uid = result.stash()
    taker = here if kind.startswith(("own", "answered m")) else there
    if kind == "answered meanwhile":
        give_back = here.stash._give_back

        def answer_and_give_back(*args: Any) -> None:
            result.add_done_callback(lambda _: here.stash._post(partial(give_back, *args)))
            here.process.bridge.call(pending.callback, 7)

        here.stash._give_back = answer_and_give_back
    interrupt(taker)
    with pytest.raises(Interrupted):
        taker.take(uid)
    there.until(lambda: there.has(uid))
    taken = there.take(uid)
    if not kind.startswith("answered"):
        here.in_reactor(pending.callback, 7)
    assert taken.wait(BOUND) == 7
    with pytest.raises(KeyError):
        there.take(uid)


def test_what_a_signal_keeps_from_its_waiter_stays(shared: Place) -> None:
    """
    The wait that was begun for it goes on, and leaves the answer to others.
    """
    here, there, elsewhere = (shared.process() for _ in range(3))
    pending: Deferred[Any] = Deferred()
    uid = here.call(lambda: pending).stash()
    remote, begun = there.stash._remote, []

    def begin_and_raise(*args: Any) -> None:
        begun.append(remote(*args))
        raise Interrupted

    there.stash._remote = begin_and_raise
    with pytest.raises(Interrupted):
        there.take(uid)
    elsewhere.until(lambda: elsewhere.has(uid))
    here.in_reactor(pending.callback, 7)
    assert begun[0].wait(BOUND) == 7
    there.until(lambda: not there.stash._worker.waiting())
    assert elsewhere.take(uid).wait(BOUND) == 7


def claim_late(process: Any) -> tuple[Event, Event]:
    """
    Have what its store claims be handed over late. Return what says that it has claimed something,
    and what is to be set for it to go on.
    """
    has_claimed, is_late = Event(), Event()
    claim = process.stash._store_claim

    def claim_and_wait(*args: Any, **kwargs: Any) -> Any:
        row = claim(*args, **kwargs)
        has_claimed.set()
        assert is_late.wait(BOUND)
        return row

    process.stash._store_claim = claim_and_wait
    return has_claimed, is_late


def test_what_comes_after_a_deadline_stays(shared: Place) -> None:
    """
    The store has begun to look for it, and takes its time: who has given up has not taken it.
    """
    here, there = shared.process(), shared.process()
    result = here.call(lambda: 7)
    here.settle(result)
    uid = result.stash()
    _, is_late = claim_late(there)
    with deadline(0.05), pytest.raises(_errors.TimeoutError, match="Nothing was taken"):
        there.take(uid)
    del there.stash._store_claim
    is_late.set()
    there.until(lambda: there.has(uid))
    assert there.take(uid).wait(BOUND) == 7


def test_what_is_cancelled_while_it_is_looked_for_stays(shared: Place) -> None:
    """
    In the reactor thread.
    """
    here, there = shared.process(), shared.process()
    result = here.call(lambda: 7)
    here.settle(result)
    uid = result.stash()
    has_claimed, is_late = claim_late(there)

    async def collect(uid: int) -> Any:
        return await there.take(uid)

    collecting = there.call(collect, uid)
    assert has_claimed.wait(BOUND)
    del there.stash._store_claim
    collecting.cancel()
    with pytest.raises(CancelledError):
        collecting.wait(BOUND)
    is_late.set()
    there.until(lambda: there.has(uid))
    assert there.take(uid).wait(BOUND) == 7


def test_what_a_signal_keeps_from_being_stashed_leaves_nothing(shared: Place) -> None:
    """
    Nobody knows its number; and nothing is kept for it when it is answered.
    """
    here = shared.process()
    uids: list[int] = []
    insert = here.stash._store_insert
    here.stash._store_insert = lambda uid, *args: uids.append(uid) or insert(uid, *args)
    pending: Deferred[Any] = Deferred()
    result = here.call(lambda: pending)
    interrupt(here)
    with pytest.raises(Interrupted):
        result.stash()
    assert here.stash.status().kept == 0
    here.until(lambda: not here.has(uids[0]))
    here.in_reactor(pending.callback, 7)
    here.until(lambda: not here.stash._reports._uids)


class TestAnotherProcess:
    """
    What a process gets that has not started the call.
    """

    def test_takes_a_value(self, shared: Place) -> None:
        """
        Once; then there is nothing, for its owner neither.
        """
        here, there = shared.process(), shared.process()
        result = here.call(lambda: {"a": (1, b"2")})
        uid = result.stash()
        taken = there.take(uid)
        assert taken.wait(BOUND) == {"a": (1, b"2")}
        for process in (here, there):
            with pytest.raises(KeyError):
                process.take(uid)
        assert here.lets_go()

    def test_sees_at_once_that_it_is_done(self, shared: Place) -> None:
        """
        What a page that polls wants to know.
        """
        here, there = shared.process(), shared.process()
        result = here.call(lambda: 7)
        here.settle(result)
        uid = result.stash()
        for _ in range(3):
            looked = there.peek(uid)
            assert looked.done()
            assert looked.wait(0) == 7
        assert there.take(uid).done()

    def test_waits_for_what_is_pending(self, shared: Place) -> None:
        """
        Those that look, and the one that takes, alike.
        """
        here, there, elsewhere = (shared.process() for _ in range(3))
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        looked = elsewhere.peek(uid)
        assert elsewhere.peek(uid) is looked
        taken = there.take(uid)
        with pytest.raises(KeyError):
            elsewhere.peek(uid)
        with pytest.raises(KeyError):
            here.take(uid)
        assert not taken.done()
        assert not looked.done()
        there.until(lambda: there.stash.status().waiting == 1)
        here.in_reactor(pending.callback, [7])
        assert taken.wait(BOUND) == [7]
        assert looked.wait(BOUND) == [7]
        there.until(lambda: there.stash.status().waiting == 0)

    def test_gets_the_same_error(self, shared: Place, logged: LoggedFailures) -> None:
        """
        With the frames of where it was raised; and nobody logs it.
        """
        here, there = shared.process(), shared.process()

        def fail() -> None:
            raise FileNotFoundError(2, "No such file", "a.txt")

        result = here.call(fail)
        here.settle(result)
        uid = result.stash()
        assert there.peek(uid).done()
        taken = there.take(uid)
        with pytest.raises(FileNotFoundError) as caught:
            taken.wait(BOUND)
        assert caught.value.filename == "a.txt"
        assert "in fail\n" in str(caught.value.__cause__)
        assert here.lets_go()
        del result
        here.end()
        assert logged.events == []

    def test_gets_an_error_for_what_cannot_be_serialized(
        self, shared: Place, logged: LoggedFailures
    ) -> None:
        """
        Which is logged once, in the owner.
        """
        here, there = shared.process(), shared.process()
        uid = here.call(lambda: object()).stash()
        for look in (there.peek, there.take):
            with pytest.raises(TypeError, match=r"builtins\.object, cannot be taken"):
                look(uid).wait(BOUND)
        assert len(logged.events) == 1
        logged.take()

    def test_of_many_one_takes(self, shared: Place) -> None:
        """
        Pending or not, from any thread of any process, the owner's too.
        """
        processes = [shared.process() for _ in range(3)]

        def take(index: int) -> list[Any]:
            try:
                return [processes[index % 3].take(uid)]
            except KeyError:
                return []

        for number in range(6):
            pending: Deferred[Any] = Deferred()
            result = processes[0].call(lambda number=number: number if number % 2 else pending)  # noqa: B023
            uid = result.stash()
            (taken,) = (result for taken in together(9, take) for result in taken)
            if not number % 2:
                processes[0].in_reactor(pending.callback, number)
            assert taken.wait(BOUND) == number

    def test_cancels_in_the_owner(self, shared: Place) -> None:
        """
        Which may clean up, and answers what it likes.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred(lambda deferred: deferred.callback("cleaned up"))
        taken = there.take(here.call(lambda: pending).stash())
        taken.cancel()
        assert taken.wait(BOUND) == "cleaned up"
        pending = Deferred()
        running = here.call(lambda: pending)
        here.in_reactor(lambda: None)  # or it may be cancelled before it begins
        looked = there.peek(running.stash())
        there.until(lambda: there.stash.status().waiting == 1)
        looked.cancel()
        with pytest.raises(CancelledError):
            looked.wait(BOUND)
        assert pending.called

    def test_knows_that_it_was_cancelled(self, shared: Place) -> None:
        """
        As it was asked to be, by whomever; and not of an operation that says so unasked.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred()
        running = here.call(lambda: pending)
        here.in_reactor(lambda: None)
        uid = running.stash()
        looked, again = there.peek(uid), running.stash()
        there.until(lambda: there.stash.status().waiting == 1)
        running.cancel()
        takes = [partial(there.take, each) for each in (again, uid)]
        for look in (lambda: looked, partial(there.peek, again), *takes):
            result: Any = look()
            there.until(result.done)
            assert result.cancelled()
            with pytest.raises(CancelledError):
                result.exception()

        def fail() -> None:
            raise CancelledError

        unasked = there.take(here.call(fail).stash())
        assert isinstance(unasked.exception(BOUND), CancelledError)
        assert not unasked.cancelled()
        assert here.lets_go()  # or it would log the error when it ends

    def test_has_values_made_where_no_signal_comes(self, shared: Place) -> None:
        """
        A handler's exception would be taken for one of the bytes; and long ones would keep the
        reactor thread.
        """
        threads: list[str] = []

        class Noting(PickleSerializer):
            def loads(self, data: bytes) -> object:
                threads.append(current_thread().name)
                return super().loads(data)

        here, there = shared.process(), shared.process(serializer=Noting())
        result = here.call(lambda: b"")
        here.stash._codec = there.stash._codec
        here.settle(result)
        uid = result.stash()

        async def collect() -> Any:
            return await there.take(uid)

        assert there.peek(uid).wait(BOUND) == b""
        assert there.call(collect).wait(BOUND) == b""
        assert threads == ["crochet-stash"] * 2

    def test_stashes_it_again(self, shared: Place) -> None:
        """
        Under a new number, while its owner stays the same: the taker may end.
        """
        here, there, elsewhere = (shared.process() for _ in range(3))
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        again, once_more = taken.stash(), taken.stash()
        there.end()
        looked = elsewhere.peek(again)
        here.in_reactor(pending.callback, 7)
        assert elsewhere.take(again).wait(BOUND) == 7
        assert looked.wait(BOUND) == 7
        assert here.take(once_more).wait(BOUND) == 7

    def test_stashes_what_it_has_only_looked_at(self, shared: Place) -> None:
        """
        So that there are two that can be taken.
        """
        here, there, elsewhere = (shared.process() for _ in range(3))
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        again = there.peek(uid).stash()
        first = elsewhere.take(uid)
        elsewhere.until(lambda: elsewhere.stash.status().waiting == 1)
        here.in_reactor(pending.callback, 7)
        assert first.wait(BOUND) == 7
        elsewhere.end()
        assert there.take(again).wait(BOUND) == 7

    def test_waits_beyond_its_ttl_for_what_it_has_taken(self, shared: Place) -> None:
        """
        For it was collected in time. Who has only looked at it is told that it was cancelled.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred()
        uid, looked_at = (
            here.stash.put(here.call(lambda each=each: each), ttl=0.3)  # type: ignore[misc]
            for each in (pending, Deferred())
        )
        looked = there.peek(looked_at)
        taken = there.take(uid)
        there.until(lambda: there.stash.status().waiting == 2)
        here.until(lambda: not here.stash._table.get(uid))
        with pytest.raises(CancelledError):
            looked.wait(BOUND)
        assert not taken.done()
        # What sweeps the store comes by.
        here.stash.__dict__.get("_rows", here)._next_sweep = 0.0
        here.call(lambda: 8).stash()
        here.in_reactor(pending.callback, b"x" * 100_000)
        assert len(taken.wait(BOUND)) == 100_000

    def test_stashes_what_it_has_got(self, shared: Place) -> None:
        """
        As a result of its own.
        """
        here, there = shared.process(), shared.process()
        taken = there.take(here.call(lambda: 7).stash())
        assert taken.wait(BOUND) == 7
        again = taken.stash()
        assert there.peek(again) is taken
        assert here.take(again).wait(BOUND) == 7

    def test_gets_what_was_answered_when_its_owner_has_ended(self, shared: Place) -> None:
        """
        Values and errors, waited for by then or not.
        """
        here, there = shared.process(), shared.process()
        result = here.call(lambda: 7)
        uid = result.stash()
        waited = there.peek(here.call(lambda: 8).stash())
        here.settle(result)
        here.end()
        assert there.peek(uid).wait(BOUND) == 7
        assert there.take(uid).wait(BOUND) == 7
        assert waited.wait(BOUND) == 8
        with pytest.raises(KeyError):
            there.take(uid)

    def test_is_told_that_it_is_lost_when_its_owner_has_ended(self, shared: Place) -> None:
        """
        Who waits for it, who takes it later, and who looks at it; with its owner's name.
        """
        here, there = shared.process(), shared.process()
        uids = [here.call(Deferred).stash() for _ in range(2)]
        waiting = there.take(uids[0])
        here.end()
        told = rf"process {os.getpid()} on"
        for result in (waiting, there.peek(uids[1]), there.take(uids[1])):
            with pytest.raises(_errors.ResultLost, match=told) as caught:
                result.wait(BOUND)
            assert (caught.value.host, caught.value.pid) == (socket.gethostname(), os.getpid())
        with pytest.raises(KeyError):
            there.take(uids[1])

    def test_looks_at_large_answers_in_the_store(self, shared: Place) -> None:
        """
        So that the reactor threads need not carry them.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        there.until(lambda: there.stash.status().waiting == 1)
        here.in_reactor(pending.callback, b"x" * 1_000_000)
        assert taken.wait(BOUND) == b"x" * 1_000_000

    def test_awaits_it_in_its_reactor_thread(self, shared: Place) -> None:
        """
        Pending or not; a KeyError comes there.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred()
        uids = here.call(lambda: 7).stash(), here.call(lambda: pending).stash()

        async def collect(uid: int) -> Any:
            return await there.take(uid)

        results = [there.call(collect, uid) for uid in uids]
        assert results[0].wait(BOUND) == 7
        there.until(lambda: there.stash.status().waiting == 1)
        here.in_reactor(pending.callback, 8)
        assert results[1].wait(BOUND) == 8
        with pytest.raises(KeyError):
            there.call(collect, uids[0]).wait(BOUND)

    def test_opens_nothing_before_it_is_used(self, shared: Place) -> None:
        """
        And nothing is left open when nothing was asked for a while.
        """
        here, there = shared.process(), shared.process()
        before = descriptors()
        shared.process()
        assert len(descriptors() - before) <= 5  # of the reactor
        before = descriptors()
        pending: Deferred[Any] = Deferred()
        taken = there.take(here.call(lambda: pending).stash())
        here.in_reactor(pending.callback, 7)
        assert taken.wait(BOUND) == 7
        here.until(lambda: len(descriptors() - before) <= shared.open_at_rest)
        there.until(lambda: not there.timers())

    def test_drains(self, shared: Place) -> None:
        """
        What is pending has its time to end.
        """
        here, there = shared.process(), shared.process()
        pending: Deferred[Any] = Deferred()
        uid = here.call(lambda: pending).stash()
        assert not here.stash.drain(0.0)
        here.call(here.process.reactor.callLater, 0.05, pending.callback, 7)
        assert here.stash.drain(BOUND)
        here.end()
        assert there.take(uid).wait(BOUND) == 7


class Reporting:
    """
    An operation that reports how far it is when it is told to.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self.answer: Deferred[object] = Deferred()
        self.result = here.call(self._run)
        here.in_reactor(lambda: None)

    async def _run(self) -> object:
        self._context = copy_context()
        return await self.answer

    def report(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """
        Have it report.
        """
        self._context.run(report, self._here.process.bridge, done, total, message)


def test_progress_is_seen_everywhere(shared: Place) -> None:
    """
    By who takes it, who looks and who comes when the answer is there; and by watch().
    """
    here, there, elsewhere = (shared.process() for _ in range(3))
    running = Reporting(here)
    running.report(10, 100, "bytes")
    uid = running.result.stash()
    first = elsewhere.peek(uid)
    assert first.progress is not None
    assert first.progress[:4] == (10, 100, "bytes", 0.1)
    running.report(30, 100)
    there.until(lambda: there.peek(uid).progress.done == 30)
    seen = iter(first.watch(0.001, heartbeat=None))
    assert next(seen).done in (10, 30)
    running.report(50, 100)
    elsewhere.until(lambda: first.progress.done == 50)
    assert first.progress.rate > 0
    running.report(60, 100)
    here.in_reactor(running.answer.callback, 7)
    assert [each.done for each in seen][-1] == 60
    assert first.wait(BOUND) == 7
    late = there.take(uid)
    assert (late.wait(BOUND), late.progress.done) == (7, 60)
    here.until(lambda: not here.stash._own)
    assert (here.process.bridge.on_report, here.stash._reports._uids) == ({}, {})


def test_progress_is_told_now_and_then(shared: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    However often it is reported; and where nothing is, there is no timer.
    """
    monkeypatch.setattr(reports, "PAUSE", 60.0)
    here, there = shared.process(), shared.process()
    stored: list[Any] = []
    store = here.stash._store_reports
    monkeypatch.setattr(
        here.stash, "_store_reports", lambda told: stored.append(told) or store(told)
    )
    running = Reporting(here)
    uids = [running.result.stash() for _ in range(2)]
    running.report(0)
    here.until(lambda: here.process.bridge.on_report)  # it has been told, and the next may be
    timers = here.timers()
    for done in range(1000):
        running.report(done)
    here.until(lambda: len(here.timers()) > len(timers))
    assert [[uid for uid, _ in told] for told in stored] == [uids]
    here.in_reactor(running.answer.callback, 7)
    result = there.take(uids[0])
    assert (result.wait(BOUND), result.progress.done) == (7, 999)
    here.until(lambda: not here.process.bridge.on_report)


@pytest.mark.parametrize(
    "report", [(Fraction(1, 2), 1), (1e400, None, "\0"), (1, None, "x" * 9999)]
)
def test_progress_is_told_in_any_numbers(shared: Place, report: Any) -> None:
    """
    And in words, as far as there is room.
    """
    here, there = shared.process(), shared.process()
    running = Reporting(here)
    running.report(*report)
    progress = there.peek(running.result.stash()).progress
    done, total, message = (*report, None)[:3]
    assert progress[:2] == (done, total)
    assert progress.message == (message and message[:1000])
    running.answer.callback(None)


def test_an_older_report_is_no_news(shared: Place) -> None:
    """
    It may come later, by another way.
    """
    here, there = shared.process(), shared.process()
    running = Reporting(here)
    running.report(1)
    waiting = there.peek(running.result.stash())
    old = reports.pack_report((0, None, None, clock.monotonic() - 60, 0, 0.0))
    new = reports.pack_report((2, None, None, clock.monotonic() + 60, 0, 0.0))
    for data, done in ((old, 1), (new, 2), (b"", 2)):
        (uid,) = there.stash._remotes
        there.in_reactor(there.stash._hear_report_in_reactor, uid, data)
        assert waiting.progress.done == done
    here.in_reactor(running.answer.callback, None)


def test_a_lost_result_has_its_progress(shared: Place) -> None:
    """
    The last that is known of it: for who waits, and for who comes later.
    """
    here, there = shared.process(), shared.process()
    running = Reporting(here)
    uid = running.result.stash()
    waiting = there.peek(uid)
    running.report(3, 4)
    there.until(lambda: waiting.progress)
    here.end()
    for find in (lambda: waiting, partial(there.take, uid)):  # the first before it can be taken
        with pytest.raises(_errors.ResultLost, match=r"reported: 3 of 4 \(75%\)") as caught:
            find().wait(BOUND)
        assert caught.value.progress.done == 3
    running.result.exception()


def test_one_that_is_stashed_again_has_its_progress(shared: Place) -> None:
    """
    By its taker, for a third.
    """
    here, there, elsewhere = (shared.process() for _ in range(3))
    running = Reporting(here)
    uid = running.result.stash()
    taken = there.take(uid)
    running.report(3, 4)
    there.until(lambda: taken.progress)
    third = elsewhere.take(taken.stash())
    assert third.progress.done == 3
    running.report(4, 4)
    elsewhere.until(lambda: third.progress.done == 4)
    here.in_reactor(running.answer.callback, 7)
    assert (taken.wait(BOUND), third.wait(BOUND)) == (7, 7)
