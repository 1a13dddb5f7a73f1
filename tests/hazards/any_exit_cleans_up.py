"""
Operations that are pending when the program ends are cancelled, and their cleanup is done.
"""

from _questions import ask, run_program
from _verdict import check

PROGRAM = """
    started = threading.Event()
    async def body():
        started.set()
        try:
            await bridge.never()
        finally:
            await bridge.sleep(0.1)
            print("cleaned up", flush=True)
    in_background(lambda: bridge.call(body))
    started.wait()
"""


def hazard():
    ended = run_program(PROGRAM).check_clean()
    check(ended.out.strip() == "cleaned up", "the cleanup was not done")
    return "cleaned up"


ask(hazard)
