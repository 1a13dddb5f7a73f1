"""
A reactor that a forked child has from its parent.
"""

from __future__ import annotations

from typing import Any

import pytest

from crochet._reactor import forked as _inheritance
from crochet._reactor.forked import Inheritance
from support.reactor import FakeReactor


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    What is done to a reactor.
    """
    done: list[str] = []
    for name in ("make_own", "make_runnable", "release_in_child"):
        monkeypatch.setattr(_inheritance, name, lambda *args, name=name: done.append(name))
    return done


def _inherit(monkeypatch: pytest.MonkeyPatch, reactor: Any) -> Inheritance:
    monkeypatch.setattr(_inheritance, "imported_reactor", lambda: reactor)
    inheritance = Inheritance()
    inheritance.find()
    return inheritance


def test_of_a_reactor_that_does_not_run(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    It is made the child's own before it runs, once.
    """
    reactor = FakeReactor()
    inheritance = _inherit(monkeypatch, reactor)
    assert inheritance.reactor is reactor
    for _ in range(2):
        inheritance.make_runnable(reactor, None)
    assert done == ["make_own", "make_runnable", "make_runnable"]
    assert inheritance.reactor is None


def test_of_another_reactor_than_is_run(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    It stays the parent's.
    """
    _inherit(monkeypatch, FakeReactor()).make_runnable(FakeReactor(), None)
    assert done == ["make_runnable"]


def test_of_none(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    None is imported; or it runs, and is this process's.
    """
    running = FakeReactor()
    running.running = True
    for reactor in (None, running):
        inheritance = _inherit(monkeypatch, reactor)
        assert inheritance.reactor is None
        inheritance.release()
    assert done == []


def test_of_what_is_half_done(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> None:
    """
    What is shared is closed.
    """
    _inherit(monkeypatch, FakeReactor()).release()
    assert done == ["release_in_child"]
