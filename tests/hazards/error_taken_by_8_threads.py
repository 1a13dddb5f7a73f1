"""
Each of 8 threads that take one error at once sees its own frames, and none of the others'.
"""

import sys
import traceback

from _verdict import PATIENCE, check, in_threads, judge

import crochet


@crochet.run_in_reactor
def fail():
    raise ValueError("it failed")


def taker(number):
    names = {}
    exec(f"def taker_{number}(result, patience):\n    return result.wait(patience)\n", names)
    return names[f"taker_{number}"]


def hazard():
    crochet.setup()
    sys.setswitchinterval(1e-6)
    for _ in range(100):
        result = fail()

        def take(number, result=result):
            try:
                taker(number)(result, PATIENCE)
            except ValueError as error:
                return [frame.name for frame in traceback.extract_tb(error.__traceback__)]

        for number, frames in enumerate(in_threads(8, take)):
            takers = [name for name in frames if name.startswith("taker_")]
            check(takers == [f"taker_{number}"], f"taker_{number} sees {takers}")
            check("fail" in frames, "the reactor's frames are missing")
    return "100 errors, 8 takers each"


judge(hazard)
