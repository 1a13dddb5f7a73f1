"""
The watchdog over the reactor thread: when it looks, when it sleeps, and what it sees.

Stepped first: time and the inbox that it waits for are fake, and what others do meanwhile happens
where it would block. Then the real things, each in a new process.
"""

from __future__ import annotations

import math
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from crochet import DeadlockError
from crochet._core.decorators import Decorators
from crochet._diagnostics import watchdog as _watch
from crochet._diagnostics.deadlock import Blocked, Wait
from crochet._diagnostics.explain import Diagnosis
from crochet._diagnostics.moments import Sight
from crochet._diagnostics.watchdog import Watchdog, stack_of
from crochet._errors import Place
from crochet._threads import worker as _worker
from crochet._threads.primitives import Waiter
from support.process import FakeProcess, FakeThreads, LoggedFailures, open_bridge
from support.programs import REACTORS, Finished, run_python
from support.reactor import FakeReactor
from support.stepping import BOUND, Background, frame_without_line


class LookedAt(set):  # type: ignore[type-arg]
    """
    A set that calls a hook right before or right after it is looked at, once.
    """

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def __len__(self) -> int:
        self.before, hook = None, self.before
        if hook is not None:
            hook()
        length = super().__len__()
        self.after, hook = None, self.after
        if hook is not None:
            hook()
        return length


class FakeInbox:
    """
    A queue that calls *meanwhile* where a real one would block, and notes for how long it would.
    """

    def __init__(self, meanwhile: Callable[[float], object]) -> None:
        self._meanwhile = meanwhile
        self._items: list[Any] = []
        self.waits: list[float] = []
        self.put = self._items.append

    def empty(self) -> bool:
        return not self._items

    def get(self, block: bool, timeout: float | None) -> Any:
        if block and self.empty():
            assert len(self.waits) < 100, "this waits over and over, for nothing"
            self.waits.append(-1 if timeout is None else timeout)
            self._meanwhile(timeout or 0.0)
            if timeout is None and self.empty():
                return _worker._Mark(is_end=False)
        if self.empty():
            raise Empty
        return self._items.pop(0)


class Stepped:
    """
    A watchdog that does one step after another, in the test's thread, and is then stopped.
    """

    def __init__(self, stall_warning: float = 1.0) -> None:
        self.now = 100.0
        self.reactor: Any = FakeReactor()
        self.bridge = open_bridge(self.reactor)
        self.bridge.reactor_thread = threading.get_ident()
        self.diagnosis = self.bridge.diagnosis = Diagnosis(self.bridge)
        self.inbox: Any = FakeInbox(self._meanwhile)
        self.threads = FakeThreads()
        self.watchdog = Watchdog(
            self.reactor, self.bridge, self.threads, stall_warning, lambda: self.now
        )
        self.watchdog._worker._inbox = self.inbox
        self.call: Any = Decorators(self.bridge).run_in_reactor(int)
        self._steps: list[Callable[[], object]] = []

    def _meanwhile(self, timeout: float) -> None:
        self.now += timeout
        step = self._steps.pop(0) if self._steps else self.watchdog.stop
        step()

    def run(self, *steps: Callable[[], object]) -> list[float]:
        """
        Have the watchdog run until there are no steps left; return how long it waited, -1 for
        asleep.
        """
        self._steps = list(steps)
        self.watchdog.start()
        self.threads.started[-1].run()
        assert self.bridge.wake_watchdog is None
        return self.inbox.waits  # type: ignore[no-any-return]

    def turn(self) -> None:
        """
        Have the reactor do what is due.
        """
        self.reactor.running = True
        self.reactor.turn()


@pytest.fixture
def stepped() -> Stepped:
    """
    A watch that has not been started.
    """
    return Stepped()


