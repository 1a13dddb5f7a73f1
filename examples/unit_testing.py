"""
Unit tests for Crochet functions, without Crochet: no thread, no waiting, no `setup()`.

    python unit_testing.py
    python -m twisted.trial unit_testing

`function.__wrapped__` is the function as it was before it was decorated. A test calls it in its
own thread and gets what the body returns, a Deferred or a coroutine, to step through with
Twisted's test tools; time is a `Clock`, which passes when the test says so.
"""
# ruff: noqa: PT009 - unittest's own assertions

from __future__ import annotations

from collections.abc import Callable
from unittest import main

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.trial import unittest

from crochet import run_in_reactor, wait_for

# What is to be tested: a module of your program, usually. It may call `setup()` where the
# program starts; that these functions are defined and tested does not need it.


class JobFailed(Exception):
    """
    The job has ended, but not well.
    """


@wait_for(timeout=600.0)
async def job_finished(ask: Callable[[], Deferred[str]], clock: IReactorTime) -> int:
    """
    Ask every five seconds how a job is doing, until it is done.

    Returns:
        How often it was asked.
    """
    asked = 1
    while (state := await ask()) == "running":
        await deferLater(clock, 5.0)
        asked += 1
    if state != "done":
        raise JobFailed(state)
    return asked


@run_in_reactor
def remind(tell: Callable[[str], None], seconds: float, clock: IReactorTime) -> Deferred[None]:
    """
    Tell somebody that it is time.
    """
    return deferLater(clock, seconds, tell, "it is time")


# The tests.


class JobFinishedTests(unittest.SynchronousTestCase):
    """
    `job_finished`, an `async def`.
    """

    def start(self, *states: str) -> Deferred[int]:
        """
        Call it for a job that will be in these states.
        """
        self.clock = Clock()
        coming = iter(states)
        coroutine = job_finished.__wrapped__(lambda: succeed(next(coming)), self.clock)
        return Deferred.fromCoroutine(coroutine)

    def test_done_already(self) -> None:
        """
        A job that is done needs no second question.
        """
        self.assertEqual(self.successResultOf(self.start("done")), 1)

    def test_asks_every_five_seconds(self) -> None:
        """
        While the job runs it is asked again after five seconds, and not before.
        """
        asked = self.start("running", "running", "done")
        self.clock.advance(5.0)
        self.clock.advance(4.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked), 3)

    def test_job_failed(self) -> None:
        """
        A job that failed is an error that says how.
        """
        failure = self.failureResultOf(self.start("out of paper"), JobFailed)
        self.assertEqual(str(failure.value), "out of paper")

    def test_question_failed(self) -> None:
        """
        An error in the question reaches the caller.
        """
        coroutine = job_finished.__wrapped__(lambda: fail(OSError("no route")), Clock())
        self.failureResultOf(Deferred.fromCoroutine(coroutine), OSError)

    def test_timeout(self) -> None:
        """
        A caller's timeout cancels what it waits for, so it must leave no timer behind.
        """
        asked = self.start("running")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RemindTests(unittest.SynchronousTestCase):
    """
    `remind`, a function that returns a Deferred.
    """

    def test_tells_in_time(self) -> None:
        """
        The reminder comes when its time has passed.
        """
        told: list[str] = []
        clock = Clock()
        reminded = remind.__wrapped__(told.append, 60.0, clock)
        clock.advance(59.0)
        self.assertEqual(told, [])
        clock.advance(1.0)
        self.assertEqual(told, ["it is time"])
        self.successResultOf(reminded)


if __name__ == "__main__":
    main()
