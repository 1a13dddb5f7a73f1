"""
The error of a submitted call that nobody collects is logged, with its traceback.
"""

from _bridges import bridge
from _questions import ask, nothing, run_program
from _verdict import check, needs

PROGRAM = """
    logging.basicConfig()
    async def deep_in_the_loop():
        raise ValueError("nobody took this")
    bridge.submit(deep_in_the_loop)
    for _ in range(10):
        bridge.call(nothing, 30)
        gc.collect()
"""


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    bridge.submit(nothing).result(30)
    said = run_program(PROGRAM).err
    check("nobody took this" in said, "nothing is said of it")
    check("in deep_in_the_loop" in said, "it is logged without its traceback")
    return "logged, with its traceback"


ask(hazard)
