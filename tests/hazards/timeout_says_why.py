"""
A TimeoutError says why there is no answer, with file and line, in ``state`` and text, no arguments.
"""

import re
import threading
import time

from _operations import check_alive
from _verdict import PATIENCE, check, in_thread, judge, outcome_of, run_python
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet

SECRET = "s3cr3t"
pending = []
is_over = threading.Event()
lock = threading.Lock()

NO_SETUP = """
import crochet

crochet.no_setup()

@crochet.wait_for(timeout=0.05)
def early(secret):
    pass

try:
    early("s3cr3t")
except crochet.TimeoutError as error:
    print(getattr(error, "state", None), error, sep="; ")
"""


def never():
    pending.append(Deferred())
    return pending[-1]


@crochet.run_in_reactor
def occupy(secret):
    while not is_over.is_set():
        time.sleep(0.5)  # the line that is busy


@crochet.wait_for(timeout=0.2)
def nothing(secret):
    pass


@crochet.wait_for(timeout=0.2)
def occupied(secret):
    time.sleep(0.5)  # the line of the body itself


@crochet.wait_for(timeout=0.1)
async def outer(secret):
    await middle(secret)  # outer's line


async def middle(secret):
    await inner(secret)  # middle's line


async def inner(secret):
    await never()  # inner's line


@crochet.wait_for(timeout=0.1)
@inlineCallbacks
def generator(secret):
    yield second_generator(secret)  # generator's line


@inlineCallbacks
def second_generator(secret):
    yield never()  # second generator's line


@crochet.wait_for(timeout=0.3)
def take_lock(secret):
    with lock:  # the line that is blocked
        pass


def place(comment):
    """
    Return file and line of the line with that comment, as texts name it.
    """
    with open(__file__) as file:
        lines = file.read().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))
    return f"timeout_says_why.py:{number}"


def check_says(call, states, *parts):
    """
    Check what a call's TimeoutError says.
    """
    error = in_thread(lambda: [outcome_of(lambda: call(SECRET))])[0]
    check(isinstance(error, crochet.TimeoutError), f"{call.__name__}(): {error!r}")
    text = str(error)
    check(all(part in text for part in parts), f"{call.__name__}(): no {parts} in: {text}")
    state = getattr(error, "state", None)
    check(state in states, f"{call.__name__}(): the state is {state!r}: {text}")
    check(text.startswith(f"{error.function}() has not"), f"the function is not named: {text}")
    check(SECRET not in text + repr(error), f"{call.__name__}(): an argument is told: {text}")
    told.append(state)
    return error


told = []


def check_busy():
    """
    Check what is said while the reactor thread does not return from something.
    """
    blocking = occupy(SECRET)
    error = check_says(nothing, ["busy"], "busy for", place("the line that is busy"))
    check(any(each.line for each in error.stack), "no stack of the reactor thread")
    is_over.set()
    blocking.wait(PATIENCE)
    is_over.clear()
    check_says(occupied, ["busy"], "own body", place("the line of the body itself"))
    check_alive()


def check_queued():
    """
    Check what is said when the reactor thread is on its way through many calls.
    """
    brief = crochet.run_in_reactor(lambda: is_over.is_set() or time.sleep(0.02))
    ahead = [brief() for _ in range(50)]
    error = check_says(nothing, ["queued"], "ahead of it")
    count = int(re.search(r"(\d+) calls? (?:are|is) ahead", str(error)).group(1))
    check(20 <= count <= 50, f"{count} calls ahead: {error}")
    is_over.set()
    ahead[-1].wait(PATIENCE)
    is_over.clear()


def check_waiting():
    """
    Check what is said of what a coroutine and a generator wait on.
    """
    lines = ("outer's line", "middle's line", "inner's line")
    error = check_says(outer, ["waiting"], *map(place, lines))
    check(len(error.awaits) >= 3, f"it awaits {error.awaits}")
    check_says(generator, ["waiting"], place("generator's line"), place("second generator's line"))


def check_blocked():
    """
    Check what is said while the reactor thread waits for a lock that the caller holds.
    """

    def take_lock_of_caller(secret):
        with lock:
            return take_lock(secret)

    # Who holds a plain lock nobody knows, but where it is waited for.
    check_says(take_lock_of_caller, ["blocked"], place("the line that is blocked"), "lock")
    check_alive()


def hazard():
    ended = run_python(NO_SETUP)
    check(ended.status == 0 and SECRET not in ended.out, ended.out + ended.err)
    says_it = ended.out.startswith("not-running; ") and "reactor.run()" in ended.out
    check(says_it, f"under no_setup(): {ended.out}")
    crochet.setup()
    check_busy()
    check_queued()
    check_waiting()
    check_blocked()
    return f"not-running, {', '.join(told)}; no arguments"


judge(hazard)
