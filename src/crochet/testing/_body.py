"""
Runs a test's body in the reactor thread, for a thread that waits for it up to a limit.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .._core.result import EventualResult, call_of
from .._diagnostics.frames import OWN, above_the_reactor, owner_of, told
from .._diagnostics.waits_on import awaits
from .._errors import TimeoutError
from .._lifecycle.lifecycle import EventLoop
from .._threads.threads import frames_of_threads

# Seconds that a body has for its cleanup once it was cancelled.
_GRACE = 1.0

# The threads that say nothing of a test.
_OURS = ("crochet-log-writer", "crochet-watch", "crochet-finalizer")

# What a body may return, besides None.
_FOLLOWED: tuple[type, ...] = (Deferred, Coroutine, Failure)


def run_body(
    loop: EventLoop,
    name: str,
    function: Callable[..., object],
    arguments: Mapping[str, object],
    limit: float | None,
) -> str | None:
    """
    Run a test's body, and say what it was at if it does not end in time; it is cancelled, then.

    Call it from any thread but the reactor's. Blocks up to *limit* seconds, None for no limit,
    and for the cleanup one second more.

    Raises:
        BaseException: what the body raised, or a signal handler. In the latter case, too, the body
            is cancelled.
    """
    returned: list[object] = []

    def body() -> object:
        value = function(**arguments)
        if value is not None and not isinstance(value, _FOLLOWED):
            raise TypeError(
                f"{name}() returned a {type(value).__name__}, and nothing would come of that: a "
                "test marked crochet is an `async def` without yield, or returns a Deferred or None"
            )
        returned.append(value)
        return value

    body.__qualname__ = name
    call = cast("Callable[[], EventualResult[object]]", loop.calls.run_in_reactor(body))
    result = call()
    try:
        result.wait(limit)
    except TimeoutError:
        if result.done():
            raise  # the body's own
        # All of it as it is now: cancelling moves threads on.
        where = _describe(loop, returned, result) + stacks()
        ended = _end(result)
        end = (
            "its Deferred was cancelled" if ended else "it was told to cancel but has not ended yet"
        )
        return f"{name}() has not ended in {limit:g} s; {end}.\n{where}"
    except BaseException:
        if not result.done():
            _end(result)
        raise
    finally:
        # What failed has a traceback, whose frames lead here.
        returned.clear()
        del result
    return None


def _end(result: EventualResult[object]) -> bool:
    result.cancel()
    with suppress(Exception):  # it has been told why, and its error is the cancellation's
        result.wait(_GRACE)
    return result.done()


def _describe(loop: EventLoop, returned: list[object], result: EventualResult[object]) -> str:
    if not returned:
        frame = frames_of_threads().get(loop.bridge.reactor_thread or 0)
        where = told(above_the_reactor(frame))
        return (
            "It has not come back from its call, or has not been called yet: "
            + (f"the reactor thread is in {where}" if where else "the reactor thread is busy")
            + ".\n"
        )
    lines = "".join(f"  {place}\n" for place in awaits(call_of(result).running))
    return f"It awaits, the innermost last:\n{lines}" if lines else "It awaits nothing.\n"


def stacks() -> str:
    """
    Return what the reactor thread is doing, and all others but this one and ours.
    """
    frames = frames_of_threads()
    frames.pop(threading.get_ident(), None)
    text = ""
    for thread in sorted(threading.enumerate(), key=lambda each: each.name != "crochet-reactor"):
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread.name not in _OURS:
            stack = traceback.extract_stack(frame)
            text += f"The thread {thread.name} is here:\n{_folded(stack)}"
    return text


def _folded(stack: traceback.StackSummary) -> str:
    """
    Format a stack, with one line for frames in a row that are Python's or of packages.
    """
    text, hidden = "", 0
    for number, entry in enumerate(stack, 1):
        # The innermost is shown, whosever it is: it says what the thread waits in.
        if owner_of(entry.filename) != OWN and number < len(stack):
            hidden += 1
            continue
        if hidden:
            text += f"  ... {hidden} frames of Python and of packages\n"
        text, hidden = text + "".join(traceback.format_list([entry])), 0
    return text
