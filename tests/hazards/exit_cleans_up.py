"""
Operations pending at the end are cancelled, and their cleanup gets its time.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    from twisted.internet.task import deferLater

    is_started = threading.Event()

    @crochet.run_in_reactor
    async def operate():
        from twisted.internet import reactor
        try:
            is_started.set()
            await Deferred()
        finally:
            await deferLater(reactor, 0.05, lambda: None)
            os.write(1, b"cleaned up")

    result = operate()
    is_started.wait()
"""

judge(lambda: check_exits(PROGRAM, says="cleaned up"))
