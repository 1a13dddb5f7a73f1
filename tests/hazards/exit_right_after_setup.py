"""
A program that ends right after ``setup()``, while the reactor starts, ends cleanly: 10 times.
"""

from _verdict import judge, run_python


def hazard():
    for _ in range(10):
        run_python("import crochet; crochet.setup()").check_clean()
    return "10 times status 0, stderr empty"


judge(hazard)
