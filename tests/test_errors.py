"""
Exceptions, and what they say.
"""

from __future__ import annotations

import builtins
import copy
import errno
import math
import pickle
import traceback
from collections.abc import Callable

import pytest

import crochet
from crochet import _errors
from crochet._diagnostics.frames import Place
from crochet._errors import Limit, Reason

_LIMIT = Limit(1.5)
_PLACE = Place("parse", "views.py", 31)
_REASON = Reason("busy", "The reactor thread is busy.", (_PLACE,), (_PLACE, _PLACE))

_BUILDERS: list[Callable[[str], Exception]] = [
    _errors.not_set_up,
    _errors.stopped,
    _errors.exiting,
    _errors.forked,
    _errors.in_reactor_thread,
    lambda name: _errors.not_answered(name, _LIMIT, _REASON),
    lambda name: _errors.gave_up(name, _LIMIT, _REASON, ended=True),
    lambda name: _errors.gave_up(name, _LIMIT, _REASON, ended=False),
    lambda name: _errors.never_started(name, _LIMIT, _REASON),
    lambda name: _errors.past_deadline(name, 1.5),
]


def test_timeout_error_is_the_builtin_too() -> None:
    """
    So that `except TimeoutError` needs no import.
    """
    assert issubclass(crochet.TimeoutError, builtins.TimeoutError)
    assert crochet.TimeoutError is not builtins.TimeoutError


def test_timeout_error_can_be_subclassed_beside_another() -> None:
    """
    And raised by programs with texts of their own.
    """

    class PageTimedOut(crochet.TimeoutError, LookupError):
        pass

    with pytest.raises(LookupError, match="page 7"):
        raise PageTimedOut("page 7 took too long")


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("first", [errno.ETIMEDOUT, "GET"])
def test_timeout_error_keeps_what_it_is_given(number: int, first: object) -> None:
    """
    As an Exception does, which it was in 2.1.1; an OSError loses the third.
    """
    given = (first, "two", "three", 4, "five", "six")[:number]
    error, plain = crochet.TimeoutError(*given), Exception(*given)
    error.state = "busy"
    for each in (error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(each) is crochet.TimeoutError
        assert (each.args, str(each), each.state) == (plain.args, str(plain), "busy")
        assert repr(each) == f"Timeout{repr(plain).replace('Exception', 'Error')}"


def test_timeout_error_has_the_errno_that_it_is_given() -> None:
    """
    As the builtin one does.
    """
    error = crochet.TimeoutError(errno.ETIMEDOUT, "it took too long")
    assert (error.errno, error.strerror) == (errno.ETIMEDOUT, "it took too long")


def test_timeout_error_takes_no_keywords() -> None:
    """
    But a subclass may.
    """

    class TimedOut(crochet.TimeoutError):
        def __init__(self, *page: object, seconds: float) -> None:
            self.seconds = seconds

    with pytest.raises(TypeError, match="unexpected keyword argument"):
        crochet.TimeoutError(seconds=5.0)  # type: ignore[call-arg]
    error = TimedOut("page", 7, "GET", seconds=5.0)
    assert (error.args, error.seconds) == (("page", 7, "GET"), 5.0)


def test_timeout_error_of_a_subclass_says_what_that_makes_of_it() -> None:
    """
    As usual.
    """

    class TimedOut(crochet.TimeoutError):
        def __init__(self, page: int, url: str, seconds: float) -> None:
            super().__init__(f"page {page} took {seconds} s")

    assert str(TimedOut(7, "/", 5.0)) == "page 7 took 5.0 s"


def test_deadlock_error_is_a_runtime_error() -> None:
    """
    As it is in 2.1.1, where it has no class of its own.
    """
    assert issubclass(crochet.DeadlockError, RuntimeError)


@pytest.mark.parametrize("name", ["TimeoutError", "ReactorBusy", "ReactorStopped", "DeadlockError"])
def test_tracebacks_name_an_exception_as_programs_import_it(name: str) -> None:
    """
    And pickles find it there.
    """
    error = getattr(crochet, name)("why")
    assert traceback.format_exception_only(error) == [f"crochet.{name}: why\n"]
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), copied.args) == (type(error), error.args)


