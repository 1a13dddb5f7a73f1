"""
``setup()`` in a daemon thread: calls are answered, and the process ends cleanly.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import threading
    import crochet

    @crochet.wait_for(timeout=10)
    def double(number):
        return 2 * number

    thread = threading.Thread(target=crochet.setup, daemon=True)
    thread.start()
    thread.join()
    print(double(21))
"""


def hazard():
    ended = run_python(PROGRAM).check_clean()
    check(ended.out == "42\n", f"it printed {ended.out!r}")
    return "answered, ended cleanly"


judge(hazard)
