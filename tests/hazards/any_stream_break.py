"""
An async generator whose consumer breaks off ends then: its ``finally`` runs, and no more is made.
"""

import contextlib
import threading

from _bridges import bridge
from _questions import AT_ONCE, ask, check_alive
from _verdict import check

NUMBER = 2000
made, ended = [], threading.Event()


async def body():
    try:
        for each in range(NUMBER):
            made.append(each)
            yield each
            await bridge.sleep(0.001)
    finally:
        ended.set()


def hazard():
    bridge.start()
    with contextlib.closing(bridge.items(body)) as items:
        for each in items:
            if each == 2:
                break
    check(ended.wait(AT_ONCE), "the generator goes on, and its finally does not run")
    check(len(made) < NUMBER, f"all {NUMBER} items were made")
    check_alive()
    return "ended at the break"


ask(hazard)
