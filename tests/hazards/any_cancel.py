"""
``cancel()`` of a submitted call ends its operation, and releases its waiters at once.
"""

from _bridges import bridge
from _questions import Operation, ask, at_once, check_alive
from _verdict import check, happens, needs


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    operation = Operation()
    handle = bridge.submit(operation.run)
    happens(operation.started, "the operation starts")
    handle.cancel()
    operation.check_ends()
    outcome = at_once("its result", lambda: handle.result(30))
    check(isinstance(outcome, BaseException), f"it has a value: {outcome!r}")
    check("Cancelled" in type(outcome).__name__, f"it raises {outcome!r}")
    check_alive()
    return type(outcome).__name__


ask(hazard)
