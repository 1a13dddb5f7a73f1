"""
Twisted's thread pool, used before the end, holds up nothing; nor does a worker that waits for us.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    from twisted.internet.threads import deferToThread

    @crochet.wait_for(timeout=60)
    def through_pool():
        return deferToThread(double, 21)

    print(through_pool(), flush=True)
    started = threading.Event()

    def work():
        try:
            wait_for_ever(started)
        except crochet.ReactorStopped:
            pass

    @crochet.run_in_reactor
    def occupy_pool():
        return deferToThread(work)

    result = occupy_pool()
    started.wait()
"""

judge(lambda: check_exits(PROGRAM, says="42"))
