"""
The clock that waits, deadlines and the texts of errors go by.

Tests freeze time. freezegun, for one, replaces ``time.monotonic`` for a while, and every name at
the top level of any module that stands for that same function. A wait that is measured half by the
real clock and half by a frozen one ends early, or never. So ``monotonic`` here is another function
object, from a ``time`` module of our own: it goes on being the real clock, also if this module is
first imported while time is frozen.
"""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from time import monotonic as monotonic
else:
    _spec = find_spec("time")
    _time = module_from_spec(_spec)
    _spec.loader.exec_module(_time)
    monotonic = _time.monotonic
