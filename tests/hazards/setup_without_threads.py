"""
``setup()`` when no thread can be started raises, leaves all as it was, and works when called again.
"""

import atexit
import os
import threading

from _operations import check_alive
from _verdict import check, judge, needs, refusal_of
from twisted.internet import reactor  # noqa: F401 - its descriptors are not at issue
from twisted.logger import globalLogPublisher

import crochet


def state():
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "observers": list(globalLogPublisher._observers),
    }


def fail_to_start(_):
    raise RuntimeError("can't start new thread")


def hazard():
    needs(os.path.isdir("/proc/self/fd"), "/proc")
    # The first time, the exit hook and the like may be registered: once, however often it fails.
    before = state()
    start = threading.Thread.start
    hooks = set()
    for _ in range(3):
        threading.Thread.start = fail_to_start
        try:
            refusal_of(crochet.setup, RuntimeError)
        finally:
            threading.Thread.start = start
        check(state() == before, f"left behind: {state()}, before it was {before}")
        hooks.add(atexit._ncallbacks())
    check(len(hooks) == 1, f"each failure leaves an exit hook: {sorted(hooks)}")
    crochet.setup()
    check_alive()
    return "raised 3 times, left nothing, then worked"


judge(hazard)
