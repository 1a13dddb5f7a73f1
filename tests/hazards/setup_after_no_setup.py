"""
``setup()`` after ``no_setup()`` does nothing; ``no_setup()`` after ``setup()`` is a RuntimeError.
"""

import threading

from _operations import check_alive
from _verdict import check, judge, refusal_of, run_python

import crochet

PROGRAM = """
    import threading
    import crochet
    crochet.no_setup()
    crochet.setup()
    from twisted.internet import reactor
    print(threading.active_count(), reactor.running)
"""


def hazard():
    ended = run_python(PROGRAM).check_clean()
    check(ended.out == "1 False\n", f"threads, running: {ended.out}")
    crochet.setup()
    refusal_of(crochet.no_setup, RuntimeError)
    check_alive()
    crochet.setup()
    check(threading.active_count() < 6, "setup() does not know that it has acted")
    return "as said"


judge(hazard)
