"""
Of 16 threads that retrieve one stashed result at once, one gets it, and the others a KeyError.
"""

import sys

from _verdict import PATIENCE, check, in_threads, judge

import crochet


@crochet.run_in_reactor
def value():
    return 42


def hazard():
    crochet.setup()
    sys.setswitchinterval(1e-6)
    for _ in range(100):
        uid = value().stash()
        outcomes = in_threads(16, lambda _, uid=uid: crochet.retrieve_result(uid))
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        check(len(errors) == 15, f"{16 - len(errors)} threads got the result")
        check({type(each) for each in errors} == {KeyError}, f"errors: {errors}")
        (result,) = (each for each in outcomes if each not in errors)
        check(result.wait(PATIENCE) == 42, "another value")
    return "100 times 1 of 16"


judge(hazard)
