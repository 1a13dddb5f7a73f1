"""
NaN, negative numbers, what is no number, and a missing call are refused when decorating.
"""

from decimal import Decimal

from _verdict import check, judge, outcome_of

import crochet


def body():
    pass


def hazard():
    bad = [float("nan"), Decimal("nan"), -1, -0.001, float("-inf"), "5", b"5", [], {}, 1j, body]
    accepted = []
    for timeout in bad:
        outcome = outcome_of(lambda timeout=timeout: crochet.wait_for(timeout)(body))
        if not isinstance(outcome, (TypeError, ValueError)):
            accepted.append(timeout)
    check(not accepted, f"{len(accepted)} of {len(bad)} are accepted: {accepted}")
    return f"{len(bad)} of {len(bad)} refused"


judge(hazard)
