"""
A context exits once, in the reactor thread, in whichever of nine ways its block is left.
"""

import gc
import os
import signal
import threading
from contextlib import asynccontextmanager

from _leaving import ends, leave_in
from _verdict import PATIENCE, in_thread, judge, needs
from twisted.internet.defer import Deferred

import crochet


@crochet.context_in_reactor(timeout=PATIENCE)
@asynccontextmanager
async def context(hangs=None):
    try:
        if hangs == "enter":
            await Deferred()
        yield
        if hangs == "exit":
            await Deferred()
    finally:
        ends.append(threading.get_ident())


def ended():
    with context():
        pass


def failed():
    with context():
        raise KeyError


def timed_out_entering():
    with context.with_timeout(0.01)("enter"):
        pass


def timed_out_exiting():
    with context.with_timeout(0.01)("exit"):
        pass


def interrupt_soon():
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()


def interrupted():
    with context():
        interrupt_soon()
        crochet.wait_for(timeout=PATIENCE)(Deferred)()


def interrupted_entering():
    interrupt_soon()
    with context("enter"):
        pass


def interrupted_exiting():
    with context("exit"):
        interrupt_soon()


def collected():
    cycle = [context()]
    cycle[0].__enter__()
    cycle.append(cycle)
    del cycle
    gc.collect()


def left_in_another_thread():
    entered = context()
    entered.__enter__()
    in_thread(lambda: entered.__exit__(None, None, None))


def hazard():
    needs(os.name == "posix", "SIGINT by os.kill")
    crochet.setup()
    ways = {
        ended: None,
        failed: KeyError,
        timed_out_entering: crochet.TimeoutError,
        timed_out_exiting: crochet.TimeoutError,
        interrupted: KeyboardInterrupt,
        interrupted_entering: KeyboardInterrupt,
        interrupted_exiting: KeyboardInterrupt,
        collected: None,
        left_in_another_thread: None,
    }
    leave_in(ways)
    return f"{len(ways)} ways, each context exited once"


judge(hazard)