class Logged:
    """
    What the watchdog logs.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "crochet":
            self.events.append(event)

    @property
    def texts(self) -> list[str]:
        """
        Level and text of each event.
        """
        return [
            f"{each['log_level'].name}: " + each["log_format"].format(**each)
            for each in self.events
            if each["log_level"] is not LogLevel.critical
        ]


@pytest.fixture
def log() -> Iterator[Logged]:
    """
    What is logged from now on.
    """
    log = Logged()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)


def nothing() -> None:
    """
    Do nothing while the watchdog waits.
    """


class TestSleep:
    """
    It sleeps unless there is something to look at.
    """

    def test_at_rest(self, stepped: Stepped) -> None:
        """
        It can be woken, and sleeps with no bound.
        """
        seen: list[object] = []
        waits = stepped.run(lambda: seen.append(stepped.bridge.wake_watchdog))
        assert seen == [stepped.watchdog.wake]
        assert waits[0] == -1

    def test_is_woken_by_a_call(self, stepped: Stepped) -> None:
        """
        It looks, and again, until the call is answered; then it sleeps.
        """
        waits = stepped.run(stepped.call, nothing, stepped.turn, nothing, nothing)
        assert waits[0] == -1
        assert waits[1:4] == [0.1, 0.1, -1]

    def test_looks_less_often_where_thousands_wait(self, stepped: Stepped) -> None:
        """
        For each look is at all threads.
        """
        stepped.bridge.waits.update({Waiter(): (index, None) for index in range(4000)})
        waits = stepped.run(stepped.call, nothing, stepped.turn, nothing, nothing)
        assert waits[1:4] == [0.2, 0.2, -1]

    def test_call_before_the_look(self, stepped: Stepped) -> None:
        """
        1. The watchdog writes ``wake_watchdog``. 2. A call is entered. 3. The watchdog looks, and
        does not sleep.
        """
        in_flight = stepped.bridge.in_flight = LookedAt()
        in_flight.before = stepped.call
        assert -1 not in stepped.run(nothing)[:1]

    def test_call_after_the_look(self, stepped: Stepped) -> None:
        """
        1. The watchdog writes ``wake_watchdog``. 2. It looks. 3. A call is entered, and opens the
        lock. 4. The watch, about to sleep, does not.
        """
        in_flight = stepped.bridge.in_flight = LookedAt()
        in_flight.after = stepped.call
        assert -1 not in stepped.run(nothing)[:1]

    def test_late_wake(self, stepped: Stepped) -> None:
        """
        1. A caller reads ``wake_watchdog``. 2. The watchdog wakes, finds nothing, and sleeps again.
        3. The caller goes on. The watchdog looks once too often, and ``wake_watchdog`` is still
        there.
        """
        late: list[Any] = []
        waits = stepped.run(
            lambda: (late.append(stepped.bridge.wake_watchdog), stepped.watchdog._worker.wake()),
            nothing,  # the pause before the look
            lambda: late.pop()(),
            nothing,
            lambda: late.append(stepped.bridge.wake_watchdog),
        )
        assert waits[:5] == [-1, 0.1, -1, 0.1, -1]
        assert late == [stepped.watchdog.wake]

    def test_quiet_reactor(self, stepped: Stepped) -> None:
        """
        It sleeps while that has nothing to do, though a call is in flight, until it has.
        """
        turns = stepped.watchdog._idle_probe

        def stir() -> None:
            turns.is_quiet = False
            stepped.watchdog._on_stir()

        def be_quiet() -> None:
            turns.is_quiet = True

        waits = stepped.run(stepped.call, nothing, be_quiet, stir, be_quiet, nothing)
        assert waits[:5] == [-1, 0.1, 0.1, -1, 0.1]

    def test_reactor_that_it_cannot_see_into(self, stepped: Stepped) -> None:
        """
        It rests between one answer and the next question, each time for longer, until a call comes.
        """
        hang = Decorators(stepped.bridge).run_in_reactor(Deferred[None])
        ask, answer = nothing, stepped.turn
        waits = stepped.run(
            *(hang, ask, answer, nothing),
            *(ask, answer, nothing),
            *(ask, answer, nothing),
            *(ask, answer, nothing),
            *(ask, answer, stepped.call),
            *(ask, answer, nothing),
        )
        assert waits[:3] == [-1, 0.1, 0.1]
        assert waits[3::3] == [0.1, 0.4, 1.6, 5.0, 5.0, 0.1]
        assert {*waits[4::3], *waits[5::3]} == {0.1}

    def test_reactor_that_is_busy_after_a_rest(self, log: Logged) -> None:
        """
        The rest is not counted as part of a stall.
        """
        stepped = Stepped(stall_warning=0.3)
        hang = Decorators(stepped.bridge).run_in_reactor(Deferred[None])
        ask, answer = nothing, stepped.turn
        waits = stepped.run(
            *(hang, ask, answer, nothing),
            *(ask, answer, nothing),
            *(ask, nothing, answer),
        )
        assert waits[:9] == pytest.approx([-1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1])
        assert log.events == []

    def test_stir_while_it_is_awake(self, stepped: Stepped) -> None:
        """
        There is nobody to wake.
        """
        stepped.watchdog._on_stir()
        assert stepped.inbox.empty()

    def test_stop_before_it_runs(self, stepped: Stepped) -> None:
        """
        A start that is undone before the thread comes to run.
        """
        stepped.watchdog.start()
        stepped.watchdog.stop()
        stepped.threads.started[0].run()
        assert stepped.inbox.waits == []
        stepped.watchdog.join()
        assert stepped.watchdog.get_caller() is None

    def test_stop_while_it_goes_to_sleep(self, stepped: Stepped) -> None:
        """
        1. The watchdog finds that it is not stopped. 2. It is. 3. It finds that, and does not
        sleep.
        """
        stepped.bridge.in_flight = LookedAt()
        stepped.bridge.in_flight.before = stepped.watchdog.stop
        assert stepped.run() == []

    def test_never_started(self, stepped: Stepped) -> None:
        """
        There is nobody to wait for, nor to call anything.
        """
        stepped.watchdog.join()
        assert stepped.watchdog.get_caller() is None

    def test_calls_for_a_fork(self, stepped: Stepped) -> None:
        """
        What a fork has it call, it calls wherever it sleeps.
        """
        called = []

        def fork() -> None:
            call = Background(stepped.watchdog.get_caller).outcome()
            assert call is not None
            call(called.append, len(called))

        stepped.run(fork, fork, nothing)
        assert called == [0, 1]

    def test_forked_child(self, stepped: Stepped) -> None:
        """
        It has no thread, and calls wake none.
        """
        stepped.bridge.wake_watchdog = stepped.watchdog.wake
        stepped.watchdog.after_fork_in_child()
        assert stepped.bridge.wake_watchdog is None
        assert stepped.watchdog.get_caller() is None

    def test_threads_to_take_back(self, stepped: Stepped) -> None:
        """
        It does not sleep before they are.
        """
        pool = stepped.reactor.getThreadPool()
        pool.started = True
        stepped.watchdog._pool_growth.added = 1

        def take() -> None:
            stepped.watchdog._pool_growth.added = 0

        try:
            assert stepped.run(nothing, nothing, take)[:4] == [0.1, 0.1, 0.1, -1]
        finally:
            pool.started = False

    @pytest.mark.parametrize("is_interrupted", [False, True])
    def test_handoff_that_does_not_go_on(self, stepped: Stepped, *, is_interrupted: bool) -> None:
        """
        Is ended; it does not sleep before, though nothing is in flight any more. Somebody does not
        come, or nobody was let through.
        """
        handoff = stepped.bridge.handoff
        handoff.schedule_check = nothing
        waiters = [Waiter() for _ in range(2)]

        def enqueue() -> None:
            assert handoff.begin()
            handoff._released += 100.0  # it is not late
            for waiter in waiters:
                if is_interrupted:
                    handoff.line.append(waiter)
                else:
                    handoff.enqueue(waiter)
            assert any(waiter.empty() for waiter in waiters)

        def be_late() -> None:
            handoff._released -= 200.0

        waits = stepped.run(enqueue, nothing, be_late, nothing)
        assert not any(waiter.empty() for waiter in waiters)
        assert waits == pytest.approx([-1, 0.1, 0.1, -1, 0.1])

    def test_who_lines_up_while_it_looks(self, stepped: Stepped) -> None:
        """
        Is seen, though the call is in flight no more.
        """
        handoff = stepped.bridge.handoff
        handoff.schedule_check = nothing
        in_flight = stepped.bridge.in_flight = LookedAt()

        def enqueue() -> None:
            handoff._released = math.inf  # it is not late
            handoff.enqueue(Waiter())

        def look() -> None:
            # Not the first look, but the one before it may sleep.
            in_flight.after = lambda: setattr(in_flight, "after", enqueue)

        assert stepped.run(nothing, look, nothing) == pytest.approx([-1, 0.1, 0.1, 0.1])

    def test_wakes_the_reactor_for_calls_that_nobody_wakes_it_for(self, stepped: Stepped) -> None:
        """
        Since whose turn it was has gone without looking.
        """
        stepped.bridge.handoff.turns.append(Waiter())
        stepped.call()
        stepped.bridge.handoff.turns.clear()
        is_woken: list[bool] = []

        def look() -> None:
            is_woken.append(bool(stepped.bridge._wakeup))

        stepped.run(look, look)
        assert is_woken == [False, True]

    def test_no_handoff_without_it(self, stepped: Stepped) -> None:
        """
        None begins before it watches, or after its end.
        """
        handoff = stepped.bridge.handoff
        handoff.schedule_check = nothing
        waiter = Waiter()
        assert not handoff.begin()
        stepped.run(lambda: handoff.turns.append(waiter))
        assert not handoff.begin()
        assert not waiter.empty()

    def test_error_ends_it(self, stepped: Stepped, logged: LoggedFailures) -> None:
        """
        It is logged, and nobody is kept from anything.
        """
        stepped.watchdog._pool_growth.look = lambda: 1 / 0  # type: ignore[method-assign,assignment]
        stepped.run(stepped.call, nothing)
        (error,) = logged.take()
        assert isinstance(error, ZeroDivisionError)


class TestStalls:
    """
    A reactor that does not turn.
    """

    def test_is_logged_once_and_when_it_is_over(self, stepped: Stepped, log: Logged) -> None:
        """
        With how long, and where; its end with its length.
        """

        def over() -> None:
            stepped.now += 5.0
            stepped.turn()

        waits = stepped.run(stepped.call, *[nothing] * 14, over, nothing)
        warning, info = log.texts
        assert warning.startswith("warn: The reactor thread has been busy for 1.0 s in "), warning
        assert "test_watchdog.py" in warning.partition("It is here:")[2]
        assert info == f"info: The reactor thread goes on. It was busy for {_length(waits):.1f} s"

    @pytest.mark.parametrize(
        ("until", "expected", "is_here"),
        [
            (100.95, ", for 0.9 s of that in models.py:7 save();", False),
            (100.35, ", for 0.7 s of that in views.py:31 parse();", True),
            (100.0, " in views.py:31 parse();", True),
        ],
    )
    def test_names_what_has_lasted(
        self,
        stepped: Stepped,
        log: Logged,
        monkeypatch: pytest.MonkeyPatch,
        until: float,
        expected: str,
        is_here: bool,
    ) -> None:
        """
        Of several functions in one turn, with its stack if it has not returned.
        """
        before = Sight((Place("save", "/srv/models.py", 7),), False, "models.py:7 save()")
        after = Sight((Place("parse", "/srv/views.py", 31),), False, "views.py:31 parse()")
        monkeypatch.setattr(
            _watch, "look_at", lambda frame, bridge: before if stepped.now < until else after
        )
        stepped.run(stepped.call, *[nothing] * 14)
        (warning,) = log.texts
        start, _, rest = warning.partition(expected)
        assert start == "warn: The reactor thread has been busy for 1.0 s", warning
        assert ("It is here:\n" in rest) == is_here

    def test_exactly_when_it_is_due(self, log: Logged) -> None:
        """
        The last look comes just then.
        """
        stepped = Stepped(stall_warning=0.25)
        waits = stepped.run(stepped.call, nothing, nothing, nothing)
        assert waits[1:4] == [0.1, 0.1, pytest.approx(0.05)]
        assert "busy for 0.2" in log.texts[0]

    def test_shorter_ones_are_not(self, stepped: Stepped, log: Logged) -> None:
        """
        The reactor turns in time.
        """
        stepped.run(stepped.call, *[nothing] * 8, stepped.turn, nothing, stepped.call, nothing)
        assert log.texts == []

    def test_none_is(self, log: Logged) -> None:
        """
        With None, which is infinity.
        """
        stepped = Stepped(stall_warning=math.inf)
        stepped.run(stepped.call, *[nothing] * 50)
        assert log.texts == []

    def test_limit_changes(self, stepped: Stepped, log: Logged) -> None:
        """
        By setup(), while it goes on.
        """

        def change() -> None:
            stepped.watchdog.stall_warning = 0.5

        stepped.run(stepped.call, nothing, nothing, change, *[nothing] * 4)
        assert "busy for 0.5 s" in log.texts[0]

    def test_end_when_nothing_is_in_flight(self, stepped: Stepped, log: Logged) -> None:
        """
        It sleeps for as long as the reactor does not turn, and is woken by its turn.
        """
        calls: list[Any] = []

        def call() -> None:
            calls.append(stepped.call())

        def cancel() -> None:
            calls.pop().cancel()

        waits = stepped.run(call, *[nothing] * 12, cancel, stepped.turn, nothing, nothing)
        assert waits[14] == -1
        assert [text[:4] for text in log.texts] == ["warn", "info"]

    def test_reactor_that_turns_at_the_last_moment(
        self, stepped: Stepped, log: Logged, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The stall is long enough. 2. The reactor turns. 3. The frame is taken, and is that of
        something else: nothing is logged.
        """

        def current_frames() -> dict[int, Any]:
            stepped.turn()
            return {threading.get_ident(): sys._getframe()}

        monkeypatch.setattr(sys, "_current_frames", current_frames)
        stepped.run(stepped.call, *[nothing] * 15)
        assert log.texts == []

    def test_is_noted_for_the_texts_of_timeouts(self, stepped: Stepped) -> None:
        """
        For as long as it lasts, be it logged or not.
        """
        waits = stepped.run(stepped.call, *[nothing] * 14, stepped.turn, nothing)
        (spell,) = stepped.diagnosis.moments.spells
        assert spell.since == 100.0
        assert spell.until == pytest.approx(100.0 + sum(waits[1:15]))
        assert "test_watchdog.py" in spell.where

    def test_body_without_python_code(self, running: FakeProcess) -> None:
        """
        Its name is all there is.
        """
        stacks: list[str] = []

        class Sleep:
            """
            Looks at its stack from a frame of ours.
            """

            __qualname__ = "sleep"

            def __call__(self) -> None:
                frame: Any = sys._getframe().f_back
                stacks.append(stack_of(frame, running.bridge.body))

        running.run_in_reactor(Sleep())().wait(BOUND)
        assert stacks == ["  sleep(), which is not written in Python"]

    def test_thread_that_has_ended(self, stepped: Stepped, log: Logged) -> None:
        """
        It has no stack.
        """
        stepped.bridge.reactor_thread = -1
        stepped.run(stepped.call, *[nothing] * 15)
        assert log.texts == []

    def test_reactor_that_does_not_run_yet(self, stepped: Stepped, log: Logged) -> None:
        """
        It is not asked, and nothing is wrong with it.
        """
        stepped.bridge.reactor_thread = None
        before = stepped.reactor.number_of_wakings()
        stepped.run(stepped.call, *[nothing] * 15)
        assert stepped.reactor.number_of_wakings() == before + 1  # the call's own
        assert log.texts == []

    def test_stack_begins_with_the_callback(self) -> None:
        """
        What runs the loop is left out; where all is the loop's, all is shown.
        """
        stacks: list[str] = []
        namespace = {"__name__": "twisted.something"}
        exec("def loop(function):\n    function()", namespace)
        loop: Any = namespace["loop"]

        def callback() -> None:
            stacks.append(stack_of(sys._getframe(), None))

        thread = threading.Thread(target=loop, args=(callback,))
        thread.start()
        thread.join()
        assert stacks[0].count("File ") == 1
        assert "in callback" in stacks[0]
        waiting, event = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: (waiting.set(), event.wait(BOUND)))
        thread = threading.Thread(target=loop, args=(event.wait,))
        thread.start()
        stack = stack_of(sys._current_frames()[thread.ident or 0], None)
        event.set()
        thread.join()
        assert "_bootstrap" in stack

    def test_stack_of_code_that_is_at_no_line(self) -> None:
        """
        Says its first one.
        """
        assert f'{__file__}", line 1, in' in stack_of(frame_without_line(__file__), None)

    def test_stack_ends_where_the_program_runs_the_reactor(self, stepped: Stepped) -> None:
        """
        That is above the loop, and says nothing of what blocks.
        """
        stacks: list[str] = []
        reactor = FakeReactor()
        reactor.callWhenRunning(lambda: reactor.callLater(0, callback))

        def callback() -> None:
            here: Any = sys._getframe()
            stacks.append(stack_of(here, None))
            while here.f_code.co_name != "run":
                here = here.f_back
            stacks.append(stack_of(here, None))
            reactor.stop()

        reactor.run(installSignalHandlers=False)
        assert "in callback" in stacks[0]
        assert "in test_stack_ends" not in stacks[0]
        assert stacks[1] == "  (no Python code)"


