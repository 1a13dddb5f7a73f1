"""
What a proxied object does ends once, in the reactor thread, in whichever of twelve ways it is left.
"""

import gc
import os
import signal
import threading

from _leaving import leave_in
from _objects import new_thing
from _verdict import check, in_thread, judge, needs

import crochet


def interrupt_soon():
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()


def called():
    check(new_thing().call() == 1, "a call has not returned what the method has")


def timed_out():
    new_thing("call").call.with_timeout(0.01)()


def past_a_deadline():
    with crochet.deadline(0.05):
        new_thing("call").call()


def interrupted():
    thing = new_thing("call")
    interrupt_soon()
    thing.call()


def interrupted_between_items():
    with new_thing("item").items() as items:
        next(items)
        interrupt_soon()
        next(items)


def interrupted_in_the_block():
    with new_thing():
        interrupt_soon()
        while True:
            pass


def interrupted_entering():
    thing = new_thing("enter")
    interrupt_soon()
    with thing:
        pass


def failed_on_both_sides():
    with new_thing() as thing:
        thing.fails = ValueError("of the exit")
        raise KeyError("of the block")


def entered_by_hand_and_dropped():
    new_thing().__enter__()


def dropped_in_a_cycle():
    cycle = [new_thing()]
    cycle.append(cycle)
    cycle[0].__enter__()
    del cycle
    gc.collect()


def dropped_by_a_thread_that_ends():
    in_thread(lambda: new_thing().__enter__() and None)


def left_in_another_thread():
    thing = new_thing()
    thing.__enter__()
    in_thread(lambda: thing.__exit__(None, None, None))


def hazard():
    needs(os.name == "posix", "SIGINT by os.kill")
    crochet.setup()
    ways = {
        called: None,
        timed_out: crochet.TimeoutError,
        past_a_deadline: crochet.TimeoutError,
        interrupted: KeyboardInterrupt,
        interrupted_between_items: KeyboardInterrupt,
        interrupted_in_the_block: KeyboardInterrupt,
        interrupted_entering: KeyboardInterrupt,
        failed_on_both_sides: ValueError,
        entered_by_hand_and_dropped: None,
        dropped_in_a_cycle: None,
        dropped_by_a_thread_that_ends: None,
        left_in_another_thread: None,
    }
    leave_in(ways)
    return f"{len(ways)} ways, each ended once"


judge(hazard)
