"""
3,000 raising signals while one result is waited for, many times: it stays usable.
"""

from _interruption import Storm
from _operations import check_alive, settled
from _verdict import PATIENCE, check, judge
from twisted.internet.defer import Deferred

import crochet

pending = []


@crochet.run_in_reactor
def later():
    pending.append(Deferred())
    return pending[-1]


def hazard():
    crochet.setup()
    storm = Storm(1, 2e-4)
    results = []
    while storm.strikes < 3_000:
        if len(results) * 100 <= storm.strikes:
            results.append(later())
        storm.strike(lambda: results[-1].wait(60))
    check_alive()
    settled(lambda: [deferred.callback(42) for deferred in pending])
    for result in results:
        check(result.wait(PATIENCE) == 42, "another value")
    return f"{storm.strikes:,} signals, {len(results)} results, all usable"


judge(hazard)
