"""
What is known of threads.
"""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from crochet._threads import current_processor
from fakes import Background


class TestCurrentProcessor:
    """
    Where this thread runs.
    """

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
    def test_is_the_one_that_a_thread_is_kept_to(self) -> None:
        """
        Whichever that is.
        """

        def kept_to(processor: int) -> int:
            os.sched_setaffinity(0, {processor})  # of this thread only
            return current_processor()()

        processors = sorted(os.sched_getaffinity(0))
        seen = [Background(lambda n=each: kept_to(n)).outcome() for each in processors]
        assert seen == processors

    @pytest.mark.parametrize("error", [OSError, AttributeError, ImportError])
    def test_is_the_first_where_nobody_tells(
        self, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        """
        On other systems, or with a C library that has no such function.
        """

        def refuse(name: str | None) -> None:
            raise error

        monkeypatch.setattr(ctypes, "PyDLL", refuse)
        assert current_processor.__wrapped__()() == 0
        monkeypatch.undo()
        monkeypatch.setattr(sys, "platform", "darwin")
        assert current_processor.__wrapped__()() == 0
