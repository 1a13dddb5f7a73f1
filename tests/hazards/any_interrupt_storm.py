"""
1,000 raising signals at random moments of calls: the loop is alive, and no operation goes on.
"""

import threading

from _bridges import bridge
from _interruption import Storm
from _questions import AT_ONCE, ask, check_alive
from _verdict import check

SIGNALS = 1_000
running = set()
all_ended = threading.Event()


async def forever():
    operation = object()
    running.add(operation)
    try:
        await bridge.never()
    finally:
        running.discard(operation)
        if not running:
            all_ended.set()


async def soon():
    await bridge.sleep(0)


def hazard():
    bridge.start()
    calls_of_both = bridge.blocking(forever), bridge.blocking(soon)
    storm = Storm(1, 5e-4)
    calls = 0
    while storm.strikes < SIGNALS:
        storm.strike(calls_of_both[calls % 2])
        calls += 1
        if calls % 200 == 0:
            check_alive()
    check_alive()
    all_ended.clear()
    check(not running or all_ended.wait(AT_ONCE), f"{len(running)} operations go on")
    return f"{SIGNALS:,} signals, none goes on"


ask(hazard)
