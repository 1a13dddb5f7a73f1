"""
A traceback is of constant length, however often the error is taken.
"""

import traceback

from _verdict import PATIENCE, check, judge

import crochet


class Uncopyable(Exception):
    def __init__(self, number, text):
        super().__init__(text)


@crochet.run_in_reactor
def fail(error):
    raise error


def hazard():
    crochet.setup()
    for error in (ValueError("it failed"), Uncopyable(1, "it failed")):
        result = fail(error)
        lengths = set()
        kept = []
        for _ in range(100):
            try:
                result.wait(PATIENCE)
            except Exception as taken:
                lengths.add(len(traceback.extract_tb(taken.__traceback__)))
                kept.append(taken)
        check(len(lengths) == 1, f"from {min(lengths)} frames to {max(lengths)}")
    return f"{lengths.pop()} frames each time"


judge(hazard)
