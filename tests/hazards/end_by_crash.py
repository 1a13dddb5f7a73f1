"""
``reactor.crash()``: waiters are released at once, later calls refused at once.
"""

from _end import check_end
from _verdict import judge


def crash():
    from twisted.internet import reactor

    reactor.crash()


judge(lambda: check_end(crash))
