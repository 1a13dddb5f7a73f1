"""
What the parent's operations clean up they clean up there: no `finally` of theirs runs in a child.
"""

import gc
from contextlib import asynccontextmanager

from _exit import check_exits
from _verdict import check, in_fork, judge
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet

# A child that ends as any program does, in the middle of a block.
PROGRAM = """
    import contextlib

    @crochet.run_in_reactor
    async def call():
        try:
            await Deferred()
        finally:
            os.write(1, b"call ")

    @crochet.iterate_in_reactor(timeout=60, buffersize=1)
    async def stream():
        try:
            while True:
                yield
        finally:
            os.write(1, b"stream ")

    @crochet.context_in_reactor(timeout=60)
    @contextlib.asynccontextmanager
    async def context():
        try:
            yield
        finally:
            os.write(1, b"context ")

    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
    result = call()
    with context(), stream() as items:
        next(items)
        pid = os.fork()
        if not pid:
            if {sets_up}:
                crochet.setup()
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        os.write(1, b"parent ")
"""

ends = []


@crochet.run_in_reactor
async def call():
    try:
        await Deferred()
    finally:
        ends.append("call")


@crochet.run_in_reactor
@inlineCallbacks
def generator():
    try:
        yield Deferred()
    finally:
        ends.append("generator")


async def items():
    try:
        while True:
            yield
    finally:
        ends.append("stream")


@crochet.context_in_reactor(timeout=60)
@asynccontextmanager
async def context():
    try:
        yield
    finally:
        ends.append("context")


def hazard():
    for sets_up in (False, True):
        check_exits(PROGRAM.format(sets_up=sets_up), says="parent stream context call")
    crochet.setup()
    held = [call(), generator(), context()]
    held[2].__enter__()
    for size in (0, 2):
        held.append(crochet.iterate_in_reactor(60, buffersize=size)(items)())
        next(held[-1])

    def in_child():
        held.clear()
        gc.collect()
        crochet.setup()  # which drops the parent's reactor
        crochet.wait_for(timeout=60)(gc.collect)()
        check(not ends, f"these have ended in the child: {ends}")
        return "dropped, collected, beside a new reactor, at exit: none has ended there"

    return in_fork(in_child)


judge(hazard)
