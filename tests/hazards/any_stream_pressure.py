"""
An async generator runs no further ahead of its consumer than a few items, unless it is asked to.
"""

import contextlib

from _bridges import bridge
from _questions import ask
from _verdict import check

NUMBER = 1000
made = []


async def body():
    for each in range(NUMBER):
        made.append(each)
        yield each


async def look():
    for _ in range(10):
        await bridge.sleep(0.01)
    return len(made)


def hazard():
    bridge.start()
    with contextlib.closing(bridge.items(body)) as items:
        next(items)
        check(next(items) == 1, "another item")
        number = bridge.call(look, 30)
    check(number <= 10, f"{number} items are made when 2 were taken")
    return f"{number} items made when 2 were taken"


ask(hazard)
