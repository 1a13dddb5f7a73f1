"""
What is known of threads.
"""

from __future__ import annotations

import _thread
import sys

import pytest

from crochet._threads import in_subinterpreter


class TestSubinterpreter:
    """
    Whether this is one.
    """

    def test_is_told_from_the_main_one(self) -> None:
        """
        On whatever Python.
        """
        assert not in_subinterpreter()

    def test_where_there_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        On other Pythons than CPython.
        """
        monkeypatch.delattr(_thread, "_is_main_interpreter", raising=False)
        monkeypatch.setitem(sys.modules, "_xxsubinterpreters", None)
        assert not in_subinterpreter()
