"""
Why a call has not been answered.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import crochet
from crochet import EventualResult, _errors
from crochet._core.bridge import Bridge
from crochet._core.call import PENDING
from crochet._core.result import call_of
from crochet._diagnostics import moments as _moments
from crochet._diagnostics.deadlock import Blocked, Wait
from crochet._diagnostics.explain import (
    BLOCKED,
    BUSY,
    CRASHED,
    NOT_RUNNING,
    QUEUED,
    STOPPED,
    WAITING,
    Diagnosis,
    is_crash,
)
from crochet._diagnostics.frames import Place
from crochet._diagnostics.moments import Sight, seconds_told, sight_of
from crochet._errors import Reason
from crochet._stash.memory import MemoryStash
from crochet._threads import clock
from crochet._threads.primitives import Waiter
from support.process import FakeProcess
from support.stepping import BOUND

_PAGES = Path(__file__).parents[2] / "docs" / "explanation" / "timeouts"

_BASE = os.path.join(os.path.dirname(threading.__file__), "threading.py")

# Where a reactor thread may be, innermost first, above what runs the reactor.
PARSING = (
    Place("loads", os.path.join(os.path.dirname(_BASE), "json", "__init__.py"), 7),
    Place("parse", "/srv/app/views.py", 31),
    Place("load", "/srv/app/views.py", 12),
    Place("Client.received", "/srv/app/client.py", 8),
    Place("run_all", "/srv/app/client.py", 9),
)
ELSEWHERE = PARSING[:1]

# What is said of a Deferred of which nothing is known.
HINT = "CROCHET_DEBUG=1 tells where that Deferred was made."


class OpenBridge(Bridge):
    """
    A bridge to a reactor that nobody has, of which the test writes what an explanation reads.
    """

    def __init__(self) -> None:
        super().__init__(_errors.not_set_up, MemoryStash())
        self.refusal = None
        self.reactor_thread = 7
        self.diagnosed = self.diagnosis = Diagnosis(self)

    def put(self, call: Any) -> None:
        """
        Have a call wait for the reactor thread.
        """
        self._queue.append(call)

    def first(self, number: int) -> Any:
        """
        Return one of those.
        """
        return self._queue[number]


class FakeCall:
    """
    What is read of a call. One that has not started is queued.
    """

    def __init__(self, name: str, made: float, started: float | None = None) -> None:
        self.name = name
        self.made = made
        self.started = started
        self.is_queued = started is None
        self.running: Any = None
        self.reported: Any = None
        self.outcome: object = PENDING


def explain(bridge: Bridge, call: Any) -> Reason:
    """
    Have the bridge tell why a call has no answer.
    """
    return bridge.explain(call)


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> OpenBridge:
    """
    A bridge at 100 seconds past the clock's beginning. Its reactor thread is blocked in nothing.
    """
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0)
    monkeypatch.setattr(_moments, "blocked_in", lambda *arguments: None)
    return OpenBridge()


@pytest.fixture
def stack(bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """
    The reactor thread's stack: that of one which polls, unless filled.
    """
    stack: list[Place] = []
    monkeypatch.setattr(_moments, "above_the_reactor", lambda frame: tuple(stack))
    return stack


def started(bridge: OpenBridge, made: float, at: float) -> FakeCall:
    """
    Return a call that has started and waits on a Deferred.
    """
    call = FakeCall("fetch", made, at)
    call.running = Deferred()
    return call


def queued(bridge: OpenBridge, made: float, name: str = "fetch") -> FakeCall:
    """
    Return a call that has not.
    """
    call = FakeCall(name, made)
    bridge.put(call)
    return call


class TestABusyReactorThread:
    """
    Is the cause if it has been busy for half of the time or longer.
    """

    def test_not_come_since_the_call_was_made(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        At least for so long. It is told where, by the program's own frames, and by whom called.
        """
        stack += PARSING
        bridge.last_drain = 50.0
        call = queued(bridge, 95.0)
        reason = explain(bridge, call)
        assert reason.state == BUSY
        assert reason.text == (
            "The reactor thread has been busy for at least 5.0 s in views.py:31 parse(), called by "
            "views.py:12 load(), called by client.py:8 Client.received()."
        )
        assert reason.stack == PARSING
        assert reason.awaits == ()

    def test_not_come_since_an_older_call_was_made(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Then for longer than the call has waited.
        """
        stack += PARSING[1:2]
        queued(bridge, 91.0)
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.text == (
            "The reactor thread has been busy for at least 9.0 s in views.py:31 parse()."
        )

    def test_in_the_midst_of_a_burst(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        Since it last came to a call.
        """
        stack += PARSING[1:2]
        bridge.last_drain = 95.1
        reason = explain(bridge, queued(bridge, 95.0))
        assert (reason.state, reason.text) == (
            BUSY,
            "The reactor thread has been busy for 4.9 s in views.py:31 parse().",
        )

    def test_with_another_call_while_one_waits(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Which has started: nobody reads its answer.
        """
        stack += PARSING[1:2]
        call = started(bridge, 95.0, 95.0)
        bridge.body_of = FakeCall("parse", 95.0, 95.1)
        reason = explain(bridge, call)
        assert reason.state == BUSY
        assert "has been busy for 4.9 s in views.py:31 parse()." in reason.text
        assert [str(place) for place in reason.awaits] == ["a Deferred"]

    def test_with_the_body_of_the_call(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        Then that is said.
        """
        stack += PARSING[1:2]
        call = FakeCall("fetch", 95.0, 95.0)
        bridge.body_of = call
        assert explain(bridge, call).text == (
            "The reactor thread has been busy for 5.0 s in views.py:31 parse(): that is the "
            "function's own body, which blocks."
        )

    def test_with_a_body_that_is_not_written_in_python(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        It has no frame, but a name.
        """
        stack += ELSEWHERE
        bridge.last_drain = 95.0
        bridge.body_of = FakeCall("sleep", 94.0, 95.0)
        reason = explain(bridge, queued(bridge, 94.5))
        assert reason.text == "The reactor thread has been busy for 5.0 s in sleep()."

    def test_with_code_that_is_not_the_programs(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        The innermost frame is told, for want of a better one.
        """
        stack += ELSEWHERE
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.text == (
            "The reactor thread has been busy for at least 5.0 s in __init__.py:7 loads()."
        )

    def test_without_a_stack(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It may end at that very moment.
        """
        monkeypatch.setattr(_moments, "sight_of", lambda *arguments: Sight((), False, ""))
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.text == "The reactor thread has been busy for at least 5.0 s."

    def test_for_real(self, running: FakeProcess) -> None:
        """
        A body that computes, in the stack of a real thread.
        """
        has_begun, go_on = threading.Event(), threading.Event()

        def block() -> None:
            has_begun.set()
            while not go_on.is_set():
                pass

        blocking = running.run_in_reactor(block)()
        assert has_begun.wait(BOUND)
        waiting = running.run_in_reactor(int)()
        deadline = time.monotonic() + BOUND
        while True:
            # It may have taken the call longer to start than it now takes us to look.
            reasons = [explain(running.bridge, call_of(each)) for each in (blocking, waiting)]
            if {reason.state for reason in reasons} == {BUSY} or time.monotonic() > deadline:
                break
        go_on.set()
        assert blocking.wait(BOUND) is None
        assert waiting.wait(BOUND) == 0
        assert [reason.state for reason in reasons] == [BUSY, BUSY]
        first = block.__code__.co_firstlineno
        for reason in reasons:
            where = re.search(r"test_explain\.py:(\d+) ", reason.text)
            assert where is not None
            assert int(where[1]) - first in (2, 3)
        assert "own body" in reasons[0].text
        assert any(place.file == __file__ for place in reasons[0].stack)

    def test_blocked_for_real(self, running: FakeProcess) -> None:
        """
        The same with a body that waits for another thread: then that is the cause.
        """
        has_begun, go_on = threading.Event(), threading.Event()

        def block() -> None:
            has_begun.set()
            assert go_on.wait(BOUND)

        blocking = running.run_in_reactor(block)()
        assert has_begun.wait(BOUND)
        deadline = time.monotonic() + BOUND
        while (reason := explain(running.bridge, call_of(blocking))).state != BLOCKED:
            assert time.monotonic() < deadline, reason
        go_on.set()
        assert blocking.wait(BOUND) is None
        assert re.search(r"waits in test_explain\.py:\d+ block\(\) for an event\.", reason.text)
        assert any(place.file == _BASE for place in reason.stack)


class TestWhatHasKeptTheReactorThread:
    """
    Is told if it did for half of the wait or longer, though it is over.
    """

    def note(self, bridge: OpenBridge, since: float, until: float, place: Place) -> None:
        """
        Have been seen in a function.
        """
        bridge.diagnosed.note(since, until, sight_of((place,), None))

    def test_a_call_ahead_of_it(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        And now one that waits for a lock, for a short while.
        """
        stack += PARSING[1:2]
        self.note(bridge, 98.0, 99.8, Place("save", "/srv/app/models.py", 7))
        bridge.last_drain = 99.9
        bridge.body_of = FakeCall("parse", 99.0, 99.9)
        blocked = Blocked("The reactor thread waits for the lock 'lock'.", False, [])
        monkeypatch.setattr(_moments, "blocked_in", lambda *arguments: blocked)
        reason = explain(bridge, queued(bridge, 99.0))
        assert reason == (
            BUSY,
            "For 0.8 s of that the reactor thread was busy in models.py:7 save(). The reactor "
            "thread waits for the lock 'lock'.",
            (Place("save", "/srv/app/models.py", 7),),
            (),
        )

    def test_the_same_function_again_and_again(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Each time counts.
        """
        for at in (91, 93, 95, 97):
            self.note(bridge, at, at + 1.5, PARSING[1])
        text = explain(bridge, queued(bridge, 90.0)).text
        assert text == "For 6.0 s of that the reactor thread was busy in views.py:31 parse()."

    def test_is_none_of_this_waits_business(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        If it was before, or for less than half of it.
        """
        self.note(bridge, 91.0, 95.5, PARSING[1])
        assert explain(bridge, queued(bridge, 95.0)).state == QUEUED
        assert explain(bridge, started(bridge, 95.0, 95.6)).state == WAITING

    def test_is_still_at_it(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        Then that is seen, though no call tells for how long.
        """
        stack += PARSING[1:2]
        self.note(bridge, 91.0, 99.9, PARSING[1])
        assert explain(bridge, started(bridge, 90.0, 90.5)).text == (
            "The reactor thread has been busy for 9.0 s in views.py:31 parse()."
        )
        self.note(bridge, 92.0, 92.1, PARSING[1])
        bridge.diagnosed.moments._last = None
        assert explain(bridge, started(bridge, 90.0, 90.5)).text.startswith("It started 9.5 s ago")


class TestAQueuedCall:
    """
    Has not started.
    """

    def test_behind_others(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        As many as have not been withdrawn, if the reactor thread starts one after the other.
        """
        stack += PARSING
        bridge.last_drain = 99.9
        for _ in range(3):
            queued(bridge, 95.0)
        bridge.first(1).is_queued = False
        call = queued(bridge, 95.0)
        queued(bridge, 95.0)
        reason = explain(bridge, call)
        assert reason.state == QUEUED
        assert reason.text == (
            "It has not started: 2 calls are ahead of it in the queue, and the reactor thread is "
            "in views.py:31 parse()."
        )
        assert reason.stack == PARSING

    def test_behind_one_other(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        Nobody knows where the reactor thread is: in nobody's code.
        """
        bridge.last_drain = 99.9
        queued(bridge, 95.0)
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.text == "It has not started: 1 call is ahead of it in the queue."

    def test_behind_a_great_many(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        They are not all counted: that would cost each call of an outage a look at all others.
        """
        monkeypatch.setattr(_moments, "_QUEUED_SEEN", 3)
        bridge.last_drain = 99.9
        calls = [queued(bridge, 95.0) for _ in range(5)]
        assert explain(bridge, calls[2]).text == (
            "It has not started: 2 calls are ahead of it in the queue."
        )
        assert explain(bridge, calls[4]).text == (
            "It has not started: at least 3 calls are ahead of it in the queue."
        )

    def test_that_came_after_the_others_were_counted(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Is behind them all, whatever its id was before.
        """
        bridge.last_drain = 99.9
        calls = [queued(bridge, 95.0) for _ in range(2)]
        assert explain(bridge, calls[0]).text.endswith("has not come to it yet.")
        monkeypatch.setattr(clock, "monotonic", lambda: 100.0009)
        late = queued(bridge, 100.0008)
        assert "2 calls are ahead of it" in explain(bridge, late).text

    def test_that_is_about_to_start(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        It has just been taken from the queue.
        """
        reason = explain(bridge, FakeCall("fetch", 95.0))
        assert reason.text == "It has not started: the reactor thread has not come to it yet."

    def test_that_would_be_next(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        The reactor thread is on its way, after a very short time.
        """
        reason = explain(bridge, queued(bridge, 99.9999))
        assert reason.state == QUEUED
        assert reason.text == ("It has not started: the reactor thread has not come to it yet.")


class TestAStartedCall:
    """
    Waits on something.
    """

    def test_that_waits(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        In a chain of frames, down to the Deferred that has not fired.
        """
        call = started(bridge, 95.0, 95.1)

        async def fetch() -> None:
            await call_server()

        async def call_server() -> None:
            await deferred

        deferred = Deferred[None]()
        call.running = Deferred.fromCoroutine(fetch())
        reason = explain(bridge, call)
        first = fetch.__code__.co_firstlineno
        assert reason.state == WAITING
        assert reason.text == (
            f"It started 4.9 s ago, and waits in test_explain.py:{first + 1} fetch() > "
            f"test_explain.py:{first + 4} call_server() > a Deferred. {HINT}"
        )
        assert [place.line for place in reason.awaits] == [first + 1, first + 4, 0]
        deferred.callback(None)

    def test_that_started_late(self, bridge: OpenBridge, stack: list[Place]) -> None:
        """
        And had little time.
        """
        reason = explain(bridge, started(bridge, 95.0, 99.0))
        assert reason.text == (
            "It started 1.0 s ago, having waited 4.0 s for the reactor thread, and waits in a "
            f"Deferred. {HINT}"
        )

    def test_that_waits_for_a_deferred_of_which_twisted_knows(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Where it was made, with CROCHET_DEBUG or ``setDebugging()``. There is no need of a hint.
        """
        monkeypatch.setattr(Deferred, "debug", True)
        call = started(bridge, 95.0, 95.1)
        line = sys._getframe().f_lineno + 1
        call.running = Deferred()
        reason = explain(bridge, call)
        name = "test_that_waits_for_a_deferred_of_which_twisted_knows"
        assert reason.text == (
            "It started 4.9 s ago, and waits in a Deferred made in "
            f"test_explain.py:{line} {name}()."
        )
        (made,) = reason.awaits
        assert (made.file, made.line) == (__file__, line)

    def test_that_waits_on_nothing_that_is_known(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Its body has just returned, say.
        """
        call = started(bridge, 95.0, 94.9999)  # within a tick before it was made
        call.running = None
        reason = explain(bridge, call)
        assert (reason.state, reason.text) == (WAITING, "It started 5.0 s ago.")

    def test_while_the_reactor_thread_is_busy_for_a_while(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Not for long enough to be the cause, but for long enough to be told.
        """
        stack += PARSING[1:2]
        call = started(bridge, 90.0, 90.0)
        queued(bridge, 98.0)
        reason = explain(bridge, call)
        assert reason.state == WAITING
        assert reason.text == (
            "It started 10.0 s ago, and waits in a Deferred. The reactor thread has been busy for "
            f"at least 2.0 s in views.py:31 parse(). {HINT}"
        )

    def test_while_the_reactor_thread_does_something(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        As it always does. Nothing tells that it has been at it for long.
        """
        stack += PARSING
        assert explain(bridge, started(bridge, 90.0, 90.0)).text == (
            f"It started 10.0 s ago, and waits in a Deferred. {HINT}"
        )

    def test_for_real(self, running: FakeProcess) -> None:
        """
        One that waits while the reactor thread polls.
        """
        result: EventualResult[Any] = running.run_in_reactor(Deferred)()
        running.wait_for(BOUND)(int)()
        reason = explain(running.bridge, call_of(result))
        assert reason.state == WAITING
        assert [str(place) for place in reason.awaits] == ["a Deferred"]
        result.cancel()
        running.wait_for(BOUND)(int)()
        assert result.original_failure() is not None


class TestTheReactor:
    """
    Is the cause.
    """

    def test_not_running_yet(self, bridge: OpenBridge) -> None:
        """
        The program's own.
        """
        bridge.reactor_thread = None
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.state == NOT_RUNNING
        assert "the program itself has to call reactor.run()" in reason.text

    @pytest.mark.parametrize("refusal", [_errors.stopped, _errors.shut_down, _errors.exiting])
    def test_stopped(self, bridge: OpenBridge, refusal: Any) -> None:
        """
        And the call is about to be answered so.
        """
        bridge.refusal = refusal
        reason = explain(bridge, queued(bridge, 95.0))
        assert (reason.state, reason.text) == (
            STOPPED,
            "The reactor has stopped, or is about to, and takes no more calls.",
        )

    @pytest.mark.parametrize(
        "refusal", [_errors.crashed, partial(_errors.ended_with, ValueError("no"))]
    )
    def test_crashed(self, bridge: OpenBridge, refusal: Any) -> None:
        """
        Likewise.
        """
        bridge.refusal = refusal
        reason = explain(bridge, queued(bridge, 95.0))
        assert (reason.state, reason.text) == (CRASHED, "The reactor has crashed.")

    @pytest.mark.parametrize("end", ["stop", "crash"])
    @pytest.mark.parametrize("is_ours", [True, False])
    def test_stopped_or_crashed_for_real(
        self, process: FakeProcess, is_ours: bool, end: str
    ) -> None:
        """
        The one is told from the other, whoever runs the reactor.
        """
        process.reactor.callWhenRunning(lambda: getattr(process.reactor, end)())
        if is_ours:
            process.loop.setup()
            process.run_reactor()
        else:
            process.loop.no_setup()
            process.reactor.run()
        refusal: Any = process.bridge.refusal
        assert is_crash(refusal) is (end == "crash")
        text = str(refusal("fetch"))
        assert "the reactor has stopped" in text
        assert end in text


class TestABlockedReactorThread:
    """
    Which waits for who waits for it: found out elsewhere.
    """

    def test_is_the_cause(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Before all others.
        """
        stack += PARSING
        asked: list[object] = []

        def blocked_in(ident: int, carrier: object, frames: object) -> Blocked:
            asked.extend((ident, carrier))
            return Blocked("It waits for us.", False, [])

        monkeypatch.setattr(_moments, "blocked_in", blocked_in)
        reason = explain(bridge, queued(bridge, 95.0))
        expected = "It waits for us. It has been busy for at least 5.0 s."
        assert reason == (BLOCKED, expected, PARSING, ())
        assert asked == [7, bridge]

    @pytest.mark.parametrize("is_circle", [True, False])
    def test_is_the_cause_of_a_short_wait_if_that_is_part_of_it(
        self,
        bridge: OpenBridge,
        stack: list[Place],
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_circle: bool,
    ) -> None:
        """
        However short the time for which it has been blocked by then.
        """
        stack += PARSING
        bridge.last_drain = 99.9
        waits = [Wait(1, "fetch", bridge.new_waiter(), 7)] * is_circle
        blocked = Blocked("It waits for us.", is_circle, waits)
        monkeypatch.setattr(_moments, "blocked_in", lambda *arguments: blocked)
        reason = explain(bridge, queued(bridge, 95.0))
        assert reason.state == (BLOCKED if is_circle else QUEUED)

    def test_is_looked_for_if_it_is_busy_only(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        One that polls is blocked in nothing.
        """
        asked: list[object] = []
        monkeypatch.setattr(_moments, "blocked_in", lambda *arguments: asked.append(arguments))
        assert explain(bridge, queued(bridge, 95.0)).state == QUEUED
        assert asked == []
        stack += PARSING
        later = queued(bridge, 99.9999)
        bridge.diagnosed.begin()
        assert explain(bridge, later).state == BUSY
        assert len(asked) == 1


class TestACrowd:
    """
    Runs out of time together, as calls do in an outage.
    """

    @pytest.mark.parametrize("is_started", [True, False])
    def test_takes_one_look_at_all_threads(
        self, bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch, *, is_started: bool
    ) -> None:
        """
        And another when the first is old. Each tells its own part.
        """
        looks: list[object] = []

        def current_frames() -> dict[int, Any]:
            looks.append(None)
            return {7: sys._getframe()}

        monkeypatch.setattr(_moments, "frames_of_threads", current_frames)
        make = started if is_started else queued
        calls = [make(bridge, 95.0, *[96.0 + index / 1000] * is_started) for index in range(1000)]
        asked: list[object] = []
        now = 100.0
        monkeypatch.setattr(clock, "monotonic", lambda: now)
        monkeypatch.setattr(
            _moments, "blocked_in", lambda ident, carrier, frames: asked.append(len(frames))
        )
        for call in calls:
            explain(bridge, call)
            now += 0.0001
        assert len(looks) == len(asked) == 2
        assert asked == [1, 1]

    def test_looks_at_no_more_threads_for_each_the_more_there_are(
        self, bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A look takes the longer the more there are, so it is shared for longer; but never by one
        whose wait was short.
        """
        looks: list[float] = []
        now = 100.0

        def current_frames() -> dict[int, Any]:
            looks.append(now)
            return {7: sys._getframe()}

        monkeypatch.setattr(_moments, "frames_of_threads", current_frames)
        monkeypatch.setattr(clock, "monotonic", lambda: now)
        seen: list[float] = []
        for number in (1000, 20_000):
            now += 10.0
            looks.clear()
            bridge.waits.update({Waiter(): (index, None) for index in range(number)})
            calls = [queued(bridge, now - 5.0) for _ in range(number)]
            for call in calls:
                explain(bridge, call)
                now += 0.0001  # seconds that each takes
            seen.append(len(looks))  # each at so many threads, for so many calls
            bridge._queue.clear()
        assert seen == [2, 5]
        explain(bridge, queued(bridge, now - 0.5))
        explain(bridge, queued(bridge, now - 0.5))
        before = len(looks)
        now += 0.06
        explain(bridge, queued(bridge, now - 0.5))
        assert len(looks) == before + 1

    def test_does_not_look_at_what_is_in_flight(
        self, bridge: OpenBridge, stack: list[Place]
    ) -> None:
        """
        Nor at more of the queue than is told.
        """

        class Queue(deque[Any]):
            taken = 0

            def __iter__(self) -> Any:
                for each in super().__iter__():
                    Queue.taken += 1
                    yield each

            def __getitem__(self, index: Any) -> Any:
                Queue.taken += 1
                return super().__getitem__(index)

        class InFlight(set[Any]):
            def copy(self) -> Any:
                raise AssertionError("this may be of any length")

        stack += PARSING
        bridge._queue = Queue()
        bridge.in_flight = InFlight()
        calls = [queued(bridge, 95.0) for _ in range(5000)]
        for call in calls:
            assert explain(bridge, call).state == BUSY
        assert Queue.taken == 1

    def test_is_told_of_what_was_seen_while_it_waited(
        self, bridge: OpenBridge, stack: list[Place], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A call that was made after the look is not.
        """
        stack += PARSING
        assert explain(bridge, queued(bridge, 95.0)).state == BUSY
        stack.clear()
        monkeypatch.setattr(clock, "monotonic", lambda: 100.04)
        assert explain(bridge, queued(bridge, 100.02)).state == QUEUED


class TestExplaining:
    """
    Whatever happens.
    """

    def test_does_not_raise(self, bridge: OpenBridge, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Who asks is about to raise something more important.
        """
        monkeypatch.setattr(_moments, "sight_of", lambda stack, body: Sight((), False, ""))

        def fail(ident: int, carrier: object, frames: object) -> None:
            raise ValueError("in here")

        monkeypatch.setattr(_moments, "blocked_in", fail)
        reason = explain(bridge, queued(bridge, 95.0))
        assert (reason.state, reason.text) == (QUEUED, "It has not started.")
        reason = explain(bridge, started(bridge, 95.0, 95.0))
        assert (reason.state, reason.text) == (WAITING, "It has started.")

    def test_leaves_everything_as_it_was(self, stepped: FakeProcess) -> None:
        """
        A call goes its way afterwards.
        """
        result = stepped.run_in_reactor(int)()
        assert explain(stepped.bridge, call_of(result)).state in (QUEUED, BUSY)
        assert not result.done()
        stepped.reactor.turn()
        assert result.wait(0) == 0

    def test_has_a_page_for_each_state(self) -> None:
        """
        Of its name.
        """
        states = {BUSY, QUEUED, WAITING, BLOCKED, NOT_RUNNING, STOPPED, CRASHED}
        assert {page.stem for page in _PAGES.glob("*.md")} == states | {"index", "past-deadline"}

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(5.04, "5.0 s"), (0.1, "0.1 s"), (0.0123, "12.3 ms"), (-1.0, "0.0 ms")],
    )
    def test_tells_seconds(self, seconds: float, text: str) -> None:
        """
        In the unit of their size.
        """
        assert seconds_told(seconds) == text


def test_the_clock_is_that_of_the_calls(stepped: FakeProcess) -> None:
    """
    A call made now is no time old.
    """
    before = time.monotonic()
    result = stepped.run_in_reactor(int)()
    assert before <= call_of(result).made <= time.monotonic()
    assert crochet.EventualResult is type(result)
    stepped.reactor.turn()