class TestDeadlocks:
    """
    Waits that could only last for ever.
    """

    def _see(self, stepped: Stepped, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
        """
        Have a look find a circle; return the waiter and what was asked for.
        """
        waiter = Waiter()
        thread = stepped.bridge.reactor_thread
        wait = Wait(7, "fetch", waiter, more.get("reactor_thread", thread))
        blocked = Blocked("They wait for each other.", more.get("is_certain", True), [wait])
        asked = []

        def blocked_in(ident: int, bridge: object, *, reads_source: bool) -> Blocked:
            asked.append(reads_source)
            return blocked

        monkeypatch.setattr(_watch, "blocked_in", blocked_in)
        return waiter, asked

    def test_certain_one_is_ended(self, stepped: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        By a task, once, until that has been taken. Locks are looked for from the second look on.
        """
        waiter, asked = self._see(stepped, monkeypatch)
        stepped.run(stepped.call, *[nothing] * 3)
        task = waiter.wait(0)
        assert task is not None
        with pytest.raises(DeadlockError, match=r"^waiting for fetch\(\) .* They wait for each"):
            task()
        assert waiter.empty()
        assert asked == [False, True, True]

    @pytest.mark.parametrize("more", [{"is_certain": False}, {"reactor_thread": 1}])
    def test_others_are_not(
        self, stepped: Stepped, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
    ) -> None:
        """
        What may end, or is another bridge's.
        """
        waiter, _ = self._see(stepped, monkeypatch, **more)
        stepped.run(stepped.call, nothing)
        assert waiter.empty()

    def test_quiet_reactor_waits_for_nobody(
        self, stepped: Stepped, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        But for events.
        """
        _, asked = self._see(stepped, monkeypatch)

        def be_quiet() -> None:
            stepped.watchdog._idle_probe.is_quiet = True

        stepped.run(stepped.call, be_quiet)
        assert asked == []


def _length(waits: list[float]) -> float:
    """
    Return how long the stall of test_is_logged_once_and_when_it_is_over() was.
    """
    return sum(waits[1:16]) + 5.0


_BEGINNING = """
import faulthandler, gc, importlib, os, signal, sys, threading, time, weakref
BOUND = float(sys.argv[1])
if len(sys.argv) > 2 and sys.argv[2] != "default":
    importlib.import_module(f"twisted.internet.{sys.argv[2]}reactor").install()
import crochet
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher, formatEvent

@crochet.wait_for(BOUND)
def add(a, b):
    return a + b

@crochet.wait_for(BOUND)
def call(function, *args):
    return function(*args)

@crochet.run_in_reactor
def begin(function, *args):
    return function(*args)

events = []
def observe(event):
    if event.get("log_namespace") == "crochet":
        events.append((event["log_level"].name, formatEvent(event)))
globalLogPublisher.addObserver(observe)

def raised(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")

def in_thread(function, *args):
    outcome = []
    def run():
        try:
            outcome.append(function(*args))
        except BaseException as error:
            outcome.append(error)
    thread = threading.Thread(target=run, name="caller", daemon=True)
    thread.outcome = outcome
    thread.start()
    return thread

def join_oneself():
    call(threading.current_thread().join)

def until(claim):
    deadline = time.monotonic() + BOUND
    while not claim():
        assert time.monotonic() < deadline, "this has not happened"
        time.sleep(0.001)

def is_asleep():
    return crochet._event_loop.bridge.wake_watchdog is not None

def names():
    return sorted(each.name for each in threading.enumerate())
"""


def run(code: str, *args: str, **more: Any) -> Finished:
    """
    Run a program.
    """
    return run_python(_BEGINNING + textwrap.dedent(code), *args, **more)


@pytest.mark.parametrize("kind", REACTORS)
class TestReal:
    """
    With each of the reactors, in a new process.
    """

    def test_functions_that_are_not_python(self, kind: str) -> None:
        """
        Are what the reactor is busy in, though they have no frame; and one at rest is not.
        """
        run(
            """
            from functools import partial

            from crochet._diagnostics.moments import look_at
            from crochet._threads.threads import frames_of_threads
            from twisted.internet import reactor

            crochet.setup()
            bridge = crochet._event_loop.bridge

            def sight():
                return look_at(frames_of_threads().get(bridge.reactor_thread), bridge)

            @crochet.wait_for(0.2)
            def late():
                return Deferred()

            # A lock that is freed by another thread, not by one that waits.
            def text_while(begin, where):
                lock = threading.Lock()
                lock.acquire()
                begin(lock.acquire, True, BOUND)
                until(lambda: not sight().is_idle and sight().where == where)
                text = raised(crochet.TimeoutError, late)
                lock.release()
                until(lambda: sight().is_idle)
                return text

            for begin, where in (
                (reactor.callFromThread, "lock.acquire()"),
                (lambda *args: reactor.callFromThread(partial(*args)), "lock.acquire()"),
            ):
                text = text_while(begin, where)
                assert "has been busy for" in text and f" in {where}." in text, text
            for _ in range(3):
                text = raised(crochet.TimeoutError, late)
                assert "busy" not in text and "not come to it" not in text, text
            """,
            kind,
        )

    def test_deadlocks_are_ended(self, kind: str) -> None:
        """
        The wait raises, its operation is cancelled, and then the reactor goes on.
        """
        run(
            """
            crochet.setup()
            thread = in_thread(join_oneself)
            thread.join(BOUND)
            (error,) = thread.outcome
            assert type(error) is crochet.DeadlockError, error
            assert "for the end of thread 'caller'" in str(error), error
            assert add(1, 2) == 3

            # Through another thread, by the other kind of wait, and while others wait, too.
            pending = begin(Deferred)
            other = in_thread(pending.wait)
            inner = in_thread(pending.wait, BOUND)
            outer = in_thread(lambda: inner.join())
            begin(lambda: outer.join())
            outer.join(BOUND)
            assert type(inner.outcome[0]) is crochet.DeadlockError, inner.outcome
            assert outer.outcome == [None]
            assert add(1, 2) == 3 and other.is_alive()
            """,
            kind,
        )

    def test_pool_does_not_starve(self, kind: str) -> None:
        """
        Ten jobs that each need the pool, and more; after it all threads are given back.
        """
        run(
            """
            crochet.setup()
            resolve = crochet.wait_for(BOUND)(lambda: deferToThread(lambda: "address"))
            job = crochet.wait_for(BOUND)(
                lambda number: gatherResults([deferToThread(resolve) for _ in range(number)]))
            from twisted.internet import reactor
            for number in (10, 30):
                assert job(number) == ["address"] * number
                until(lambda: reactor.getThreadPool().max == 10)
                until(lambda: sum("PoolThread" in name for name in names()) <= 10)
            crochet.shutdown()
            assert names() == ["MainThread"], names()
            """,
            kind,
        )

    def test_sleeps_while_the_reactor_has_nothing_to_do(self, kind: str) -> None:
        """
        Though a call is in flight, unless the reactor cannot tell; and without a call in any case.
        """
        run(
            """
            crochet.setup()
            until(is_asleep)
            pending = begin(Deferred)
            until(lambda: not is_asleep())
            if sys.argv[2] != "select":
                until(is_asleep)
                from twisted.internet import reactor
                timer = []
                # It is woken by what is no call of ours, and finds the deadlock there.
                waiter = in_thread(pending.wait)
                until(is_asleep)
                reactor.callFromThread(reactor.callLater, 0.3, lambda: waiter.join())
                waiter.join(BOUND)
                assert type(waiter.outcome[0]) is crochet.DeadlockError
            pending.cancel()
            raised(BaseException, pending.wait, BOUND)
            seen = weakref.ref(pending)
            del pending
            if sys.argv[2] != "select":
                del waiter
            until(is_asleep)
            gc.collect()
            assert seen() is None
            """,
            kind,
        )

    def test_stall(self, kind: str) -> None:
        """
        One warning, with the line, and one line more when it is over.
        """
        run(
            """
            crochet.setup(stall_warning=0.2)
            def block():
                over.wait(BOUND)
            over = threading.Event()
            pending = begin(block)
            until(lambda: events)
            assert not over.is_set() and len(events) == 1
            over.set()
            pending.wait(BOUND)
            until(lambda: len(events) == 2)
            (warn, text), (info, end) = events
            assert (warn, info) == ("warn", "info")
            assert "busy for 0." in text and "in block" in text and "run_in" not in text, text
            assert "It was busy for" in end, end
            """,
            kind,
        )

    def test_given_back_and_begun_again(self, kind: str) -> None:
        """
        A thread for each life.
        """
        run(
            """
            before = names()
            for _ in range(5):
                crochet.setup()
                assert names().count("crochet-watch") == 1
                assert add(1, 2) == 3
                crochet.shutdown()
                assert names() == before, names()
            """,
            kind,
        )

    @pytest.mark.skipif("fork" not in dir(__import__("os")), reason="there is no fork here")
    def test_fork(self, kind: str) -> None:
        """
        The child has a watch of its own once it needs one, with its parent's limit; the parent's
        goes on.
        """
        run(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            crochet.setup(stall_warning=0.2)
            assert add(1, 2) == 3
            def look():
                del events[:]
                thread = in_thread(join_oneself)
                thread.join(BOUND)
                assert type(thread.outcome[0]) is crochet.DeadlockError
                over = threading.Event()
                pending = begin(over.wait, BOUND)
                until(lambda: events)
                assert "busy for 0." in events[0][1]
                over.set()
                pending.wait(BOUND)
            for when in ("asleep", "in a stall"):
                over = threading.Event()
                if when == "asleep":
                    until(is_asleep)
                    over.set()
                pending = begin(over.wait, BOUND)
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        signal.alarm(int(BOUND))
                        assert names() == ["MainThread"], names()
                        look()
                        status = 0
                    finally:
                        os._exit(status)
                over.set()
                pending.wait(BOUND)
                assert os.waitpid(pid, 0)[1] == 0
                look()
            """,
            kind,
        )

    def test_no_setup(self, kind: str) -> None:
        """
        The program's reactor is watched while it runs, as setup() is told then.
        """
        run(
            """
            crochet.no_setup()
            crochet.setup(stall_warning=0.2)
            from twisted.internet import reactor
            over = threading.Event()

            def work():
                thread = in_thread(join_oneself)
                thread.join(BOUND)
                assert "crochet-watch" in names(), names()
                pending = begin(over.wait, BOUND)
                until(lambda: events)
                over.set()
                pending.wait(BOUND)
                crochet.setup(stall_warning=None)
                assert crochet._event_loop._program_reactor.watchdog.stall_warning == float("inf")
                reactor.callFromThread(reactor.stop)
                return thread.outcome

            assert "crochet-watch" not in names()
            reactor.callWhenRunning(lambda: done.append(in_thread(work)))
            done = []
            reactor.run()
            done[0].join(BOUND)
            assert type(done[0].outcome[0][0]) is crochet.DeadlockError, done[0].outcome
            until(lambda: "crochet-watch" not in names())
            """,
            kind,
        )


def test_import_lock() -> None:
    """
    A wait at import time while the reactor thread imports the same module is named, and ended.
    """
    finished = run(
        """
        import tempfile
        folder = tempfile.mkdtemp()
        sys.path.insert(0, folder)
        with open(os.path.join(folder, "config.py"), "w") as file:
            file.write("import __main__\\n__main__.wait()\\n")
        def wait():
            print(raised(crochet.DeadlockError, call, body))
        def body():
            import config
        crochet.setup()
        import config
        assert add(1, 2) == 3
        os.remove(config.__file__)
        """
    )
    assert (
        "to import the module 'config', which thread 'MainThread' is importing" in finished.stdout
    )
    assert "Move the call out of the import" in finished.stdout


def test_setup_with_and_without_a_limit() -> None:
    """
    It is checked, and what was given last holds; what was not given changes nothing.
    """
    run(
        """
        import inspect
        loop = crochet._event_loop
        for wrong, kind in [("1", TypeError), (print, TypeError), (0, ValueError), (-1, ValueError),
                            (float("nan"), ValueError), (1j, TypeError)]:
            raised(kind, lambda: crochet.setup(stall_warning=wrong))
        assert names() == ["MainThread"]
        assert inspect.signature(crochet.setup).parameters["stall_warning"].default == 1.0
        limits = []
        for given in [{}, {"stall_warning": 2}, {}, {"stall_warning": None}, {},
                      {"stall_warning": 1.0}]:
            crochet.setup(**given)
            limits.append(loop._reactor_thread.watchdog.stall_warning)
        assert limits == [1.0, 2.0, 2.0, float("inf"), float("inf"), 1.0], limits
        crochet.setup(stall_warning=3.0)
        crochet.shutdown()
        with crochet.running():
            assert loop._reactor_thread.watchdog.stall_warning == 3.0
        with crochet.running(stall_warning=4.0):
            assert loop._reactor_thread.watchdog.stall_warning == 4.0
        """
    )
