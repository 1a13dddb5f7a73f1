"""
A failing call leaves no reference cycle behind: what its frames hold is freed with its error.
"""

import gc
import weakref

from _bridges import bridge
from _questions import ask, check_alive
from _verdict import check

NUMBER = 50
held = []


class Big:
    pass


async def fail():
    big = Big()
    held.append(weakref.ref(big))
    await bridge.sleep(0)
    raise ValueError("it failed", big.__class__)


def hazard():
    bridge.start()
    call = bridge.blocking(fail)
    gc.disable()
    for _ in range(NUMBER):
        try:
            call()
        except ValueError:
            pass
    check_alive()
    left = sum(each() is not None for each in held)
    # The last may still be held where the loop's thread is.
    check(left <= 1, f"{left} of {NUMBER} are left until a garbage collection")
    return "freed at once"


ask(hazard)
