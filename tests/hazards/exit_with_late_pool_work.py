"""
What a body hands to the thread pool when the program has ended is cancelled, and nothing is logged.
"""

from _verdict import judge, run_python

PROGRAM = """
import threading

import crochet
from twisted.internet.threads import deferToThread

@crochet.run_in_reactor
def start():
    # From here on CPython 3.12 starts no thread: the program's own threads have ended.
    threading.main_thread().join()
    return deferToThread(int)

crochet.setup()
for _ in range(3):
    start()
"""


def hazard():
    for _ in range(5):
        run_python(PROGRAM).check_clean()
    return "5 times status 0, stderr empty"


judge(hazard)
