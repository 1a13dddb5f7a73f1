"""
Garbage whose ``__del__`` submits a call is collected at any time, in all threads: no deadlock.
"""

import gc
import random
import threading

from _bridges import bridge
from _questions import ask, check_alive, nothing
from _verdict import PATIENCE, check, in_threads, needs

choose = random.Random(1)
entered = threading.local()
count = 0
submit = None


def work(_):
    call = bridge.blocking(body, PATIENCE)
    for _ in range(150):
        litter()
        check(call() == 42, "another call's answer")


class Garbage:
    def __init__(self):
        self.cycle = self

    def __del__(self):
        global count
        if not getattr(entered, "now", False):
            entered.now = True
            try:
                submit()
                count += 1
            except RuntimeError:
                pass  # refused, as in the loop's thread by some: that is no deadlock
            finally:
                entered.now = False


def litter():
    gc.set_threshold(choose.randrange(2, 60))
    Garbage()


async def body():
    litter()
    return 42


def hazard():
    global submit
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    submit = bridge.submitting(nothing)
    for outcome in in_threads(4, work):
        if outcome is not None:
            raise outcome
    gc.set_threshold(700)
    check_alive()
    check(count > 100, f"called again only {count} times")
    return f"called again {count} times"


ask(hazard)
