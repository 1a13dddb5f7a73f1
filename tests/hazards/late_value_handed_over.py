"""
A value that comes after its wait was given up goes to ``on_late``, once, in the reactor thread.
"""

import random
import threading
from functools import partial

from _operations import check_alive, settled
from _records import Records
from _verdict import PATIENCE, check, happens, in_threads, judge, needs, outcome_of, refusal_of
from twisted.internet.defer import CancelledError, Deferred

import crochet

CALLS = 100
late = []


def keep(value):
    late.append((value, threading.current_thread()))


async def open_(value, seconds):
    """
    Return a value after some time, or at once if it is cancelled meanwhile: it is open by then.
    """
    from twisted.internet import reactor, task

    try:
        await task.deferLater(reactor, seconds)
    except CancelledError:
        pass
    return value


def check_race(reactor_thread):
    """
    Check that of values that come about when the time is over none is lost, and none told twice.
    """
    opened = crochet.wait_for(0.01, on_late=keep)(open_)

    def call(number):
        choose = random.Random(number)
        values = [(number, each) for each in range(CALLS)]
        calls = [partial(opened, each, choose.uniform(0.005, 0.015)) for each in values]
        return [outcome_of(each) for each in calls]

    outcomes = [each for one in in_threads(8, call, PATIENCE * 2) for each in one]
    settled()
    odd = [each for each in outcomes if not isinstance(each, (tuple, crochet.TimeoutError))]
    check(not odd, f"{odd[:1]} instead of a value or TimeoutError")
    answered = [each for each in outcomes if isinstance(each, tuple)]
    handed_over = [value for value, _ in late]
    twice = set(answered) & set(handed_over) or len(handed_over) - len(set(handed_over))
    check(not twice, f"told twice: {twice}")
    never_began = sum("not started" in str(each) for each in outcomes)
    lost = 8 * CALLS - len(answered) - len(handed_over) - never_began
    check(lost == 0, f"{lost} values were lost")
    threads = {thread for _, thread in late}
    check(threads <= {reactor_thread}, f"on_late was called in {threads}")
    check(late and answered, f"{len(late)} late and {len(answered)} in time: no race")
    return f"{len(answered)} in time, {len(late)} late, none lost or twice"


def check_much_later(records):
    """
    Check values and errors that come long after the wait's end.
    """
    ends = []

    async def stubborn():
        end = Deferred()
        ends.append(end)
        while True:
            try:
                return await end
            except CancelledError:
                end = ends[0] = Deferred()

    def fails(value):
        told.set()
        raise ValueError("on_late failed")

    def give_up(on_late):
        ends.clear()
        told.clear()
        waited = crochet.wait_for(0.02, grace=0.02, on_late=on_late)(stubborn)
        check(not refusal_of(waited, crochet.TimeoutError).ended, "it has ended")

    told = threading.Event()
    give_up(fails)
    settled(lambda: ends[0].callback("late"))
    happens(told, "on_late is called")
    check("on_late failed" in _texts(records), "what on_late raised was not logged")
    give_up(fails)
    settled(lambda: ends[0].errback(OSError("late error")))
    check("late error" in _texts(records), "a late error was not logged")
    check(not told.is_set(), "on_late was called with an error")
    give_up(None)
    settled(lambda: ends[0].callback("dropped"))
    check(not records.errors(), "a value that nobody wants was logged")


def _texts(records):
    errors = records.errors()
    records.all.clear()
    return " ".join(f"{each.getMessage()} {each.exc_info}" for each in errors)


def hazard():
    needs(hasattr(crochet.wait_for(1)(keep), "with_timeout"), "wait_for(timeout, on_late=...)")
    records = Records()
    crochet.setup()
    text = check_race(crochet.wait_for(PATIENCE)(threading.current_thread)())
    check_much_later(records)
    check_alive()
    return text


judge(hazard)
