"""
How far an operation is: what it has reported, and what can be told from that.

A report may come a million times a second. So all that is kept of it is one tuple, which is put in
a call's slot in one step; what it means is worked out when somebody looks.

Threads: an operation reports in any thread; any may look.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from .._threads import clock

# Of a report: done, total, message; when it came, by the monotonic clock; and what was done, and
# when, at the first report since something was done last.
Reported = tuple[float, float | None, str | None, float, float, float]

# Seconds between two looks of those that follow an operation.
INTERVAL = 0.1


class Progress(NamedTuple):
    """
    How far an operation is, as it has last reported.

    Attributes:
        done: what is done, in any unit.
        total: all there is to do; None if that is not known.
        message: what it is at, in words; None if it has not said.
        fraction: of the total that is done, from 0.0 to 1.0; None without a total.
        rate: what is done in a second, since the first report; None before there are two.
        eta: seconds that the rest takes at that rate, from the last report on; None if there is
            nothing to tell it by.
    """

    done: float = 0
    total: float | None = None
    message: str | None = None
    fraction: float | None = None
    rate: float | None = None
    eta: float | None = None

    def __str__(self) -> str:
        """
        Return that in words: ``30 of 100 (30%)``.
        """
        text = f"{self.done:,.15g}"
        if self.total is not None:
            text += f" of {self.total:,.15g}"
        return text if self.fraction is None else f"{text} ({self.fraction:.0%})"


# Called in a thread that waits.
OnProgress = Callable[[Progress], object]


class Shown(Protocol):
    """
    What shows the progress of one operation.
    """

    def show(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class Display(Protocol):
    """
    Makes what shows the progress of a function of that name, for a wait for it in this thread;
    None if there is nothing to be shown.

    Of waits that block, one goes on at a time; of awaits, several may.
    """

    def __call__(self, name: str, *, blocks: bool = True) -> Shown | None: ...


# It is looked up by waits that last, so that others need not pay for it.
display: ContextVar[Display | None] = ContextVar("crochet.progress_display", default=None)


def progress_of(reported: Reported | None) -> Progress | None:
    """
    Return what a report says.
    """
    if reported is None:
        return None
    done, total, message, at, first, began = reported
    fraction = min(float(done / total), 1.0) if total else None
    seconds = at - began
    rate = float(done - first) / seconds if seconds > 0 else None
    eta = float(max(total - done, 0)) / rate if total is not None and rate else None
    return Progress(done, total, message, fraction, rate, eta)


def described(reported: Reported | None) -> str:
    """
    Return how far an operation is, as a phrase; nothing if it has not said.

    Without its message: texts end up in logs.
    """
    return "" if reported is None else f"has reported {progress_of(reported)}"


def last_report(reported: Reported | None) -> str:
    """
    Return how far an operation was that was given up, as a sentence; likewise.
    """
    if reported is None:
        return ""
    ago = max(clock.monotonic() - reported[3], 0.0)
    return f"It had reported {progress_of(reported)}, {ago:.2g} s before."
