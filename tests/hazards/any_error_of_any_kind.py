"""
SystemExit, KeyboardInterrupt and the like, raised by a body, get to its caller; the loop goes on.
"""

from _bridges import bridge
from _questions import ask, at_once, check_alive
from _verdict import check

KINDS = (SystemExit, KeyboardInterrupt, GeneratorExit, BaseException, StopIteration)


def hazard():
    bridge.start()
    for kind in KINDS:

        async def fail(kind=kind):
            raise kind("from the body")

        outcome = at_once(
            f"a call that raises {kind.__name__}", lambda fail=fail: bridge.call(fail)
        )
        # Python itself makes a RuntimeError of a StopIteration that leaves a coroutine.
        wanted = RuntimeError if kind is StopIteration else kind
        check(isinstance(outcome, wanted), f"{kind.__name__}: its caller got {outcome!r}")
        check_alive()
    return f"{len(KINDS)} of {len(KINDS)} kinds"


ask(hazard)
