"""
After ``no_setup()``: a ``reactor.run()`` that ended by an exception is noticed, without polling.
"""

from _own_reactor import check_noticed
from _verdict import judge, refusal_of
from twisted.internet import reactor

main_loop = reactor.mainLoop


def broken_main_loop():
    main_loop()
    raise OSError("the poller is broken")


def hazard():
    reactor.mainLoop = broken_main_loop
    return check_noticed(lambda: reactor.crash(), lambda: refusal_of(reactor.run, OSError))


judge(hazard)
