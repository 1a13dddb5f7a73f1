"""
A signal handler that calls the bridge meets calls at any point of them: no deadlock.
"""

import random
import signal

from _bridges import bridge
from _questions import AT_ONCE, ask, check_alive, nothing
from _verdict import Hang, check, needs

choose = random.Random(1)
call = bridge.blocking(nothing, AT_ONCE)
count = 0
is_in_handler = False


def arm():
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 1e-3))


def handler(number, frame):
    global count, is_in_handler
    if is_in_handler:
        return
    is_in_handler = True
    try:
        call()
    except bridge.timed_out:
        raise Hang(f"a call from the handler: nothing in {AT_ONCE:g} s") from None
    count += 1
    is_in_handler = False
    arm()


def hazard():
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    bridge.start()
    signal.signal(signal.SIGALRM, handler)
    arm()
    while count < 500:
        check(call() == 42, "another call's answer")
    signal.setitimer(signal.ITIMER_REAL, 0)
    check_alive()
    return f"called again {count} times"


ask(hazard)
