"""
Calls from ``atexit`` hooks: answered, or for one registered before ``setup()``, refused at once.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import atexit
    import crochet

    @crochet.wait_for(timeout=60)
    def double(number):
        return 2 * number

    def call(when):
        try:
            print(when, double(21), flush=True)
        except crochet.ReactorStopped:
            print(when, "ReactorStopped", flush=True)

    atexit.register(call, "before")
    crochet.setup()
    atexit.register(call, "after")
"""


def hazard():
    ended = run_python(PROGRAM).check_clean()
    hooks = dict(line.split() for line in ended.out.splitlines())
    check(set(hooks) == {"before", "after"}, f"it says {ended.out!r}")
    check(set(hooks.values()) <= {"42", "ReactorStopped"}, f"it says {ended.out!r}")
    return f"registered after setup(): {hooks['after']}, before it: {hooks['before']}"


judge(hazard)
