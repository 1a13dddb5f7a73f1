"""
``setup()`` interrupted at any call or return point of it can be called again, and then works.
"""

from contextlib import suppress
from functools import partial

import twisted.internet.reactor  # noqa: F401 - its import is not at issue
from _interruption import check_points, interrupt
from _operations import check_alive
from _verdict import Breach, in_fork, judge

import crochet


def attempt(number):
    interrupted = interrupt(number, crochet.setup)
    where = interrupted.where if interrupted else ""
    try:
        crochet.setup()
        check_alive()
    except Exception as error:
        raise Breach(f"after an interruption at {where}: {error!r}") from error
    return where


def hazard():
    # One that is refused may import what it needs. That is not at issue either.
    with suppress(TypeError, ValueError):
        crochet.setup(stall_warning=0)
    # Each in a forked child, for a process is set up once.
    points = 0
    while in_fork(partial(attempt, points + 1)):
        points += 1
    check_points(points)
    return f"{points} points, all fine"


judge(hazard)
