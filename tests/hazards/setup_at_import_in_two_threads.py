"""
Two modules imported at once by two threads, each calling ``setup()`` and a decorated function.
"""

from _verdict import check, judge, run_python

CLIENT = """
    import crochet
    crochet.setup()

    @crochet.wait_for(timeout=10)
    def answer():
        return __name__

    print(answer() + "\\n", end="")
"""

PROGRAM = """
    import threading
    together = threading.Barrier(2)

    def load(name):
        together.wait()
        __import__(name)

    threads = [threading.Thread(target=load, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def hazard():
    ended = run_python(PROGRAM, modules={"one": CLIENT, "two": CLIENT}).check_clean()
    check(sorted(ended.out.split()) == ["one", "two"], f"it printed {ended.out!r}")
    return "both answered"


judge(hazard)
