"""
A context variable that an async generator sets and resets around its yields is right at each.
"""

import contextlib
import contextvars

from _bridges import bridge
from _questions import ask
from _verdict import check, outcome_of

state = contextvars.ContextVar("state", default="before")


async def body():
    token = state.set("inside")
    try:
        for _ in range(3):
            await bridge.sleep(0)
            yield state.get()
    finally:
        state.reset(token)
    yield state.get()


def hazard():
    bridge.start()
    with contextlib.closing(bridge.items(body)) as items:
        seen = outcome_of(lambda: list(items))
    check(seen == ["inside"] * 3 + ["before"], f"{seen!r}")
    return "set for three items, and reset"


ask(hazard)
