"""
A thread that gets the dead reactor thread's ident learns that the reactor stopped, as others do.
"""

import threading

from _verdict import PATIENCE, check, judge, needs, outcome_of

import crochet


@crochet.run_in_reactor
def value():
    return 42


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


@crochet.run_in_reactor
def stop():
    from twisted.internet import reactor

    reactor.stop()
    return threading.current_thread()


def hazard():
    crochet.setup()
    result = value()
    thread = stop().wait(PATIENCE)
    thread.join(PATIENCE)
    outcomes = []

    def run():
        if threading.get_ident() == thread.ident:
            outcomes.append(outcome_of(lambda: result.wait(0)))
            outcomes.append(outcome_of(call))
        is_over.wait(PATIENCE)

    # All alive at once, for they have different idents then.
    is_over = threading.Event()
    threads = [threading.Thread(target=run) for _ in range(50)]
    for each in threads:
        each.start()
    is_over.set()
    for each in threads:
        each.join(PATIENCE)
    needs(outcomes, "a system that reuses thread idents")
    check(outcomes[0] == 42, f"a result that is there: {outcomes[0]!r}")
    check(isinstance(outcomes[1], crochet.ReactorStopped), f"a call: {outcomes[1]!r}")
    return "the result was read, the call got ReactorStopped"


judge(hazard)
