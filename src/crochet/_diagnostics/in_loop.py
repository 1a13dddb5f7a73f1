"""
Waits in a thread that runs an asyncio loop: they stop that loop, and nothing would say so.

Such a wait is no deadlock: it ends, and the loop goes on. So it is told, once per place, and only
if it has lasted for long enough to be felt.

At a prompt that has a running loop, as in a notebook, a wait in a cell is what one types. That is
told by the stack: the top level of ``__main__``, and not out of a file, is on it, so somebody has
typed what waits. A task that was started there and goes on by itself has no such frame.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

from .. import _errors
from .frames import is_ours, place_of_frame


def warn_if_in_loop(name: str) -> None:
    """
    Warn of a wait in this thread that has lasted for 0.1 s, if its asyncio loop is running.

    Call it in the thread that waits, once for each wait. Blocks never.

    Args:
        name: of the function whose call is waited for.

    Raises:
        BlockingInLoopWarning: CROCHET_DEBUG is set, or the program's filters make it an error.
    """
    events = sys.modules.get("asyncio.events")
    if events is None or events._get_running_loop() is None:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None or _is_typed(frame):
        return
    place = place_of_frame(frame)
    warning = _errors.blocking_in_loop(name, str(place))
    if wants_debug():
        raise warning
    # As warnings.warn() does for the frame that it is told to.
    names = frame.f_globals
    warnings.warn_explicit(
        warning,
        type(warning),
        place.file,
        place.line,
        module=names.get("__name__"),
        registry=names.setdefault("__warningregistry__", {}),
    )


def wants_debug() -> bool:
    """
    Tell whether the environment asks for misuse to be refused.
    """
    return os.environ.get("CROCHET_DEBUG", "") not in ("", "0")


def _is_typed(frame: FrameType | None) -> bool:
    while frame is not None:
        names = frame.f_globals
        if (
            frame.f_code.co_name.startswith(("<module>", "<cell line"))
            and names.get("__name__") == "__main__"
            and frame.f_code.co_filename not in (names.get("__file__"), "<string>")
        ):
            return True
        frame = frame.f_back
    return False
