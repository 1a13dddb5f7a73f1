"""
Calls from ``__del__`` while the interpreter takes itself apart: answered or refused, no hang.
"""

from _exit import BEGINNING
from _verdict import check, judge, run_python

PROGRAM = """
class Last:
    def __init__(self, call):
        self.call, self.write = call, os.write

    def __del__(self, Exception=Exception):  # even that name goes
        self.write(1, b"called ")
        try:
            self.call()
            self.write(1, b"answered ")
        except Exception:
            self.write(1, b"refused ")

sys.last_one = Last(lambda double=double: double(21))
sys.last_two = Last(lambda start=start: start().wait(60))
sys.last_three = Last(lambda cancel=start().cancel: cancel())
last = Last(lambda double=double: double(21))
last_of_all = Last(lambda setup=crochet.setup: setup())
"""


def hazard():
    ended = run_python(BEGINNING + PROGRAM).check_clean()
    said = ended.out.split()
    called, answered, refused = (said.count(word) for word in ("called", "answered", "refused"))
    # Python does not promise to finalize all of them.
    check(called >= 3, f"only {called} of 5 objects were finalized")
    check(answered + refused == called, f"{called} called, only {answered + refused} ended")
    return f"{answered} answered, {refused} refused"


judge(hazard)
