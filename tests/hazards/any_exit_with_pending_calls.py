"""
Calls pending at the end, waited for in daemon threads, do not hold it up or change its status.
"""

from _questions import ask, run_program
from _verdict import check

PROGRAM = """
    operations = [Operation() for _ in range(8)]
    for operation in operations:
        in_background(lambda: bridge.call(operation.run))
        operation.started.wait()
    sys.exit(3)
"""


def hazard():
    ended = run_program(PROGRAM).check_clean(3)
    check(ended.seconds < 10, f"it took {ended.seconds:.0f} s")
    return "status 3, stderr empty"


ask(hazard)
