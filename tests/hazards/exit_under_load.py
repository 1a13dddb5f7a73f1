"""
A program that ends while 8 daemon threads call at full speed ends cleanly: 5 times.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    calls = []
    is_busy = threading.Event()

    def load():
        try:
            while True:
                start()
                double(21)
                calls.append(1)
                if len(calls) > 100:
                    is_busy.set()
        except crochet.ReactorStopped:
            pass

    for _ in range(8):
        threading.Thread(target=load, daemon=True).start()
    is_busy.wait()
"""


def hazard():
    for _ in range(5):
        said = check_exits(PROGRAM)
    return f"5 times {said}"


judge(hazard)
