"""
What is left to the garbage collector.
"""

from __future__ import annotations

import gc
from collections.abc import Callable


def cycles_of(act: Callable[[], object], times: int = 1) -> int:
    """
    Return how many objects a function leaves behind in reference cycles.

    Args:
        act: is called once before, for what is made once.
        times: how often it is called then.
    """
    act()
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            act()
        return gc.collect()
    finally:
        gc.enable()
