"""
When the reactor stops, waits for an item end with ReactorStopped at once, and bodies end.
"""

import threading

from _leaving import ends
from _streams import numbers, stuck
from _verdict import check, in_thread, judge, refusal_of

import crochet


def hazard():
    for stop in (crochet.shutdown, lambda: crochet.run_in_reactor(stop_reactor)()):
        ends.clear()
        crochet.setup()
        waits = threading.Event()
        at_yield = numbers()
        next(at_yield)

        def wait(waits=waits):
            stream = stuck()
            next(stream)
            waits.set()
            next(stream)

        def stop_it(stop=stop, waits=waits):
            waits.wait()
            stop()

        threading.Thread(target=stop_it).start()
        refusal_of(lambda wait=wait: in_thread(wait), crochet.ReactorStopped)
        refusal_of(at_yield.__next__, crochet.ReactorStopped)
        check(list(at_yield) == [], "a stopped stream is not over")
        crochet.shutdown()
        check(len(ends) == 2, f"{len(ends)} of 2 bodies have ended")
    return "by shutdown() and by reactor.stop()"


def stop_reactor():
    from twisted.internet import reactor

    reactor.stop()


judge(hazard)
