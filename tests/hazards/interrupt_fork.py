"""
Ctrl-C that comes while a fork waits for a busy reactor thread is raised in the code that forks.
"""

import os
import signal
import threading
import warnings

from _operations import check_alive
from _verdict import check, happens, judge, needs

import crochet


def hazard():
    needs(hasattr(os, "fork"), "os.fork")
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
    crochet.setup()
    is_busy, is_over = threading.Event(), threading.Event()

    @crochet.run_in_reactor
    def be_busy():
        is_busy.set()
        # It answers the fork's wait with Ctrl-C, as far as it is there.
        is_over.wait(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        is_over.wait(1.0)

    pid, raised = None, False
    signal.signal(signal.SIGINT, signal.default_int_handler)
    busy = be_busy()
    happens(is_busy, "the reactor thread has not become busy")
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        is_over.wait(2.0)  # where it would come if it comes late
    except KeyboardInterrupt:
        raised = True
    is_over.set()
    os.wait()
    check(raised, "the program has never seen it")
    busy.wait(10)
    check_alive()
    return "by the fork" if pid is None else "a little later"


judge(hazard)
