"""
Reactor, thread pool, callback of a future and log handler, all stuck at exit, share one bound.
"""

import inspect

from _verdict import check, judge, needs, run_python

import crochet

PROGRAM = """
    import logging, threading
    import crochet
    from twisted.internet.threads import deferToThread
    from twisted.logger import Logger

    class Stuck(logging.Handler):
        def emit(self, record):
            block("handler")

    def block(who):
        stuck.release()
        threading.Event().wait(600)

    stuck = threading.Semaphore(0)
    logging.getLogger("twisted").addHandler(Stuck())
    crochet.setup(exit_patience=2.0)

    @crochet.run_in_reactor
    def body():
        deferToThread(block, "pool")
        block("reactor")

    crochet.run_in_reactor(int)().as_future().add_done_callback(block)
    body()
    Logger().error("something")
    for _ in range(4):
        stuck.acquire()
"""


def hazard():
    is_there = "exit_patience" in inspect.signature(crochet.setup).parameters
    needs(is_there, "setup(exit_patience=...)")
    ended = run_python(PROGRAM)
    check(ended.status == 0, f"status {ended.status}: {ended.err}")
    for text in ("in the reactor's thread pool", "in body", "log records were not written"):
        check(text in ended.err, f"stderr does not say {text!r}: {ended.err}")
    return f"ended after {ended.seconds:.0f} s, and says what was cut off"


judge(hazard)
