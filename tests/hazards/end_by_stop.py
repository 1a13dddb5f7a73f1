"""
``reactor.stop()`` by the program: waiters are released at once, later calls refused at once.
"""

from _end import check_end
from _verdict import judge


def stop():
    from twisted.internet import reactor

    reactor.stop()


judge(lambda: check_end(stop))
