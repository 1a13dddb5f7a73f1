"""
Under gevent's monkey-patching it works, or ``setup()`` refuses at once with a clear text.
"""

import importlib.util

from _verdict import check, judge, needs, run_python

PROGRAM = """
    from gevent import monkey
    monkey.patch_all()
    import crochet

    @crochet.wait_for(timeout=5)
    def double(number):
        return 2 * number

    try:
        crochet.setup()
    except RuntimeError as error:
        print("RuntimeError:", error)
    else:
        print(double(21))
"""


def hazard():
    needs(importlib.util.find_spec("gevent"), "gevent")
    ended = run_python(PROGRAM)
    check(ended.status == 0, f"status {ended.status}: {ended.err[-200:]}")
    said = ended.out.strip()
    check(said == "42" or "gevent" in said, f"it says {said!r}")
    return said


judge(hazard)
