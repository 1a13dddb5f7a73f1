"""
``shutdown()`` in the reactor thread, its pool, or after ``no_setup()`` is refused, without effect.
"""

from _operations import check_alive
from _verdict import PATIENCE, check, in_fork, judge, needs, refusal_of
from twisted.internet.threads import deferToThread

import crochet


def after_no_setup():
    crochet.no_setup()
    text = str(refusal_of(crochet.shutdown, RuntimeError))
    check("no_setup()" in text, f"the text says {text!r}")
    return "refused"


def hazard():
    needs(hasattr(crochet, "shutdown"), "shutdown()")
    in_fork(after_no_setup)
    crochet.setup()
    in_reactor = crochet.run_in_reactor(crochet.shutdown)()
    refusal_of(lambda: in_reactor.wait(PATIENCE), RuntimeError)
    in_pool = crochet.run_in_reactor(deferToThread)(crochet.shutdown)
    refusal_of(lambda: in_pool.wait(PATIENCE), RuntimeError)
    check_alive()
    return "RuntimeError, 3 of 3"


judge(hazard)
