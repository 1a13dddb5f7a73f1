"""
``setup()`` with no file descriptor left raises, leaves all as it was, and works when called again.
"""

import gc
import os
import sys
import threading

from _operations import check_alive
from _verdict import check, judge, needs

import crochet

try:
    import resource
except ImportError:
    resource = None


def state():
    # A half-made reactor is a cycle, which closes its descriptors when it is collected.
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def hazard():
    needs(resource and os.path.isdir("/proc/self/fd"), "resource limits and /proc")
    # Everything that the reactor's import reads is read; what remains is to make one.
    import twisted.internet.epollreactor  # noqa: F401

    has_reactor = False
    before = state()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = 0
    for spare in range(20):
        # All descriptors taken but for a few, fewer than a reactor takes.
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for descriptor in taken[:spare]:
                os.close(descriptor)
        try:
            crochet.setup()
        except OSError:
            refused += 1
        else:
            break
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken[spare:]:
                os.close(descriptor)
        if not has_reactor and "twisted.internet.reactor" in sys.modules:
            # The program's from now on, with its descriptors.
            has_reactor = True
            before = state()
        check(state() == before, f"left behind: threads, descriptors {state()}, before {before}")
    check(refused, "it was never refused")
    check_alive()
    return f"raised with 0 to {refused - 1} descriptors left, left nothing, then worked"


judge(hazard)
