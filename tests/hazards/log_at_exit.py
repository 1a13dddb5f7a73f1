"""
Nothing logged is lost at exit, from the reactor thread or from ``atexit`` hooks.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import atexit, logging
    import crochet
    from twisted.logger import Logger
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log = Logger()
    atexit.register(log.warn, "hook before setup()")
    crochet.setup()
    atexit.register(log.warn, "hook after setup()")

    @crochet.wait_for(timeout=10)
    def work():
        for number in range(1000):
            log.warn("message {number}", number=number)

    work()
"""


def hazard():
    ended = run_python(PROGRAM)
    check(ended.status == 0, f"status {ended.status}")
    lines = ended.err.splitlines()
    number = sum(line.startswith("message ") for line in lines)
    check(number == 1000, f"{number} of 1,000 messages were written")
    for hook in ("hook after setup()", "hook before setup()"):
        check(hook in lines, f"the message of the {hook} is missing")
    return "1,000 messages and those of 2 hooks"


judge(hazard)
