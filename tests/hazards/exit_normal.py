"""
A program that ends normally ends with status 0, and nothing is on stderr.
"""

from _exit import check_exits
from _verdict import judge

judge(lambda: check_exits("pass"))
