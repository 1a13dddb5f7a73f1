"""
A proxied object is exited in the process that has entered it, and is of no use in a forked child.
"""

from _exit import check_exits
from _leaving import ends
from _objects import new_thing
from _verdict import check, in_fork, judge, refusal_of

import crochet

PROGRAM = """
    class Thing:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *error):
            os.write(1, b"exit ")

        async def call(self):
            waits.set()
            await Deferred()

    new_thing, waits = crochet.blocking(Thing, timeout=60), threading.Event()

    def use():
        try:
            with new_thing() as thing:
                thing.call()
        except crochet.ReactorStopped:
            pass  # if this daemon thread still comes to it

    if {in_block}:
        entered = new_thing()
        entered.__enter__()
    else:
        threading.Thread(target=use, daemon=True).start()
        waits.wait()
"""


def hazard():
    check_exits(PROGRAM.format(in_block=True), says="exit ")
    check_exits(PROGRAM.format(in_block=False), says="exit")
    crochet.setup()
    thing = new_thing()
    thing.__enter__()
    uses = (
        thing.call,
        lambda: thing.hangs,
        lambda: setattr(thing, "hangs", ""),
        lambda: next(thing.items()),
        thing.__enter__,
    )

    def in_child():
        for _ in range(2):
            for use in uses:
                refusal_of(use, crochet.ReactorStopped)
            crochet.setup()
        check(thing.__exit__(None, None, None) is False, "it suppresses")
        with new_thing() as own:
            check(own.call() == 1, "one of its own is of no use")
        check(len(ends) == 2, f"{len(ends)} have ended in the child, and not 2")
        return f"{len(uses)} uses refused in the child"

    said = in_fork(in_child)
    thing.__exit__(None, None, None)
    check(len(ends) == 1, f"{len(ends)} have ended in the parent")
    return said


judge(hazard)
