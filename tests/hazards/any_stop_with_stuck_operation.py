"""
An operation that ignores its cancellation holds up the stopping for a bounded time only.
"""

import asyncio
import contextlib
import threading

from _bridges import bridge
from _questions import ask, in_background
from _verdict import PATIENCE, Hang, happens, needs

started = threading.Event()


async def stubborn():
    while True:
        started.set()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await bridge.never()


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    needs(bridge.can_stop, "a way to stop the loop")
    bridge.start()
    bridge.submit(stubborn)
    happens(started, "the operation starts")
    stopping, outcomes = in_background(bridge.stop)
    stopping.join(PATIENCE)
    if stopping.is_alive():
        raise Hang(f"the stopping waits on after {PATIENCE:g} s")
    if outcomes[0] is not None and not isinstance(outcomes[0], bridge.timed_out):
        raise outcomes[0]
    return "stopped" if outcomes[0] is None else f"told: {type(outcomes[0]).__name__}"


ask(hazard)
