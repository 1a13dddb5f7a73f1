"""
The ``__context__`` of an error never has what another of its takers was handling.
"""

from _verdict import PATIENCE, check, judge, outcome_of

import crochet


@crochet.run_in_reactor
def fail():
    raise ValueError("it failed")


@crochet.run_in_reactor
def fail_with_history():
    try:
        raise KeyError("the first")
    except KeyError:
        raise ValueError("the second") from None


def take_while_handling(result):
    try:
        raise OSError("what this taker has to do with")
    except OSError:
        return outcome_of(lambda: result.wait(PATIENCE))


def hazard():
    crochet.setup()
    for function, expected in ((fail, type(None)), (fail_with_history, KeyError)):
        result = function()
        for _ in range(3):
            take_while_handling(result)
            error = outcome_of(lambda result=result: result.wait(PATIENCE))
            context = error.__context__
            check(type(context) is expected, f"{context!r} is the context of {error!r}")
    return "kept apart"


judge(hazard)
