"""
Progress: how an operation tells how far it is, and a bar for it in a terminal.

What must always hold: a report is put in the call's slot in one step, whole, and never blocks,
raises or wakes anybody for what its reader does; a reader looks when it wants to.

Threads: an operation reports in the reactor thread, or in any that has its context. A bar is drawn
in the thread that has made it, and in no other.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from .. import _errors
from .._core.call import call_here
from .._core.progress import Progress, Reported, display
from .._threads import clock

if TYPE_CHECKING:
    from .._core.bridge import Bridge

# Seconds between two lines where there is no terminal.
_BETWEEN_LINES = 5.0


def report(bridge: Bridge, done: float, total: float | None, message: str | None) -> None:
    """
    Note how far the operation is; see :func:`crochet.report_progress`.
    """
    call = call_here(bridge)
    if call is None:
        return
    try:
        is_number = done >= 0 and (total is None or total >= 0)  # which NaN is not
    except TypeError:
        raise TypeError(
            f"progress cannot be {done!r} of {total!r}: give numbers, or None for no total"
        ) from None
    if not is_number:
        raise ValueError(f"progress cannot be {done} of {total}: give numbers from 0 up")
    now = clock.monotonic()
    before: Reported | None = call.reported
    if before is None or done < before[0]:
        call.reported = (done, total, message, now, done, now)
    else:
        call.reported = (done, total, message, now, before[4], before[5])
    on_report = bridge.on_report  # looked at after that
    if on_report and (tell := on_report.pop(call, None)) is not None:
        tell()


class _Lines:
    """
    Writes lines, now and then, where there is no terminal.
    """

    def __init__(self, name: str, file: TextIO) -> None:
        self._name = name
        self._file = file
        self._next = -1.0  # by the monotonic clock
        self._unsaid: Progress | None = None
        self.is_closed: bool = False  # be it while something is still awaited

    def show(self, progress: Progress) -> None:
        if self.is_closed:
            return
        self._unsaid = progress
        now = clock.monotonic()
        if now >= self._next:
            self._next = now + _BETWEEN_LINES
            self._write()

    def close(self) -> None:
        """
        Write what was not worth a line before something came of it.
        """
        self.is_closed = True
        self._write()

    def _write(self) -> None:
        progress, self._unsaid = self._unsaid, None
        if progress is None:
            return
        left = "" if progress.eta is None else f", {progress.eta:.0f} s left"
        message = "" if progress.message is None else f": {progress.message}"
        self._file.write(f"{self._name}() {progress}{left}{message}\n")
        self._file.flush()


class _Bar:
    """
    A bar of tqdm's, made when there is something to show.
    """

    def __init__(self, name: str, file: TextIO, make: Any) -> None:
        self._name = name
        self._file = file
        self._make = make
        self._bar: Any = None
        self.is_closed: bool = False

    def show(self, progress: Progress) -> None:
        if self.is_closed:
            return
        bar = self._bar
        if bar is None:
            bar = self._bar = self._make(
                desc=self._name, initial=progress.done, total=progress.total, file=self._file
            )
        bar.total = progress.total
        bar.n = progress.done
        bar.set_postfix_str(progress.message or "", refresh=False)
        bar.refresh()

    def close(self) -> None:
        self.is_closed = True
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(file: TextIO | None) -> Generator[None, None, None]:
    """
    Show progress; see :func:`crochet.progress_bar`.
    """
    try:
        # Not with the package: it is an extra's, and few need it.
        # In this order: the first keeps the second from warning.
        names = ("auto", "autonotebook", "std")
        tqdm, chosen, plain = (import_module(f"tqdm.{name}").tqdm for name in names)
    except ImportError as error:
        raise _errors.no_tqdm() from error
    # It needs no thread of its own, to look at bars that are not refreshed.
    unwatched = type("Unwatched", (tqdm,), {"monitor_interval": 0})
    own = get_ident()
    to: TextIO = sys.stderr if file is None else file
    # In a notebook a bar is no text.
    has_bar = to.isatty() or (file is None and chosen is not plain)
    shown: list[_Bar | _Lines] = []
    is_over = False

    def begin(name: str, *, blocks: bool = True) -> _Bar | _Lines | None:
        if get_ident() != own or is_over:
            return None  # of a thread, or a task, that has a copy of this context
        while blocks and shown:
            shown.pop().close()
        shown[:] = [each for each in shown if not each.is_closed]
        shown.append(_Bar(name, to, unwatched) if has_bar else _Lines(name, to))
        return shown[-1]

    token = display.set(begin)
    try:
        yield
    finally:
        is_over = True
        display.reset(token)
        while shown:
            shown.pop().close()
