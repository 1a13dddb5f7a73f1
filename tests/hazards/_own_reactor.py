"""
A program that runs the reactor itself, in its main thread, and how the end of that is noticed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from _verdict import PATIENCE, Hang, check, in_thread, outcome_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred

import crochet


@crochet.run_in_reactor
def forever():
    return Deferred()


@crochet.wait_for(timeout=PATIENCE)
def answer():
    return 42


def check_noticed(end: Callable[[], object], run: Callable[[], object]) -> str:
    """
    Run the reactor until *end*, called in it, ends it: waiters are released, later calls refused.
    """
    crochet.no_setup()
    outcomes = []
    started = threading.Barrier(9)

    def wait():
        result = forever()
        started.wait(PATIENCE)
        outcomes.append(outcome_of(lambda: result.wait(PATIENCE)))

    def end_once_all_wait():
        started.wait(PATIENCE)
        answer()
        reactor.callFromThread(check_at_rest)
        reactor.callFromThread(end)

    def check_at_rest():
        # Nothing that would look now and then whether the reactor still runs.
        polls.extend(reactor.getDelayedCalls())

    polls: list[object] = []
    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(8)]
    for thread in [*waiting, threading.Thread(target=end_once_all_wait, daemon=True)]:
        thread.start()
    run()
    for thread in waiting:
        thread.join(3.0)
    if len(outcomes) < 8:
        raise Hang(f"{8 - len(outcomes)} of 8 waiters wait on")
    wrong = [each for each in outcomes if not isinstance(each, crochet.ReactorStopped)]
    check(not wrong, f"{len(wrong)} of 8 waiters got something else: {wrong[:1]}")
    check(not polls, f"it looks now and then: {polls}")
    later = in_thread(lambda: [outcome_of(lambda: forever().wait(PATIENCE))])[0]
    check(isinstance(later, crochet.ReactorStopped), f"a later call: {later!r}")
    return "8 of 8 released, a later call refused, no timer"
