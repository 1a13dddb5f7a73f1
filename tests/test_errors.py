"""
Exceptions, and what they say.
"""

from __future__ import annotations

import builtins
import math
import pickle
import traceback
from collections.abc import Callable

import pytest

import crochet
from crochet import _errors

_BUILDERS: list[Callable[[str], Exception]] = [
    _errors.not_set_up,
    _errors.stopped,
    _errors.exiting,
    _errors.forked,
    _errors.in_reactor_thread,
    lambda name: _errors.not_answered(name, 1.5, is_running=True),
    lambda name: _errors.not_answered(name, 1.5, is_running=False),
    lambda name: _errors.gave_up(name, 1.5, ended=True),
    lambda name: _errors.gave_up(name, 1.5, ended=False),
    lambda name: _errors.never_started(name, 1.5, is_running=True),
    lambda name: _errors.never_started(name, 1.5, is_running=False),
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


def test_deadlock_error_is_a_runtime_error() -> None:
    """
    As it is in 2.1.1, where it has no class of its own.
    """
    assert issubclass(crochet.DeadlockError, RuntimeError)


@pytest.mark.parametrize("name", ["TimeoutError", "ReactorStopped", "DeadlockError"])
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
    assert text in str(_errors.not_answered("fetch", timeout, is_running=True))
    assert text in str(_errors.gave_up("fetch", timeout, ended=True))
    assert text in str(_errors.never_started("fetch", timeout, is_running=True))


def test_timeouts_say_why() -> None:
    """
    As far as is known.
    """
    assert "was cancelled" in str(_errors.gave_up("fetch", 1.0, ended=True))
    assert "has not ended yet" in str(_errors.gave_up("fetch", 1.0, ended=False))
    assert "has not come to it" in str(_errors.never_started("fetch", 1.0, is_running=True))
    assert "It goes on" in str(_errors.not_answered("fetch", 1.0, is_running=True))
    for build in (_errors.never_started, _errors.not_answered):
        assert "not running yet" in str(build("fetch", 1.0, is_running=False))


def test_a_negative_timeout_is_told_as_none_at_all() -> None:
    """
    For that is what was waited.
    """
    assert " 0 s." in str(_errors.not_answered("fetch", -3, is_running=True))
