"""
Results that wait to be retrieved by number, in their own process.
"""

from __future__ import annotations

import math
import os
import sys
import tracemalloc
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from crochet import EventualResult
from crochet._stash import memory
from crochet._stash.memory import MemoryStash
from support.process import FakeProcess, LoggedFailures, call_for, failing_call
from support.programs import run_python
from support.stepping import FakeClock, together

from .conftest import give


@pytest.fixture
def result(stepped: FakeProcess) -> EventualResult[Any]:
    """
    A result that is pending.
    """
    return stepped.run_in_reactor(lambda: 7)()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """
    The clock that expiry goes by.
    """
    clock = FakeClock()
    monkeypatch.setattr(memory.clock, "monotonic", clock)
    return clock


def numbers(monkeypatch: pytest.MonkeyPatch, *uids: int) -> None:
    """
    Have these come up as random numbers.
    """
    source = iter([(uid << 1).to_bytes(8, "big") for uid in uids])
    monkeypatch.setattr(memory, "urandom", lambda size: next(source))


def test_a_result_is_retrieved_by_the_arguments_name(result: EventualResult[Any]) -> None:
    """
    That of version 2.1.1.
    """
    stash = MemoryStash()
    assert stash.take(result_id=stash.put(result)) is result


def test_numbers_are_random_and_fit_a_signed_64_bit_field(
    result: EventualResult[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    They are those of the system's source for secrets, with 63 bits of it.
    """
    monkeypatch.setattr(memory, "urandom", lambda size: b"\xff" * size)
    assert MemoryStash().put(result) == 2**63 - 1


def test_a_number_is_not_given_out_twice_at_a_time(
    stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Not even if it comes up again.
    """
    numbers(monkeypatch, 5, 5, 6)
    stash = MemoryStash()
    first, second = (stepped.run_in_reactor(lambda: 7)() for _ in range(2))
    assert stash.put(first) == 5
    assert stash.put(second) == 6
    assert stash.take(5) is first
    assert stash.take("6") is second


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("is_drawn_ahead", [True, False])
def test_a_forked_child_has_numbers_of_its_own(is_drawn_ahead: bool) -> None:
    """
    Though many are drawn at a time; also in a child that was forked in C. And where no memory is
    wiped by a fork, they are drawn one by one.
    """
    run_python(
        """
        import ctypes, os, sys, warnings
        import crochet
        from crochet._stash import memory
        from crochet._threads import fork_mark

        sizes = []
        memory.urandom = lambda size: sizes.append(size) or os.urandom(size)
        is_drawn_ahead = sys.argv[2] == "True"
        if not is_drawn_ahead:
            fork_mark._WIPE_ON_FORK = -1
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        crochet.setup()
        result = crochet.run_in_reactor(int)()
        result.wait(float(sys.argv[1]))
        for fork in (os.fork, ctypes.PyDLL(None).fork):
            for taken in (1, 512, 513):  # from the middle, the end, and the beginning of a page
                given = {result.stash() for _ in range(taken)}
                read, write = os.pipe()
                if not fork():
                    os.write(write, b"".join(result.stash().to_bytes(8, "big") for _ in range(600)))
                    os._exit(0)
                assert os.wait()[1] == 0
                numbers = os.read(read, 8 * 600)
                childs = {int.from_bytes(numbers[i : i + 8], "big") for i in range(0, 4800, 8)}
                given |= {result.stash() for _ in range(600)}
                assert (len(given), len(childs)) == (taken + 600, 600) and not given & childs
        if sys.platform == "linux":
            assert (len(sizes) < len(given)) == is_drawn_ahead
        assert all(0 <= uid < 2**63 for uid in given) and max(given) > 2**62
        """,
        str(is_drawn_ahead),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        -1,
        5.0,
        True,
        "",
        "-5",
        "5.0",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "5" * 5000,
        None,
        [],
        object(),
        2**80,
    ],
)
def test_anything_else_is_a_key_error(
    result: EventualResult[Any], monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    """
    Which gives away neither the number nor whether it ever was one; and what is there stays.
    """
    numbers(monkeypatch, 5, 1)
    stash = MemoryStash()
    live = stash.put(result), stash.put(result)
    for look in (stash.take, stash.peek):
        with pytest.raises(KeyError, match="never given out, it was retrieved already") as caught:
            look(wrong)
        assert not wrong or str(wrong) not in str(caught.value)
        assert caught.value.__context__ is None
    assert [stash.take(uid) for uid in live] == [result, result]


def test_one_of_many_threads_retrieves(result: EventualResult[Any]) -> None:
    """
    However they switch.
    """
    stash = MemoryStash()
    uids = [stash.put(result) for _ in range(100)]

    def take_all(index: int) -> int:
        taken = 0
        for uid in uids:
            try:
                stash.take(uid)
            except KeyError:
                continue
            taken += 1
        return taken

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert sum(together(8, take_all)) == 100
    finally:
        sys.setswitchinterval(interval)


def test_a_stashed_result_stays(stepped: FakeProcess, logged: LoggedFailures) -> None:
    """
    With nobody else to hold it, and its error is not logged.
    """
    stash = give(stepped, MemoryStash())
    uid = failing_call(stepped, ValueError("of a body")).stash()
    stepped.reactor.turn()
    assert logged.events == []
    with pytest.raises(ValueError, match="of a body"):
        stash.take(uid).wait(0)


def test_an_entry_takes_less_than_a_kilobyte(result: EventualResult[Any]) -> None:
    """
    Besides the result.
    """
    stash = MemoryStash()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            stash.put(result)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / 1000 < 1000


class TestExpiry:
    """
    A result is kept for its ttl.
    """

    def test_makes_a_key_error_of_it(self, stepped: FakeProcess, time: FakeClock) -> None:
        """
        Right at that time, for takers and lookers.
        """
        stash = give(stepped, MemoryStash())
        early, late, for_ever = (
            stash.put(call_for(stepped, 7), ttl=ttl) for ttl in (9.0, 9.1, None)
        )
        stepped.reactor.turn()
        time.now = 9.0
        for look in (stash.peek, stash.take):
            with pytest.raises(KeyError, match="its time is over"):
                look(early)
        assert stash.peek(late).wait(0) == 7
        time.now = 1e9
        assert stash.take(for_ever).wait(0) == 7

    def test_frees_the_memory_when_something_is_put(
        self, stepped: FakeProcess, time: FakeClock
    ) -> None:
        """
        An hour later, if nothing else is said.
        """
        stash = give(stepped, MemoryStash())
        stash.put(call_for(stepped, 7))
        stepped.reactor.turn()
        time.now = 3600.0
        stash.put(call_for(stepped, 8))
        assert stash.status().kept == 1

    def test_cancels_what_is_pending(self, stepped: FakeProcess, time: FakeClock) -> None:
        """
        With no look at the stash, by one timer, which goes when nothing is pending.
        """
        stash = give(stepped, MemoryStash())
        later = call_for(stepped, Deferred())
        stash.put(later, ttl=20.0)
        sooner = call_for(stepped, Deferred())
        stash.put(sooner, ttl=9.0)
        stepped.reactor.turn()
        (timer,) = stepped.reactor.getDelayedCalls()
        assert timer.getTime() == 9.0
        for now, cancelled in ((9.0, sooner), (20.0, later)):
            time.now = now
            stepped.reactor.advance(now - stepped.reactor.seconds())
            stepped.reactor.turn()
            with pytest.raises(CancelledError):
                cancelled.wait(0)
        stepped.reactor.turn()
        assert stepped.reactor.getDelayedCalls() == []
        assert stash.status().owned == 0

    def test_does_not_cancel_what_was_taken(self, stepped: FakeProcess, time: FakeClock) -> None:
        """
        Its taker waits for it. Nor what is kept longer under another number.
        """
        stash = give(stepped, MemoryStash())
        taken, kept, given_back = (call_for(stepped, Deferred()) for _ in range(3))
        stash.take(stash.put(taken, ttl=5.0))
        stash.put(kept, ttl=5.0)
        stash.put(kept, ttl=50.0)
        stash.take(stash.put(given_back, ttl=5.0))
        stash.put(given_back, ttl=6.0)
        stepped.reactor.turn()
        time.now = 6.0
        stepped.reactor.advance(6.0)
        stepped.reactor.turn()
        assert (taken.done(), kept.done(), given_back.done()) == (False, False, True)
        assert isinstance(given_back.original_failure().value, CancelledError)

    def test_needs_no_timer_once_all_are_answered(self, stepped: FakeProcess) -> None:
        """
        Those that are kept go without; a new one has it set again.
        """
        stash = give(stepped, MemoryStash())
        pending: Deferred[int] = Deferred()
        stash.put(call_for(stepped, pending))
        stepped.reactor.turn()
        assert len(stepped.reactor.getDelayedCalls()) == 1
        pending.callback(7)
        stepped.reactor.turn()
        assert stepped.reactor.getDelayedCalls() == []
        stash.put(call_for(stepped, Deferred()))
        stepped.reactor.turn()
        assert len(stepped.reactor.getDelayedCalls()) == 1

    def test_is_not_missed_by_a_put_while_the_timer_is_set(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The reactor thread has copied what is pending; a thread puts something; then it sets _due.
        """
        stash = give(stepped, MemoryStash())
        stash.put(call_for(stepped, Deferred()), ttl=50.0)
        copied = memory.entries_of

        def copy(items: Any) -> Any:
            found = copied(items)
            monkeypatch.setattr(memory, "entries_of", copied)
            stash.put(call_for(stepped, Deferred()), ttl=5.0)
            return found

        monkeypatch.setattr(memory, "entries_of", copy)
        stepped.reactor.turn()
        stepped.reactor.turn()
        (timer,) = stepped.reactor.getDelayedCalls()
        assert timer.getTime() == pytest.approx(5.0, abs=1.0)

    @pytest.mark.parametrize(
        ("ttl", "kind"),
        [(0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("5", TypeError)],
    )
    def test_is_above_zero(self, result: EventualResult[Any], ttl: Any, kind: Any) -> None:
        """
        Or None.
        """
        stash = MemoryStash()
        with pytest.raises(kind):
            stash.put(result, ttl=ttl)
        assert stash.status().kept == 0


class TestBound:
    """
    No more than ``max_results`` are kept.
    """

    def test_refuses_new_ones(self, result: EventualResult[Any]) -> None:
        """
        Until there is room.
        """
        stash = MemoryStash(max_results=2)
        first = stash.put(result)
        stash.put(result)
        with pytest.raises(RuntimeError, match=r"2 results are kept already.*max_results"):
            stash.put(result)
        stash.take(first)
        stash.put(result)

    def test_counts_none_that_is_past_its_time(
        self, result: EventualResult[Any], time: FakeClock
    ) -> None:
        """
        Though it was looked at a moment ago.
        """
        stash = MemoryStash(max_results=1)
        stash.put(result, ttl=0.1)
        time.now = 0.1
        stash.put(result)

    def test_drops_the_oldest_answered_if_told(
        self, stepped: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        And says so. What is pending is not dropped.
        """
        events: list[Any] = []
        stash = give(stepped, MemoryStash(max_results=3, evict=True))
        pending = stash.put(call_for(stepped, Deferred()))
        oldest, other = (stash.put(call_for(stepped, value)) for value in (1, 2))
        stepped.reactor.turn()
        memory._log.observer, before = events.append, memory._log.observer
        try:
            stash.put(call_for(stepped, Deferred()))
        finally:
            memory._log.observer = before
        assert "the stash is full" in events[0]["log_format"]
        with pytest.raises(KeyError):
            stash.take(oldest)
        assert stash.take(other).wait(0) == 2
        assert not stash.peek(pending).done()
        stash.put(call_for(stepped, Deferred()))
        with pytest.raises(RuntimeError, match="none of them is answered"):
            stash.put(call_for(stepped, Deferred()))

    def test_is_one_or_more(self) -> None:
        """
        Or nothing could be stashed.
        """
        with pytest.raises(ValueError, match="max_results cannot be 0"):
            MemoryStash(max_results=0)
