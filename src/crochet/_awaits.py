"""
What a coroutine, a generator or a Deferred waits for, in words.

Python tells of a coroutine which other it awaits, down to a Deferred. A Deferred does not tell who
would fire it, but Twisted's own lead there: one that waits for another, and that of a coroutine or
of an ``@inlineCallbacks`` generator. To the latter two there is no public way, so what is looked
for here may not be found in some other Twisted: then the words end earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isawaitable, isgenerator
from types import FrameType
from typing import Any, cast

from twisted.internet.defer import Deferred

_OLD = "callbacks"
# The generator that a coroutine awaits when it awaits a Deferred.
_AWAIT = cast("Any", Deferred).__await__.__code__

# Steps, more than anybody reads of; and they might lead round in a circle.
_DEPTH = 50


def places(awaited: object) -> list[str]:
    """
    Return where an operation is, its innermost place last. From any thread; blocks never.

    What runs meanwhile may be elsewhere by the time this is read.
    """
    return list(_follow(awaited))


def _follow(awaited: Any) -> Iterator[str]:
    yielded: object = None  # what the generator that comes next has yielded to its driver
    for _ in range(_DEPTH):
        frame, inner = _frame_of(awaited)
        if frame is not None and frame.f_code is _AWAIT:
            inner = frame.f_locals.get("self")
        elif frame is not None:
            code = frame.f_code
            name = getattr(code, "co_qualname", code.co_name)  # from 3.11 on
            yield f"{code.co_filename}:{frame.f_lineno} in {name}()"
            if inner is None:
                inner, yielded = yielded, None
        elif isinstance(awaited, Deferred):
            inner, yielded = _behind(awaited)
            if inner is None:
                yield "a Deferred that nothing has fired yet"
        elif awaited is not None:
            yield f"a {type(awaited).__name__}"
        if inner is None:
            return
        awaited = inner


def _frame_of(awaited: object) -> tuple[FrameType | None, object]:
    for frame, link in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom")):
        found = getattr(awaited, frame, None)
        if isinstance(found, FrameType):
            return found, getattr(awaited, link, None)
    return None, None


def _behind(deferred: Any) -> tuple[object, object]:
    """
    Return what is to fire a Deferred, if there is a way to it, and what that has yielded.
    """
    chained: object = getattr(deferred, "_chainedTo", None)
    if chained is not None:
        return chained, None
    # The canceller of a driven generator's Deferred knows the one that the generator waits for,
    # and among the callbacks of that is the driver's, which has the generator as an argument.
    for cell in getattr(getattr(deferred, "_canceller", None), "__closure__", None) or ():
        waits_for: Any = getattr(cell.cell_contents, "waitingOn", None)
        # By the name that is private, for the other is deprecated from Twisted 25.5 on.
        callbacks: Any = getattr(waits_for, "_callbacks", None) or getattr(waits_for, _OLD, ())
        for (_, arguments, _), _ in callbacks:
            for argument in arguments or ():
                if isgenerator(argument) or (
                    isawaitable(argument) and not isinstance(argument, Deferred)
                ):
                    return argument, waits_for
    return None, None
