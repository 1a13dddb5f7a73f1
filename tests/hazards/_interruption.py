"""
Exceptions where Python might deliver a signal: at a chosen point of a call, or anywhere.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from _verdict import check, needs


class Interrupted(NamedTuple):
    """
    Where a call was interrupted, and what came of it.
    """

    where: str
    # The call had done all and was handing over its value: its caller was left without it.
    is_after: bool
    # It was in a ``__del__``, out of which Python itself lets no exception.
    is_lost: bool
    outcome: object


def interrupt(number: int, call: Callable[[], object]) -> Interrupted | None:
    """
    Interrupt a call in this thread at its n-th call or return, of Python or of C, counted from 1.

    Returns:
        None if the call has not as many points. Then it was not interrupted.
    """
    points = 0
    where = ""
    is_after = is_lost = False
    here = sys._getframe()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal points, where, is_after, is_lost
        if argument is sys.setprofile:
            return
        # Python looks for signals after calls. It does not look between the end of a `with`
        # statement's body and the __exit__ of its lock, which would stay locked.
        if event == "c_call" and getattr(argument, "__name__", "") == "__exit__":
            return
        points += 1
        if points == number:
            code = frame.f_code
            where = f"{event} in {os.path.basename(code.co_filename)}:{frame.f_lineno}"
            where += f" {code.co_name}()"
            is_after = event == "return" and frame.f_back is here
            is_lost = any(caller.f_code.co_name == "__del__" for caller in _callers(frame))
            raise KeyboardInterrupt(where)  # which ends the profiling, too

    # What a collection would call is not the call's own.
    gc.disable()
    outcome: object
    try:
        sys.setprofile(profile)
        outcome = call()
    except KeyboardInterrupt as error:
        outcome = error
    except Exception as error:
        outcome = error
    finally:
        sys.setprofile(None)
        gc.enable()
    return Interrupted(where, is_after, is_lost, outcome) if where else None


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_finalizer(frame: FrameType) -> bool:
    return frame.f_code.co_name == "__del__" or frame.f_code.co_filename.endswith("weakref.py")


class Struck(Exception):
    """
    Raised by a signal handler.
    """


class Storm:
    """
    Raises in the main thread, by real signals, at random moments of the calls made through it.

    Args:
        seed: of the moments.
        longest: seconds that a call goes on at most before it is struck.
    """

    def __init__(self, seed: int, longest: float) -> None:
        needs(hasattr(signal, "setitimer"), "signal.setitimer")
        self.strikes = 0
        self._choose = random.Random(seed)
        self._longest = longest
        self._is_raging = False
        signal.signal(signal.SIGALRM, self._strike)

    def _strike(self, number: int, frame: FrameType | None) -> None:
        # What is raised in a finalizer Python drops. There will be another moment.
        if self._is_raging and not any(map(_is_finalizer, _callers(frame))):
            self._is_raging = False
            self.strikes += 1
            raise Struck

    def strike(self, call: Callable[[], object], *accepted: type[Exception]) -> None:
        """
        Make a call, and strike it unless it ends first. It may raise what is accepted.
        """
        try:
            try:
                self._is_raging = True
                # And again: a signal that comes when the interpreter has looked for signals and
                # is about to block does not wake it. No Python code can do anything about that.
                moment = self._choose.uniform(1e-6, self._longest)
                signal.setitimer(signal.ITIMER_REAL, moment, 2e-3)
                call()
            finally:
                # Should it strike just here, the flag is False already.
                self._is_raging = False
        except (Struck, *accepted):
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)


def check_points(number: int) -> None:
    """
    Check that a call was interrupted at all, and at as many points as a call must have.
    """
    check(number >= 4, f"only {number} points were interrupted")
