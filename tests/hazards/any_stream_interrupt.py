"""
Ctrl-C while an item is waited for raises at once, as itself, and ends the async generator.
"""

import contextlib
import os
import signal
import threading

from _bridges import bridge
from _questions import AT_ONCE, ask, check_alive
from _verdict import Hang, check, happens, needs, outcome_of

waits, ended = threading.Event(), threading.Event()


async def body():
    try:
        yield 1
        waits.set()
        await bridge.never()
    finally:
        ended.set()


def press():
    waits.wait()
    # Until the main thread waits, which no other can see.
    threading.Event().wait(0.1)
    os.kill(os.getpid(), signal.SIGINT)


def raise_hang(*_):
    raise Hang(f"the wait goes on {AT_ONCE:g} s after Ctrl-C")


def consume():
    with contextlib.closing(bridge.items(body)) as items:
        for _ in items:
            pass


def hazard():
    needs(hasattr(signal, "setitimer"), "signals")
    bridge.start()
    threading.Thread(target=press, daemon=True).start()
    signal.signal(signal.SIGALRM, raise_hang)
    signal.setitimer(signal.ITIMER_REAL, AT_ONCE + 1)
    outcome = outcome_of(consume)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if isinstance(outcome, Hang):
        raise outcome
    check(isinstance(outcome, KeyboardInterrupt), f"not KeyboardInterrupt: {outcome!r}")
    happens(waits, "the generator waits")
    check(ended.wait(AT_ONCE), "the generator goes on")
    check_alive()
    return "KeyboardInterrupt, and its finally has run"


ask(hazard)
