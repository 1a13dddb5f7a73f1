"""
After an exception has ended the reactor's thread, ``setup()`` starts the reactor again.
"""

from _end import check_restart
from _verdict import judge
from twisted.internet import reactor

main_loop = reactor.mainLoop
is_broken = False


def broken_main_loop():
    global is_broken
    main_loop()
    if is_broken:
        is_broken = False
        raise OSError("the poller is broken")


def end():
    global is_broken
    is_broken = True
    reactor.crash()


def hazard():
    reactor.mainLoop = broken_main_loop
    return check_restart(end)


judge(hazard)
