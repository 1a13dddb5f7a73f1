"""
A module that calls ``setup()`` and a decorated function while it is imported gets its answer.
"""

from _verdict import check, judge, run_python

CLIENT = """
    import crochet
    crochet.setup()

    @crochet.wait_for(timeout=10)
    def answer():
        return 42

    ANSWER = answer()
"""


def hazard():
    program = "import client; print(client.ANSWER)"
    ended = run_python(program, modules={"client": CLIENT}).check_clean()
    check(ended.out == "42\n", f"it printed {ended.out!r}")
    return "answered"


judge(hazard)
