"""
At exit the bodies of open streams end, finally blocks and all, wherever they are.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    @crochet.iterate_in_reactor(timeout=60, buffersize={buffersize})
    async def numbers(waits):
        try:
            yield 1
            if waits:
                await Deferred()
            yield 2
        finally:
            os.write(1, b"end ")

    def wait():
        try:
            list(numbers(True))
        except crochet.ReactorStopped:
            os.write(1, b"stopped ")

    if {held}:
        at_yield, waiting, unasked = numbers(False), numbers(True), numbers(False)
        next(at_yield), next(waiting)
    else:
        threading.Thread(target=wait, daemon=True).start()
        while not [each for each in crochet.status().calls if each.waits_on]:
            pass
"""


def hazard():
    for buffersize in (0, 1):
        ends = "end " * (2 if buffersize == 0 else 3)
        check_exits(PROGRAM.format(buffersize=buffersize, held=True), says=ends)
    # Who waits is answered at once, and the body then cancelled.
    waiting = PROGRAM.format(buffersize=1, held=False)
    return check_exits(waiting, says="end stopped", in_order=False)


judge(hazard)
