"""
After the program has called ``reactor.stop()``, ``setup()`` starts the reactor again.
"""

from _end import check_restart
from _verdict import judge


def stop():
    from twisted.internet import reactor

    reactor.stop()


judge(lambda: check_restart(stop))
