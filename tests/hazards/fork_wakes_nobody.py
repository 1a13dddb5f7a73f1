"""
A forked child that calls 200 times, and stops its reactor if it can, does not wake the parent's.
"""

import os
import select

from _operations import settled
from _verdict import PATIENCE, Hang, check, judge, needs

import crochet


@crochet.wait_for(timeout=PATIENCE)
def call():
    return 42


@crochet.wait_for(timeout=PATIENCE)
def own_id():
    import threading

    return threading.get_native_id()


def wake_ups(thread):
    with open(f"/proc/self/task/{thread}/status") as status:
        lines = dict(line.split(":", 1) for line in status if ":" in line)
    return int(lines["voluntary_ctxt_switches"])


def hazard():
    needs(os.path.isdir("/proc/self/task"), "/proc/self/task")
    crochet.setup()
    thread = own_id()
    go, start = os.pipe()
    pid = os.fork()
    if pid == 0:
        import signal

        status = 1
        try:
            signal.alarm(int(PATIENCE))
            os.read(go, 1)
            for _ in range(200):
                call()
            if hasattr(crochet, "shutdown"):
                crochet.shutdown()
            status = 0
        finally:
            os._exit(status)
    # The fork itself wakes it.
    settled()
    select.select([], [], [], 0.2)
    before = wake_ups(thread)
    os.write(start, b"x")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    after = wake_ups(thread)
    if status < 0:
        raise Hang(f"the child got stuck within {PATIENCE:g} s")
    check(status == 0, f"the child ended with status {status}")
    check(after == before, f"the parent's reactor woke up {after - before} times")
    settled()
    return "0 wake-ups"


judge(hazard)
