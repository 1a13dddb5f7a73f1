"""
What questions to bridges are made of: operations, waits that are given up, and whole programs.
"""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from _bridges import bridge
from _verdict import PATIENCE, Ended, Hang, check, happens, in_thread, judge, outcome_of, run_python

T = TypeVar("T")

# Seconds within which what should come at once has to come, on a busy machine.
AT_ONCE = 3.0


def ask(question: Callable[[], str]) -> None:
    """
    Put a question, like judge(), and end the process there and then.

    How programs end is asked by any_exit_*, and by nothing else.
    """
    judge(question)
    sys.stdout.flush()
    os._exit(0)


class Operation:
    """
    An operation that goes on until it is cancelled.
    """

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    async def run(self) -> None:
        """
        Go on.
        """
        self.started.set()
        try:
            await bridge.never()
        finally:
            self.ended.set()

    def check_ends(self) -> None:
        """
        Wait for its end; a breach if it goes on.
        """
        check(self.ended.wait(AT_ONCE), "the operation goes on")


async def nothing() -> int:
    """
    Be the body of a call that is answered at once.
    """
    return 42


def check_alive() -> None:
    """
    Check that calls are answered.
    """
    answer = at_once("a call", lambda: bridge.call(nothing, PATIENCE))
    check(answer == 42, f"a call is no longer answered: {answer!r}")


def at_once(what: str, call: Callable[[], T]) -> T | BaseException:
    """
    Return what a call returns or raises, in a thread of its own; a hang if it takes long.
    """
    # In a list: an exception that came of the thread's work itself would be raised.
    return in_thread(lambda: [outcome_of(call)], AT_ONCE, f"{what}: nothing in {AT_ONCE:g} s")[0]


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """
    Start a daemon thread that calls; return it and a list that gets what was returned or raised.
    """
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome_of(call)), daemon=True)
    thread.start()
    return thread, outcomes


def waiters(operations: Sequence[Operation]) -> list[tuple[threading.Thread, list[Any]]]:
    """
    Start a daemon thread for each operation that waits for it without a limit.
    """
    waiting = [in_background(bridge.blocking(operation.run)) for operation in operations]
    for operation in operations:
        happens(operation.started, "an operation starts")
    return waiting


def still_alive(threads: Iterable[threading.Thread], seconds: float) -> int:
    """
    Return how many threads have not ended after some seconds in all.
    """
    deadline = time.monotonic() + seconds
    threads = list(threads)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return sum(thread.is_alive() for thread in threads)


def check_released(waiting: list[tuple[threading.Thread, list[Any]]]) -> str:
    """
    Check that each waiter gets an exception at once; return the kinds of them.
    """
    stuck = still_alive([thread for thread, _ in waiting], AT_ONCE)
    if stuck:
        raise Hang(f"{stuck} of {len(waiting)} waiters wait on")
    values = [outcomes[0] for _, outcomes in waiting]
    answered = [each for each in values if not isinstance(each, BaseException)]
    check(not answered, f"{len(answered)} waiters got a value: {answered[:1]}")
    return " and ".join(sorted({type(each).__name__ for each in values}))


_BEGINNING = """
import sys
sys.path.insert(0, {here!r})
import atexit, gc, logging, os, threading
from _bridges import bridge
from _questions import Operation, in_background, nothing
with bridge.session():
    assert bridge.call(nothing, 30) == 42
"""


def check_ended_by(end: Callable[[], object]) -> str:
    """
    Check that waiters without a limit are released when *end*, called in the loop, ends that.

    And that a later call is answered or refused at once. Returns what was seen.
    """
    operations = [Operation() for _ in range(8)]
    waiting = waiters(operations)
    bridge.call(end, 30)
    kinds = check_released(waiting)
    outcome = at_once("a later call", lambda: bridge.call(nothing))
    check(outcome == 42 or isinstance(outcome, Exception), f"a later call: {outcome!r}")
    return f"8 of 8, by {kinds}"


def run_program(source: str) -> Ended:
    """
    Run a program that has started the bridge and made a call, to its end.
    """
    beginning = _BEGINNING.format(here=str(Path(__file__).parent))
    return run_python(beginning + textwrap.indent(textwrap.dedent(source), "    "))
