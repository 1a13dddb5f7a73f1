"""
Ctrl-C in a main thread that waits raises at once, and cancels the operation.
"""

import os
import signal
import threading

from _bridges import bridge
from _questions import AT_ONCE, Operation, ask, check_alive
from _verdict import Hang, check, happens, needs, outcome_of


def press_when_started(operation):
    operation.started.wait()
    # Until the main thread waits, which no other can see.
    threading.Event().wait(0.1)
    os.kill(os.getpid(), signal.SIGINT)


def raise_hang(*_):
    raise Hang(f"the wait goes on {AT_ONCE:g} s after Ctrl-C")


def hazard():
    needs(hasattr(signal, "setitimer"), "signals")
    bridge.start()
    operation = Operation()
    threading.Thread(target=press_when_started, args=(operation,), daemon=True).start()
    signal.signal(signal.SIGALRM, raise_hang)
    signal.setitimer(signal.ITIMER_REAL, AT_ONCE + 1)
    outcome = outcome_of(lambda: bridge.call(operation.run))
    signal.setitimer(signal.ITIMER_REAL, 0)
    if isinstance(outcome, Hang):
        raise outcome
    check(isinstance(outcome, KeyboardInterrupt), f"not KeyboardInterrupt: {outcome!r}")
    happens(operation.started, "the operation starts")
    operation.check_ends()
    check_alive()
    return "KeyboardInterrupt, and cancelled"


ask(hazard)
