"""
Context variables leak neither from call to call nor from the first caller of ``setup()``.
"""

from contextvars import ContextVar

from _verdict import PATIENCE, check, in_thread, judge

import crochet

variable = ContextVar("variable", default="nothing")


@crochet.wait_for(timeout=PATIENCE)
def set_in_body(value):
    variable.set(value)


@crochet.wait_for(timeout=PATIENCE)
def get():
    return variable.get()


@crochet.run_in_reactor
def get_in_timer():
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    return deferLater(reactor, 0, variable.get)


def set_up():
    variable.set("of setup()'s caller")
    crochet.setup()


def hazard():
    in_thread(set_up)
    check(get() == "nothing", f"a body sees what was {get()}")
    set_in_body("of another call")
    check(get() == "nothing", f"a body sees what was {get()}")
    check(variable.get() == "nothing", f"the caller sees what was {variable.get()}")

    def in_reactor_itself(seen):
        seen.callback(variable.get())

    value = in_thread(lambda: bare_callback(in_reactor_itself))
    check(value == "nothing", f"the reactor's own calls see what was {value}")
    return "none"


def bare_callback(call):
    import threading

    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    seen = Deferred()
    is_there = threading.Event()
    values = []
    seen.addCallback(values.append).addCallback(lambda _: is_there.set())
    reactor.callFromThread(call, seen)
    check(is_there.wait(PATIENCE), "the reactor does not call")
    return values[0]


judge(hazard)
