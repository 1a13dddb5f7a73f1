"""
What a call waits for fires at the end of the reactor thread's stack, on asyncio: it is answered.
"""

import sys

from _resumption import sweep
from _verdict import judge

import crochet


def deep(frames, function):
    return function() if frames <= 0 else deep(frames - 1, function)


def strike(number, fire):
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    try:
        deep(sys.getrecursionlimit() - depth - number, fire)
    except RecursionError:
        pass
    return number < 100


def hazard():
    crochet.setup(reactor="asyncio")
    return sweep(strike, 20)


judge(hazard)
