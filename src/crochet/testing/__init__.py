"""
What tests get from the pytest plugin, to be named in annotations.

The fixtures are made by pytest; see "Test code that uses it" in the documentation.
"""

from __future__ import annotations

from ._clock import CrochetClock
from ._leaks import Watched


class CrochetReactor(Watched):
    """
    What the fixture ``crochet_reactor`` is: the reactor runs, and the test leaves nothing behind.
    """


__all__ = ["CrochetClock", "CrochetReactor"]
