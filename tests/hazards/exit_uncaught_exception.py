"""
An uncaught exception ends the program with status 1, and its traceback alone is on stderr.
"""

from _exit import BEGINNING
from _verdict import check, judge, run_python


def hazard():
    ended = run_python(BEGINNING + "1 / 0")
    check(ended.status == 1, f"status {ended.status}")
    lines = ended.err.strip().splitlines()
    check(lines[0].startswith("Traceback"), f"stderr begins with {lines[0]!r}")
    check(lines[-1] == "ZeroDivisionError: division by zero", f"stderr ends with {lines[-1]!r}")
    return "status 1, the traceback and nothing else"


judge(hazard)
