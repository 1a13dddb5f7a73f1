"""
Errors of results that are held or stashed when the program ends are logged once each.
"""

from _verdict import check, judge, run_python

PROGRAM = """
    import logging
    import crochet
    logging.basicConfig()
    crochet.setup()

    @crochet.run_in_reactor
    def fail(text):
        raise ValueError(text)

    held = fail("is held")
    fail("is stashed").stash()

    @crochet.wait_for(timeout=10)
    def settle():
        pass

    settle()
"""


def hazard():
    ended = run_python(PROGRAM)
    check(ended.status == 0, f"status {ended.status}")
    for text in ("is held", "is stashed"):
        number = ended.err.count(f"ValueError: {text}")
        check(number == 1, f"the error that {text} is on stderr {number} times")
    check("in fail" in ended.err, "without a traceback")
    return "both logged once, with traceback"


judge(hazard)
