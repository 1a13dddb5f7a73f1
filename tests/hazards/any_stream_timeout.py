"""
A timeout that an async generator has around its yields ends it, with what it raises.
"""

import asyncio
import contextlib

from _bridges import bridge
from _questions import ask
from _verdict import check, outcome_of

NUMBER = 100


@contextlib.asynccontextmanager
async def limit(seconds):
    # What asyncio.timeout() does, which Python 3.10 has not got.
    timer = asyncio.get_running_loop().call_later(seconds, asyncio.current_task().cancel)
    try:
        yield
    except asyncio.CancelledError:
        raise TimeoutError from None
    finally:
        timer.cancel()


async def body():
    async with getattr(asyncio, "timeout", limit)(0.3):
        for each in range(NUMBER):
            await asyncio.sleep(0.05)
            yield each


def hazard():
    bridge.use_asyncio()
    bridge.start()
    taken = []
    with contextlib.closing(bridge.items(body)) as items:
        outcome = outcome_of(lambda: taken.extend(items))
    check(outcome is not None, f"{NUMBER} items came, past the limit, and no error")
    check(isinstance(outcome, (TimeoutError, asyncio.TimeoutError)), f"{outcome!r}")
    check(len(taken) < NUMBER, "all items came")
    return "ended by its own timeout"


ask(hazard)
