"""
A context exits in the process that has entered it, also when that ends in the middle of the block.
"""

from contextlib import asynccontextmanager

from _exit import check_exits
from _verdict import check, in_fork, judge

import crochet

PROGRAM = """
    import contextlib

    @crochet.context_in_reactor(timeout=60)
    @contextlib.asynccontextmanager
    async def context():
        try:
            yield
        finally:
            os.write(1, b"exit ")

    def enter():
        try:
            with context():
                crochet.wait_for(timeout=60)(Deferred)()
        except crochet.ReactorStopped:
            pass  # of a daemon thread nobody knows whether it gets as far as this

    if {in_block}:
        entered = context()
        entered.__enter__()
    else:
        threading.Thread(target=enter, daemon=True).start()
        while not [each for each in crochet.status().calls if each.waits_on]:
            pass
"""

exits = []


@crochet.context_in_reactor(timeout=60)
@asynccontextmanager
async def context():
    try:
        yield
    finally:
        exits.append(1)


def hazard():
    check_exits(PROGRAM.format(in_block=True), says="exit ")
    check_exits(PROGRAM.format(in_block=False), says="exit")
    crochet.setup()

    entered = context()
    entered.__enter__()

    def in_child():
        check(entered.__exit__(None, None, None) is False, "it suppresses")
        crochet.setup()
        with context():
            pass
        check(exits == [1], f"{len(exits)} contexts have exited in the child, and not its own")
        return "in the parent only"

    said = in_fork(in_child)
    entered.__exit__(None, None, None)
    check(exits == [1], f"{len(exits)} contexts have exited in the parent")
    return said


judge(hazard)
