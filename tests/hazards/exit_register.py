"""
What is given to ``register()`` ends a thread that Python waits for, while the reactor runs.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    end = threading.Event()

    def work():
        end.wait()
        print(double(21), flush=True)

    threading.Thread(target=work).start()
    crochet.register(end.set)
"""

judge(lambda: check_exits(PROGRAM, says="42"))
