"""
After the program has called ``reactor.crash()``, ``setup()`` starts the reactor again.
"""

from _end import check_restart
from _verdict import judge


def crash():
    from twisted.internet import reactor

    reactor.crash()


judge(lambda: check_restart(crash))
