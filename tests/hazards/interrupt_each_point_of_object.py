"""
KeyboardInterrupt at every call and return point of a proxied object's use: it is exited once.
"""

import gc
import time

from _interruption import check_points, interrupt
from _verdict import PATIENCE, check, judge

import crochet

log = []


class Thing:
    async def __aenter__(self):
        log.append("enter")
        return self

    async def __aexit__(self, *error):
        log.append("exit")

    def call(self):
        return 1


def use(thing):
    with thing:
        thing.call()


def hazard():
    crochet.setup()
    settle = crochet.wait_for(timeout=60)(int)
    number, left = 1, []
    while True:
        thing = crochet.blocking(Thing(), timeout=60)
        interrupted = interrupt(number, lambda thing=thing: use(thing))
        if interrupted is None:
            break
        where = interrupted.where
        # Its traceback holds the object.
        del thing, interrupted
        gc.collect()
        # What was dropped is exited by way of a thread, and on asyncio's reactor in a later turn.
        end = time.monotonic() + PATIENCE
        while log.count("enter") != log.count("exit") and time.monotonic() < end:
            settle()
        if log.count("enter") != log.count("exit"):
            left.append(where)
            log.clear()
        number += 1
    check_points(number - 1)
    check(not left, f"{len(left)} of {number - 1} leave it entered: {left[:2]}")
    check(not crochet.status().calls, "calls are left")
    return f"{number - 1} points, each entered object exited once"


judge(hazard)
