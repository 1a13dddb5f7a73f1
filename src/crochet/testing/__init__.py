"""
What tests get from the pytest plugin, to be named in annotations.

The fixtures are made by pytest; see "Test code that uses it" in the documentation.
"""

from __future__ import annotations

from ._clock import CrochetClock
from ._leaks import LeakCheck


class CrochetReactor:
    """
    What the fixture ``crochet_reactor`` is: the reactor runs, and the test leaves nothing behind.
    """

    def __init__(self, leaks: LeakCheck) -> None:
        self._leaks = leaks

    def allow_leaks(self, *kinds: str) -> None:
        """
        Let this test leave something behind on purpose.

        Call it from any thread. Never blocks.

        Args:
            kinds: ``"operations"``, ``"delayed_calls"``, ``"readers"``, ``"errors"``; none for
                all.

        Raises:
            ValueError: there is no such kind.
        """
        self._leaks.allow(*kinds)

    def logged_errors(self) -> list[BaseException]:
        """
        Return the errors that have been logged since the last time; they were expected, then.

        Call it from any thread. Blocks for a garbage collection.
        """
        return self._leaks.take_errors()


__all__ = ["CrochetClock", "CrochetReactor"]
