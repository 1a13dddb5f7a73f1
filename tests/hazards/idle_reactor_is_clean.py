"""
Between calls the reactor holds nothing of the library's: no timer, no reader but its own.
"""

from _verdict import PATIENCE, check, judge

import crochet


@crochet.wait_for(timeout=PATIENCE)
def look():
    from twisted.internet import reactor

    return reactor.getDelayedCalls(), reactor.removeAll()


def hazard():
    crochet.setup()
    for _ in range(2):
        timers, selectables = look()
        check(not timers, f"timers: {timers}")
        check(not selectables, f"selectables: {selectables}")
    return "nothing"


judge(hazard)
