"""
At rest no thread wakes up: not with a result pending and waited for, nor after calls and children.
"""

import os
import select
import sys
import threading

from _operations import settled
from _state import wake_ups
from _verdict import check, happens, judge, needs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

import crochet

SECONDS = 2
has_ended = threading.Event()
is_waiting = threading.Event()


class Child(ProcessProtocol):
    def processEnded(self, reason):
        has_ended.set()


@crochet.run_in_reactor
def spawn():
    from twisted.internet import reactor

    reactor.spawnProcess(Child(), sys.executable, [sys.executable, "-c", ""], env=None)


@crochet.wait_for(timeout=None)
def forever():
    is_waiting.set()
    return Deferred()


def wait():
    try:
        forever()
    except crochet.ReactorStopped:
        pass


def hazard():
    needs(os.path.isdir("/proc/self/task"), "/proc/self/task")
    crochet.setup()
    spawn()
    happens(has_ended, "the child's end")
    Logger().info("something to write")
    threading.Thread(target=wait, daemon=True).start()
    happens(is_waiting, "the call starts")
    settled()
    # What was begun comes to rest.
    select.select([], [], [], 0.5)
    before = wake_ups()
    select.select([], [], [], SECONDS)
    after = wake_ups()
    number = sum(after[thread] - before.get(thread, 0) for thread in after)
    check(number == 0, f"{number} wake-ups in {SECONDS} s")
    return f"0 wake-ups in {SECONDS} s, {len(after)} threads"


judge(hazard)
