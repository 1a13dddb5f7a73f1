"""
The end of a child process is noticed if it has no pipes, and beside children of ``subprocess``.
"""

import subprocess
import sys

from _children import Children
from _verdict import check, judge


def hazard():
    children = Children()
    beside = [subprocess.Popen([sys.executable, "-c", "exit(7)"]) for _ in range(3)]
    for status in (0, 3, 0, 5):
        said = children.spawn(f"raise SystemExit({status})", {})
        check(said == str(status), f"status {said}, not {status}")
    said = children.spawn("import os; os.kill(os.getpid(), 9)", {})
    check(said == "signal 9", f"{said}, not signal 9")
    check([child.wait() for child in beside] == [7] * 3, "the others' statuses are lost")
    return "5 of 5, and 3 others kept their statuses"


judge(hazard)
