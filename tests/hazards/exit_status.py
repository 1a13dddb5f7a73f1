"""
``sys.exit(3)`` ends the program with status 3, and nothing is on stderr.
"""

from _exit import check_exits
from _verdict import judge

judge(lambda: check_exits("sys.exit(3)", status=3))
