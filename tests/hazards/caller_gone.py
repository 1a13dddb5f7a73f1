"""
``run_in_caller()`` without a thread that waits: a clear error or the value, once, and never a hang.
"""

import random
import threading
from functools import partial

from _operations import check_alive
from _verdict import (
    PATIENCE,
    Hang,
    check,
    happens,
    in_threads,
    judge,
    needs,
    outcome_of,
    refusal_of,
)
from twisted.internet.defer import CancelledError, Deferred

import crochet

CALLS = 40
runs = []
told = []
# Told all of the race.
all_told = threading.Event()
number_due = None


def tell(value, outcome):
    told.append((value, outcome))
    if len(told) == number_due:
        all_told.set()


def sleep(seconds):
    from twisted.internet import reactor, task

    return task.deferLater(reactor, seconds)


async def visit(value):
    """
    Run something in the thread that waits, and tell what comes of it.
    """
    try:
        outcome = await crochet.run_in_caller(lambda: runs.append(value) or value)
    except BaseException as error:
        outcome = error
        raise
    finally:
        tell(value, outcome)
    return outcome


async def visit_late(value, seconds, ignores_end):
    """
    The same after some time, at about the moment at which the wait is given up.
    """
    try:
        await sleep(seconds)
    except CancelledError:
        if not ignores_end:
            tell(value, None)
            raise
    return await visit(value)


def check_clear(error):
    text = str(error)
    check(isinstance(error, RuntimeError), f"{error!r} where RuntimeError was due")
    check("run_in_caller()" in text and "no thread waits" in text, f"the text says: {text}")


def check_nobody():
    """
    Check the error where no thread has ever waited.
    """
    result = crochet.run_in_reactor(visit)("nobody")
    answered = threading.Event()
    result.add_done_callback(lambda _: answered.set())
    happens(answered, "an errand for nobody fails")
    check_clear(refusal_of(lambda: result.wait(PATIENCE), RuntimeError))

    outcomes = []

    def in_a_callback():
        from twisted.internet import reactor

        def call():
            crochet.run_in_caller(runs.append, "callback").addBoth(outcomes.append)

        reactor.callLater(0, call)
        return sleep(0.01)

    crochet.wait_for(PATIENCE)(in_a_callback)()
    check(len(outcomes) == 1, f"in a callback: {outcomes}")
    check_clear(outcomes[0].value)
    check(not runs, f"run for nobody: {runs}")
    refusal_of(lambda: crochet.run_in_caller(runs.append, "here"), RuntimeError)


def check_given_up_meanwhile():
    """
    Check a wait whose time ends while its thread is busy with an errand and another is queued.
    """
    is_over = threading.Event()
    is_running = threading.Event()
    outcomes = []

    def block():
        is_running.set()
        is_over.wait(PATIENCE)
        return "blocked"

    async def two_errands():
        first = crochet.run_in_caller(block)
        second = crochet.run_in_caller(runs.append, "second")
        for each in (first, second):
            each.addBoth(outcomes.append)
        await Deferred()

    error = []
    waited = crochet.wait_for(0.05, grace=0.05)(two_errands)
    thread = threading.Thread(target=lambda: error.append(outcome_of(waited)), daemon=True)
    thread.start()
    happens(is_running, "an errand is run")
    thread.join(0.2)
    check(thread.is_alive(), "the wait ended within its errand")
    is_over.set()
    thread.join(PATIENCE)
    check(not thread.is_alive(), "the wait does not end")
    check(isinstance(error[0], crochet.TimeoutError), f"the wait ended with {error[0]!r}")
    check_alive()
    check(len(outcomes) == 2, f"of two errands {len(outcomes)} were answered: {outcomes}")
    check(outcomes[0] == "blocked", f"the first one: {outcomes[0]!r}")
    if outcomes[1] is not None:
        check_clear(outcomes[1].value)
    check((outcomes[1] is None) == (runs == ["second"]), "the second one was lost or told twice")
    runs.clear()


def check_race():
    """
    Check errands that are sent at about the moment at which the wait is given up.
    """
    global number_due
    told.clear()
    unstarted = []
    waited = crochet.wait_for(0.02, grace=0.05)(visit_late)

    def call(number):
        choose = random.Random(number)
        for each in range(CALLS):
            seconds = choose.uniform(0.015, 0.025)
            outcome = outcome_of(partial(waited, (number, each), seconds, each % 2))
            if "has not started" in str(outcome):
                unstarted.append(each)
            elif not isinstance(outcome, (tuple, crochet.TimeoutError)):
                check_clear(outcome)

    for outcome in in_threads(8, call, 2 * PATIENCE):
        if isinstance(outcome, BaseException):
            raise outcome
    number = 8 * CALLS - len(unstarted)
    number_due = number
    crochet.wait_for(PATIENCE)(lambda: len(told) == number and all_told.set())()
    if not all_told.wait(PATIENCE / 3):
        raise Hang(f"{number - len(told)} of {number} errands are never answered")
    values = [value for value, _ in told]
    check(len(set(values)) == len(values), "an errand is answered twice")
    done = [value for value, outcome in told if isinstance(outcome, tuple)]
    check(sorted(done) == sorted(runs), f"{len(runs)} were run and {len(done)} told so")
    gone = [outcome for _, outcome in told if isinstance(outcome, RuntimeError)]
    for each in gone:
        check_clear(each)
    return f"{len(done)} functions run, {len(gone)} refused as nobody waits, none lost"


def hazard():
    needs(hasattr(crochet, "run_in_caller"), "run_in_caller()")
    crochet.setup()
    check_nobody()
    check_given_up_meanwhile()
    text = check_race()
    check_alive()
    return text


judge(hazard)
