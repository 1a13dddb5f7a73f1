"""
``setup()`` where the program runs the reactor itself raises RuntimeError that names no_setup().
"""

from _verdict import check, judge, outcome_of
from twisted.internet import reactor

import crochet


def hazard():
    outcomes = []

    def set_up():
        outcomes.append(outcome_of(crochet.setup))
        reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(set_up)
    reactor.run()
    check(isinstance(outcomes[0], RuntimeError), f"{outcomes[0]!r} instead of RuntimeError")
    check("no_setup" in str(outcomes[0]), f"the text says: {outcomes[0]}")
    return "RuntimeError, which names no_setup()"


judge(hazard)
