"""
The caller's context variables are seen by the body, to its end; those it sets do not leak.
"""

import contextvars

from _bridges import bridge
from _questions import ask
from _verdict import check, in_threads

user = contextvars.ContextVar("user", default="nobody")


async def body():
    seen = [user.get()]
    await bridge.sleep(0.01)
    seen.append(user.get())
    user.set("somebody else")
    return seen


async def look():
    return user.get()


def work(number):
    check(bridge.call(look, 30) == "nobody", "it sees what another call has set")
    user.set(number)
    seen = bridge.call(body, 30)
    check(seen == [number, number], f"{[number, number]} was set and {seen} was seen")


def hazard():
    bridge.start()
    for outcome in in_threads(8, work):
        if outcome is not None:
            raise outcome
    return "8 threads, each its own"


ask(hazard)
