"""
``setup()`` adds less than 20 ms to the end of a program with nothing pending, at best of 7.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import atexit, os, time
    import crochet
    import twisted.internet.reactor

    # The first registered is the last called.
    atexit.register(lambda: print(time.monotonic() - ended))
    crochet.setup()

    @crochet.wait_for(timeout=10)
    def value():
        return 42

    value()
    ended = time.monotonic()
"""


def hazard():
    seconds = min(float(run_python(PROGRAM).check_clean().out) for _ in range(7))
    check(seconds < 0.02, f"{1000 * seconds:.0f} ms at best of 7")
    return f"{1000 * seconds:.1f} ms at best of 7"


judge(hazard)
