"""
An exception through the reactor's ``run()``: waiters are released at once, later calls refused.
"""

from _end import check_end
from _verdict import judge


def fail():
    from twisted.internet import reactor

    # Twisted's loop catches what its calls raise; this comes from the loop itself.
    def leave():
        reactor.crash()
        raise OSError("the poller is broken")

    reactor.runUntilCurrent = leave


judge(lambda: check_end(fail))
