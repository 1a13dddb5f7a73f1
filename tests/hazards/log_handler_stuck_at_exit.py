"""
A log handler that is stuck at exit holds up the process for a few seconds, and no longer.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import logging, threading
    import crochet
    from twisted.logger import Logger

    class Stuck(logging.Handler):
        def emit(self, record):
            threading.Event().wait(600)

    logging.getLogger("twisted").addHandler(Stuck())
    crochet.setup()
    Logger().error("something")
"""


def hazard():
    ended = run_python(PROGRAM)
    check(ended.status == 0, f"status {ended.status}")
    return f"ended after {ended.seconds:.0f} s"


judge(hazard)
