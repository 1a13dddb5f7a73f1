"""
20 forks while 4 threads call: calls in each child end at once, and the parent goes on.
"""

import threading

from _bridges import bridge
from _questions import AT_ONCE, ask, check_alive, nothing
from _verdict import PATIENCE, check, in_fork, outcome_of

is_over = False
outcomes = []


def load():
    call = bridge.blocking(nothing, PATIENCE)
    while not is_over:
        outcome = outcome_of(call)
        if outcome != 42:
            outcomes.append(outcome)


def hazard():
    global is_over
    bridge.start()
    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    said = {
        in_fork(lambda: repr(outcome_of(lambda: bridge.call(nothing, 60))), AT_ONCE)
        for _ in range(20)
    }
    is_over = True
    for thread in threads:
        thread.join(PATIENCE)
    check(not outcomes, f"in the parent: {outcomes[:1]}")
    check_alive()
    return f"20 children: {' or '.join(sorted(said))}"


ask(hazard)
