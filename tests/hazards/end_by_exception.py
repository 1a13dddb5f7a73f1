"""
An exception through the reactor's ``run()``: waiters are released at once, later calls refused.
"""

from _end import check_end
from _verdict import judge
from twisted.internet import reactor

main_loop = reactor.mainLoop


def broken_main_loop():
    main_loop()
    raise OSError("the poller is broken")


def hazard():
    # What calls raise, Twisted's loop catches. This comes through the loop itself.
    reactor.mainLoop = broken_main_loop
    return check_end(reactor.crash)


judge(hazard)
