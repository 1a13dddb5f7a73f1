"""
Generator functions, whose body would run in the caller's thread, are refused or warned of.
"""

import warnings

from _verdict import check, judge, refusal_of

import crochet


def generator():
    yield 1


async def async_generator():
    yield 1


def hazard():
    refusal_of(lambda: crochet.wait_for(1)(generator), TypeError)
    refusal_of(lambda: crochet.wait_for(1)(async_generator), TypeError)
    refusal_of(lambda: crochet.run_in_reactor(async_generator), TypeError)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        crochet.run_in_reactor(generator)
    check([each.category for each in caught] == [DeprecationWarning], f"warned of: {caught}")
    return "3 refused with TypeError, 1 with a DeprecationWarning"


judge(hazard)
