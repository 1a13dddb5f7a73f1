"""
A non-daemon worker that still waits when the main thread ends gets its answer.
"""

from _questions import ask, run_program
from _verdict import check

PROGRAM = """
    started = threading.Event()
    async def body():
        started.set()
        await bridge.sleep(0.3)
        return 42
    def work():
        print(bridge.call(body))
        print(bridge.call(nothing))
    threading.Thread(target=work).start()
    started.wait()
"""


def hazard():
    ended = run_program(PROGRAM).check_clean()
    check(ended.out.split() == ["42", "42"], f"it says {ended.out.split()}")
    return "two answers"


ask(hazard)
