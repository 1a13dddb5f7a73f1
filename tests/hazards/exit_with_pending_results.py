"""
Results pending at the end, waited for in daemon threads or not, hold up nothing.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    results = [start() for _ in range(100)]
    for _ in range(4):
        started = threading.Event()
        def wait(started=started):
            try:
                wait_for_ever(started)
            except crochet.ReactorStopped:
                pass
        threading.Thread(target=wait, daemon=True).start()
        started.wait()
"""

judge(lambda: check_exits(PROGRAM))
