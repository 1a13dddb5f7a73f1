"""
8 threads call while the loop is stopped: each call is answered or refused, and none hangs.
"""

import threading

from _bridges import bridge
from _questions import AT_ONCE, ask, nothing, still_alive
from _verdict import Hang, happens, needs

enough = threading.Event()
counts, refused = [0] * 8, [0] * 8


def keep_calling(number):
    call = bridge.blocking(nothing)
    for _ in range(2_000):
        try:
            call()
            counts[number] += 1
        except BaseException:
            refused[number] += 1
        if counts[number] >= 50:
            enough.set()


def hazard():
    needs(bridge.can_stop, "a way to stop the loop")
    bridge.start()
    threads = [
        threading.Thread(target=keep_calling, args=(number,), daemon=True) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    happens(enough, "calls are answered")
    bridge.stop()
    stuck = still_alive(threads, AT_ONCE)
    if stuck:
        raise Hang(f"{stuck} of 8 callers wait on")
    return f"{sum(counts):,} answered, {sum(refused):,} refused"


ask(hazard)
