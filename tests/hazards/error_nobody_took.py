"""
The error of a result that is dropped is logged once, with its traceback; one that was taken is not.
"""

import gc
import logging
from functools import partial

from _operations import settled
from _records import Records
from _verdict import PATIENCE, check, judge, refusal_of

import crochet


@crochet.run_in_reactor
def fail(error):
    raise error


def hazard():
    records = Records()
    crochet.setup()
    taken = fail(KeyError("taken"))
    refusal_of(partial(taken.wait, PATIENCE), KeyError)
    looked_at = fail(LookupError("looked at"))
    settled()
    check(looked_at.original_failure() is not None, "there is no failure")
    result = fail(ValueError("nobody took it"))
    settled()
    del result, taken, looked_at
    gc.collect()
    logged = [logging.Formatter().format(record) for record in records.errors()]
    check(len(logged) == 1, f"logged: {[text[:60] for text in logged]}")
    check("ValueError: nobody took it" in logged[0], f"logged: {logged[0]}")
    check("in fail" in logged[0], "logged without its traceback")
    return "1 record, with its traceback"


judge(hazard)
