"""
Everything works, and nothing is said, under ``-W error -X dev`` and under ``-OO``.
"""

from _everything import PROGRAM
from _verdict import check, judge, run_python


def hazard():
    for options in (("-W", "error", "-X", "dev", "-bb"), ("-OO",)):
        ended = run_python(PROGRAM, *options).check_clean()
        check(ended.out == "done\n", f"under {options} it says {ended.out!r}")
    return "clean"


judge(hazard)
