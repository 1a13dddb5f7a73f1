"""
A body ends once, in the reactor thread, in whichever of seven ways its stream is left.
"""

import gc
import os
import signal
import threading

from _leaving import leave_in
from _streams import numbers, stuck
from _verdict import in_thread, judge, needs, refusal_of

import crochet


def broken():
    with numbers() as stream:
        for each in stream:
            if each == 3:
                break


def failed():
    with numbers() as stream:
        for each in stream:
            raise KeyError(each)


def timed_out():
    stream = stuck.with_timeout(0.01)()
    next(stream)
    next(stream)


def interrupted():
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
    list(stuck())


def collected():
    cycle = [numbers()]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


def collected_in_reactor():
    cycle = [stuck()]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    crochet.wait_for(timeout=10)(gc.collect)()


def thread_died():
    def consume():
        stream = numbers()
        next(stream)
        raise SystemExit

    refusal_of(lambda: in_thread(consume), SystemExit)


def hazard():
    needs(os.name == "posix", "SIGINT by os.kill")
    crochet.setup()
    ways = {
        broken: None,
        failed: KeyError,
        timed_out: crochet.TimeoutError,
        interrupted: KeyboardInterrupt,
        collected: None,
        collected_in_reactor: None,
        thread_died: None,
    }
    leave_in(ways)
    return f"{len(ways)} ways, each body ended once"


judge(hazard)
