"""
When the reactor stops, each use of a proxied object gets ReactorStopped, and the object is exited.
"""

import time

from _leaving import ends
from _objects import hanging, new_thing
from _verdict import PATIENCE, check, in_threads, judge

import crochet


def call():
    new_thing("call").call()


def iterate():
    with new_thing("item").items() as items:
        list(items)


def wait_in_block():
    with new_thing("call") as thing:
        thing.call()


def enter():
    with new_thing("enter"):
        pass


def hazard():
    uses = (call, iterate, wait_in_block, enter)
    for _ in range(2):  # and again, once it was set up again
        ends.clear()
        hanging.clear()
        crochet.setup()

        def use(number):
            if number < len(uses):
                return uses[number]()
            deadline = time.monotonic() + PATIENCE
            while len(hanging) < len(uses):
                check(time.monotonic() < deadline, f"not all wait: {crochet.status()}")
                time.sleep(0.001)
            return crochet.shutdown()

        outcomes = in_threads(len(uses) + 1, use)
        for function, outcome in zip(uses, outcomes, strict=False):
            is_stopped = isinstance(outcome, crochet.ReactorStopped)
            check(is_stopped, f"{function.__name__}: {outcome!r}")
        check(len(ends) == len(uses) + 1, f"{len(ends)} of {len(uses) + 1} have ended")
    return f"{len(uses)} uses, twice"


judge(hazard)
