"""
No limit, infinity, and numbers beyond what a lock can take are accepted, and calls answered.
"""

import sys
import threading
from decimal import Decimal
from fractions import Fraction

from _verdict import check, judge, outcome_of

import crochet


def hazard():
    crochet.setup()
    limits = [None, float("inf"), threading.TIMEOUT_MAX * 2, 10**30, sys.float_info.max]
    limits += [Decimal(5), Fraction(7, 2), True]
    failed = []
    for limit in limits:
        outcome = outcome_of(lambda limit=limit: crochet.wait_for(limit)(lambda: 42)())
        if outcome != 42:
            failed.append(f"{limit!r}: {outcome!r}")
    check(not failed, f"{len(failed)} of {len(limits)} fail: {'; '.join(failed)}")
    return f"{len(limits)} kinds of limit"


judge(hazard)
