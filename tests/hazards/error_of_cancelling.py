"""
The expected CancelledError after a timeout is not logged.
"""

import gc

from _operations import settled
from _records import Records
from _verdict import check, judge, refusal_of
from twisted.internet.defer import Deferred

import crochet


@crochet.wait_for(timeout=0.01)
def forever():
    return Deferred()


@crochet.wait_for(timeout=0.01)
async def forever_as_coroutine():
    await Deferred()


def hazard():
    records = Records()
    crochet.setup()
    refusal_of(forever, crochet.TimeoutError)
    refusal_of(forever_as_coroutine, crochet.TimeoutError)
    settled()
    gc.collect()
    logged = [record.getMessage()[:60] for record in records.errors()]
    check(not logged, f"{len(logged)} logged for 2 timeouts: {logged}")
    return "nothing logged"


judge(hazard)
