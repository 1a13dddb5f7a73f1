"""
Generator functions, whose body would run in the caller's thread, are refused when decorating.
"""

from _verdict import judge, refusal_of

import crochet


def generator():
    yield 1


async def async_generator():
    yield 1


def hazard():
    for function in (generator, async_generator):
        refusal_of(lambda function=function: crochet.run_in_reactor(function), TypeError)
        refusal_of(lambda function=function: crochet.wait_for(1)(function), TypeError)
    return "4 of 4 refused with TypeError"


judge(hazard)
