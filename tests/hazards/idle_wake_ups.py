"""
At rest no thread wakes up, but one that waits, ten times a second: not after calls and children.
"""

import os
import select
import sys
import threading

from _operations import settled
from _state import check_rest
from _verdict import happens, judge, needs
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
    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    happens(is_waiting, "the call starts")
    settled()
    # What was begun comes to rest.
    select.select([], [], [], 0.5)
    return check_rest(waiter, SECONDS)


judge(hazard)
