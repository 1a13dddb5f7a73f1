"""
A reactor thread that is blocked at the end holds it up for a few seconds, and is shown on stderr.
"""

from _exit import BEGINNING
from _verdict import check, judge, run_python

PROGRAM = """
is_blocked = threading.Event()

@crochet.run_in_reactor
def read_a_slow_file():
    is_blocked.set()
    threading.Event().wait(600)

read_a_slow_file()
is_blocked.wait()
"""


def hazard():
    ended = run_python(BEGINNING + PROGRAM)
    check(ended.status == 0, f"status {ended.status}")
    check("read_a_slow_file" in ended.err, f"stderr does not say for what it waited: {ended.err!r}")
    return f"ended after {ended.seconds:.0f} s, and says where the reactor thread is"


judge(hazard)
