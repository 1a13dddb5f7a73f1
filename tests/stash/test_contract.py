"""
What every stash does, whichever it is.

Each test runs on all of them, with real reactors. "Another process" is another whole library with a
reactor of its own; see ``Place``. Those in processes of their own are in test_processes.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from support.process import LoggedFailures
from support.stepping import BOUND, together

from .conftest import Place


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


def test_a_value_is_never_serialized_in_its_own_process(place: Place) -> None:
    """
    Nor is one that cannot be.
    """
    here = place.process()
    value = object()
    uid = here.call(lambda: value).stash()
    assert here.peek(uid).wait(BOUND) is value
    assert here.take(uid).wait(BOUND) is value


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
