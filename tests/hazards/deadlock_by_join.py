"""
A wait for a call that joins the waiting thread raises soon; then the reactor goes on.
"""

import threading

from _deadlock import check_ended
from _operations import check_alive
from _verdict import PATIENCE, in_thread, judge

import crochet


@crochet.wait_for(timeout=PATIENCE / 3)
def join(thread):
    thread.join()


def hazard():
    crochet.setup()
    text = in_thread(lambda: check_ended(lambda: join(threading.current_thread())))
    check_alive()
    return text


judge(hazard)
