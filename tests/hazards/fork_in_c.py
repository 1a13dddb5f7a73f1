"""
In a child that C forks, past Python, calls are answered, and it ends; the parent's are, and it too.
"""

import atexit
import ctypes
import os
import signal
import threading
import time

from _operations import check_alive
from _verdict import PATIENCE, Hang, check, judge, needs

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


@crochet.iterate_in_reactor(PATIENCE)
async def numbers():
    yield 1
    yield 2


def stream():
    return sum(numbers(), 39)


def sleeps():
    """
    Return how often each other thread has gone to sleep; None while one is awake.
    """
    counts = []
    for name in os.listdir("/proc/self/task"):
        if name != str(threading.get_native_id()):
            with open(f"/proc/self/task/{name}/status") as status:
                lines = dict(line.split(":", 1) for line in status if ":" in line)
            if not lines["State"].strip().startswith("S"):
                return None
            counts.append((name, lines["voluntary_ctxt_switches"]))
    return counts


def fork_and(use):
    # A child hangs in CPython if another thread has, or is to get, the interpreter's lock.
    before = None
    while before is None or before != sleeps():
        before = sleeps()
        time.sleep(0.03)
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        signal.alarm(int(PATIENCE))
        status = 1
        try:
            status = 0 if use() == 42 else 2
            atexit._run_exitfuncs()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == -signal.SIGALRM:
        raise Hang(f"the child got stuck within {PATIENCE:g} s")
    check(status == 0, f"the child ended with status {status}")
    check_alive()


def hazard():
    needs(os.path.isdir("/proc/self/task"), "/proc/self/task")
    crochet.setup()
    call()
    began = time.monotonic()
    for use in call, stream:  # whichever comes first in the child
        fork_and(use)
    return f"two children have ended after {time.monotonic() - began:.1f} s"


judge(hazard)
