"""
Waits that could only last for ever, and how they end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from _verdict import PATIENCE, check, outcome_of

# Seconds after which a wait in a deadlock is to have ended on a busy machine; 0.2 on a quiet one.
SOON = 1.5
assert SOON < PATIENCE


def check_ended(wait: Callable[[], object]) -> str:
    """
    Check that a wait for PATIENCE seconds is ended soon, for what it is; return how.
    """
    began = time.monotonic()
    outcome = outcome_of(wait)
    seconds = time.monotonic() - began
    name = type(outcome).__name__
    check(isinstance(outcome, RuntimeError), f"{name} after {seconds:.1f} s")
    check(seconds < SOON, f"{name}, but after {seconds:.1f} s")
    return f"{name} after {seconds:.2f} s"
