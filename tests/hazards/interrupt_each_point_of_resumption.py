"""
An exception at each point of what makes an operation go on, in the reactor thread: an answer.
"""

import threading

from _interruption import interrupt
from _resumption import sweep
from _verdict import Breach, judge, outcome_of
from twisted.internet import reactor

import crochet


def strike(number, fire):
    return interrupt(number, fire) is not None


def hazard():
    crochet.no_setup()
    outcomes = []

    def work():
        outcomes.append(outcome_of(lambda: sweep(strike, 20)))
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=work, daemon=True).start()
    reactor.run()
    if isinstance(outcomes[0], BaseException):
        raise Breach(str(outcomes[0])) from outcomes[0]
    return outcomes[0]


judge(hazard)
