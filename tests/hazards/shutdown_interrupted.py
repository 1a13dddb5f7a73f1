"""
Ctrl-C ends a ``shutdown()`` at once; the next one waits for what is left of the cleanup.
"""

import os
import signal
import threading

from _operations import check_alive
from _verdict import check, judge, needs
from twisted.internet.defer import Deferred

import crochet

ended = []


@crochet.run_in_reactor
async def operation(is_cleaning_up, may_end):
    try:
        await Deferred()
    finally:
        is_cleaning_up.set()
        from twisted.internet.threads import deferToThread

        await deferToThread(may_end.wait)
        ended.append(True)


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    times = 3
    for _ in range(times):
        crochet.setup()
        is_cleaning_up, may_end = threading.Event(), threading.Event()
        operation(is_cleaning_up, may_end)
        check_alive()
        seen = len(ended)

        def interrupt(is_cleaning_up=is_cleaning_up):
            is_cleaning_up.wait()
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            crochet.shutdown()
        except KeyboardInterrupt:
            check(len(ended) == seen, "it was over before the interruption")
        else:
            check(False, "KeyboardInterrupt was lost")
        threading.Timer(0.2, may_end.set).start()
        crochet.shutdown()
        check(len(ended) == seen + 1, "the second shutdown() did not wait for the cleanup")
    crochet.setup()
    check_alive()
    return f"{times} times; the reactor starts again"


judge(hazard)
