"""
Where SIGCHLD is ignored, which loses the status, a child's end is reported all the same.
"""

import signal

from _children import Children
from _verdict import judge, needs


def hazard():
    needs(hasattr(signal, "SIGCHLD"), "SIGCHLD")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children = Children()
    said = {children.spawn(f"raise SystemExit({status})", {}) for status in (0, 3)}
    return f"reported with status {', '.join(said)}"


judge(hazard)