@pytest.mark.parametrize("build", _BUILDERS)
def test_each_text_says_what_happened_and_what_to_do(build: Callable[[str], Exception]) -> None:
    """
    In one or two sentences more than the name of the function, and on one line.
    """
    text = str(build("fetch"))
    assert "fetch()" in text
    assert text.count(". ") >= 1
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (_errors.not_set_up, RuntimeError),
        (_errors.stopped, crochet.ReactorStopped),
        (_errors.exiting, crochet.ReactorStopped),
        (_errors.forked, crochet.ReactorStopped),
        (_errors.in_reactor_thread, crochet.DeadlockError),
    ],
)
def test_each_refusal_has_its_kind(
    build: Callable[[str], Exception], kind: type[Exception]
) -> None:
    """
    Which programs catch.
    """
    assert type(build("fetch")) is kind


@pytest.mark.parametrize(
    ("timeout", "text"), [(5.0, "5 s"), (0.25, "0.25 s"), (0, "0 s"), (math.inf, "inf s")]
)
def test_timeouts_name_their_seconds(timeout: float, text: str) -> None:
    """
    Without needless digits.
    """
    limit = Limit(timeout)
    assert text in str(_errors.not_answered("fetch", limit, _REASON))
    assert text in str(_errors.gave_up("fetch", limit, _REASON, ended=True))
    assert text in str(_errors.never_started("fetch", limit, _REASON))


def test_timeouts_say_what_became_of_the_operation_and_why() -> None:
    """
    In the text, and in attributes for programs.
    """
    error = _errors.gave_up("fetch", _LIMIT, _REASON, ended=True)
    assert str(error) == (
        "fetch() has not answered in 1.5 s; its Deferred was cancelled. The reactor thread is busy."
    )
    assert (error.function, error.timeout, error.cancelled, error.ended) == (
        ("fetch", 1.5, True, True)
    )
    assert (error.state, error.reason, error.stack, error.awaits) == _REASON
    error = _errors.gave_up("fetch", _LIMIT, _REASON, ended=False)
    assert "has not ended yet" in str(error)
    assert (error.cancelled, error.ended) == (True, False)
    error = _errors.never_started("fetch", _LIMIT, _REASON)
    assert "was withdrawn and will not run" in str(error)
    assert (error.cancelled, error.ended) == (True, True)
    error = _errors.not_answered("fetch", _LIMIT, _REASON)
    assert str(error).endswith(". The reactor thread is busy. wait() again, or cancel() it.")
    assert (error.cancelled, error.ended) == (False, False)
    error = _errors.past_deadline("fetch", 0.5)
    assert (error.state, error.cancelled, error.ended) == ("past-deadline", True, True)


def test_timeouts_of_a_deadline_say_so() -> None:
    """
    For the number of seconds is none that a program has written anywhere.
    """
    error = _errors.not_answered("fetch", Limit(1.23456, by_deadline=True), _REASON)
    assert "has not answered in 1.235 s, all that deadline() left it. The" in str(error)


def test_a_timeout_of_a_programs_own_has_the_attributes_empty() -> None:
    """
    And all of them come through a pickle.
    """
    assert crochet.TimeoutError("why").function is None
    error = pickle.loads(pickle.dumps(_errors.never_started("fetch", _LIMIT, _REASON)))
    assert (error.function, error.state, error.stack) == ("fetch", "busy", (_PLACE,))


def test_a_negative_timeout_is_told_as_none_at_all() -> None:
    """
    For that is what was waited.
    """
    assert " 0 s." in str(_errors.not_answered("fetch", Limit(-3.0), _REASON))


def test_timeouts_claim_no_more_than_is_known() -> None:
    """
    A Deferred that fires because it was cancelled says nothing of the work behind it.
    """
    error = _errors.gave_up("crawl", _LIMIT, _REASON, ended=True)
    assert "; its Deferred was cancelled. " in str(error)
    note = _errors.how_it_ended("crawl", started=True, ended=True)
    assert note == "crawl() was told to cancel, and its Deferred was cancelled."
