"""
A forked child that ends as programs do, with ``sys.exit()``, ends at once, and quietly.
"""

import os

from _questions import ask, run_program
from _verdict import Hang, check, needs

PROGRAM = """
    import signal, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        sys.exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("it hangs" if status == -signal.SIGALRM else status)
"""


def hazard():
    needs(hasattr(os, "fork"), "os.fork")
    ended = run_program(PROGRAM).check_clean()
    if "hangs" in ended.out:
        raise Hang("the child did not end within 5 s")
    check(ended.out.strip() == "3", f"its status, not 3: {ended.out.strip()}")
    return "status 3, stderr empty"


ask(hazard)
