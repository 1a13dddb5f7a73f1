"""
``setup()`` in a worker thread that then ends: the main thread's calls are answered.
"""

from _operations import check_alive
from _verdict import in_thread, judge

import crochet


def hazard():
    in_thread(crochet.setup)
    check_alive()
    return "answered"


judge(hazard)
