"""
The probe of timeouts: the reactor thread is blocked, and all who wait for it run out of time.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from typing import Any

BOUND = 120.0

#: Seconds that each wait is given. All threads have to be in it before the first one is over.
LIMIT = 2.0

#: So many calls are in flight for each thread that waits, in the second step.
CALLS = 100


def timeouts(number: int) -> dict[str, Any]:
    """
    Time *number* threads whose waits end at the same moment, by their timeouts, in processor
    seconds of the process: alone, and then beside a hundred times as many calls in flight.

    What the threads do before, and when they end, is in the figure, too.
    """
    import crochet

    threading.stack_size(256 * 1024)
    crochet.setup(stall_warning=None)
    from twisted.internet.defer import Deferred

    wait = crochet.wait_for(timeout=LIMIT)(int)
    crochet.wait_for(timeout=BOUND)(int)()
    found = {"all at once": _crowd(crochet, wait, number)}
    pend = crochet.run_in_reactor(Deferred)
    pending = [pend() for _ in range(CALLS * number)]
    crochet.wait_for(timeout=BOUND)(int)()
    gc.collect()
    found["beside calls in flight"] = _crowd(crochet, wait, number)
    for result in pending:
        result.cancel()
    crochet.wait_for(timeout=BOUND)(int)()
    return found


def _crowd(crochet: Any, wait: Any, number: int) -> float:
    begun = itertools.count(1)
    all_begun, is_over = threading.Event(), threading.Event()
    times: list[float] = []
    answers: list[object] = []

    def run() -> None:
        times.append(time.monotonic())
        if next(begun) == number:
            all_begun.set()
        try:
            answers.append(wait())
        except crochet.TimeoutError as error:
            if error.state not in ("busy", "blocked"):
                answers.append(error)

    blocking = crochet.run_in_reactor(is_over.wait)(BOUND)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    if not all_begun.wait(BOUND):
        raise TimeoutError("the threads have not all begun")
    time.sleep(max(min(times) + 0.95 * LIMIT - time.monotonic(), 0.0))
    started = time.process_time()
    for thread in threads:
        thread.join(BOUND)
    seconds = time.process_time() - started
    is_over.set()
    blocking.wait(BOUND)
    if answers:
        raise AssertionError(f"a wait ended otherwise: {answers[0]!r}")
    return seconds / number
