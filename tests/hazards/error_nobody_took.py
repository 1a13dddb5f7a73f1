"""
The error of a result that is dropped is logged once, with its traceback; one that was taken is not.
"""

import gc

import crochet
from _operations import settled
from _records import Records
from _verdict import PATIENCE, check, judge, refusal_of


@crochet.run_in_reactor
def fail(error):
    raise error


def hazard():
    records = Records()
    crochet.setup()
    taken = fail(KeyError("taken"))
    refusal_of(lambda: taken.wait(PATIENCE), KeyError)
    looked_at = fail(LookupError("looked at"))
    settled()
    check(looked_at.original_failure() is not None, "there is no failure")
    result = fail(ValueError("nobody took it"))
    settled()
    del result, taken, looked_at
    gc.collect()
    errors = records.errors()
    kinds = [record.exc_info[0] if record.exc_info else None for record in errors]
    check(kinds == [ValueError], f"logged: {[record.getMessage()[:60] for record in errors]}")
    check(errors[0].exc_info[2] is not None, "without its traceback")
    return "1 record, with its traceback"


judge(hazard)
