"""
Results that wait to be retrieved by number.
"""

from __future__ import annotations

import secrets
import sys
import tracemalloc
from typing import Any

import pytest

from crochet import EventualResult
from crochet._core.stash import Stash
from support.process import FakeProcess, LoggedFailures
from support.stepping import together


@pytest.fixture
def result(stepped: FakeProcess) -> EventualResult[Any]:
    """
    A result that is pending.
    """
    return stepped.run_in_reactor(lambda: 7)()


def test_a_result_is_retrieved_once(result: EventualResult[Any]) -> None:
    """
    By the number that it was stashed under.
    """
    stash = Stash()
    uid = stash.put(result)
    assert stash.take(uid) is result
    with pytest.raises(KeyError, match="retrieved already"):
        stash.take(uid)


def test_a_result_is_retrieved_by_the_arguments_name(result: EventualResult[Any]) -> None:
    """
    That of version 2.1.1.
    """
    stash = Stash()
    assert stash.take(result_id=stash.put(result)) is result


def test_each_stashing_allows_one_retrieval(result: EventualResult[Any]) -> None:
    """
    Of the same result, by different numbers.
    """
    stash = Stash()
    uids = {stash.put(result) for _ in range(3)}
    assert len(uids) == 3
    assert {stash.take(uid) for uid in uids} == {result}


def test_numbers_are_random_and_fit_a_signed_64_bit_field(
    result: EventualResult[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    They are those of the system's source for secrets, with 63 bits of it.
    """
    asked: list[int] = []

    def randbits(bits: int) -> int:
        asked.append(bits)
        return 2**bits - 1

    monkeypatch.setattr(secrets, "randbits", randbits)
    uid = Stash().put(result)
    assert asked == [63]
    assert uid == 2**63 - 1


def test_a_number_is_not_given_out_twice_at_a_time(
    stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Not even if it comes up again.
    """
    numbers = iter([5, 5, 6])
    monkeypatch.setattr(secrets, "randbits", lambda bits: next(numbers))
    stash = Stash()
    first, second = (stepped.run_in_reactor(lambda: 7)() for _ in range(2))
    assert stash.put(first) == 5
    assert stash.put(second) == 6
    assert stash.take(5) is first
    assert stash.take(6) is second


@pytest.mark.parametrize("wrong", [7, -1, 5.0, True, "5", None, [], object(), 2**80])
def test_anything_else_is_a_key_error(
    result: EventualResult[Any], monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    """
    Which gives away neither the number nor whether it ever was one; and what is there stays.
    """
    numbers = iter([5, 1])
    monkeypatch.setattr(secrets, "randbits", lambda bits: next(numbers))
    stash = Stash()
    live = stash.put(result), stash.put(result)
    with pytest.raises(KeyError, match="never given out, it was retrieved already") as caught:
        stash.take(wrong)
    assert repr(wrong) not in str(caught.value)
    assert caught.value.__context__ is None
    assert [stash.take(uid) for uid in live] == [result, result]


def test_one_of_many_threads_retrieves(result: EventualResult[Any]) -> None:
    """
    However they switch.
    """
    stash = Stash()
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

    def fail() -> None:
        raise ValueError("of a body")

    uid = stepped.run_in_reactor(fail)().stash()
    stepped.reactor.turn()
    assert logged.events == []
    with pytest.raises(ValueError, match="of a body"):
        stepped.retrieve_result(uid).wait(0)


def test_loops_have_stashes_of_their_own(stepped: FakeProcess, process: FakeProcess) -> None:
    """
    Like everything else.
    """
    uid = stepped.run_in_reactor(lambda: 7)().stash()
    with pytest.raises(KeyError):
        process.retrieve_result(uid)


def test_an_entry_takes_less_than_a_kilobyte(result: EventualResult[Any]) -> None:
    """
    Besides the result.
    """
    stash = Stash()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            stash.put(result)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / 1000 < 1000
