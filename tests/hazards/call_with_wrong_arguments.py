"""
Wrong arguments are a TypeError for the caller at once, also where the function is ``async def``.
"""

from _operations import check_alive
from _verdict import judge, refusal_of

import crochet


@crochet.wait_for(timeout=2.0)
def plain(one):
    return one


@crochet.wait_for(timeout=2.0)
async def coroutine(one):
    return one


@crochet.run_in_reactor
def plain_in_background(one):
    return one


@crochet.run_in_reactor
async def coroutine_in_background(one):
    return one


def hazard():
    crochet.setup()
    for function in (plain, coroutine):
        refusal_of(function, TypeError)
        refusal_of(lambda function=function: function(1, 2), TypeError)
        refusal_of(lambda function=function: function(two=2), TypeError)
    for function in (plain_in_background, coroutine_in_background):
        refusal_of(lambda function=function: function().wait(2.0), TypeError)
    check_alive()
    return "TypeError, 8 of 8"


judge(hazard)
