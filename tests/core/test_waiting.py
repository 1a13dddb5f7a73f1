"""
How callers of ``wait_for`` give up, and what becomes of the operation then.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import sys
import threading
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

import crochet
from crochet import ReactorStopped, TimeoutError, _errors
from crochet._core import decorators as _decorators
from crochet._core import waiting as _waiting
from crochet._core.result import call_of
from crochet._core.waiting import cancel_interrupted
from crochet._threads import timeouts
from crochet._threads.primitives import CROWD, Task, Waiter
from support.memory import cycles_of
from support.process import FakeProcess, LoggedFailures
from support.stepping import BOUND, Background, FakeClock, FakeWaiter, Steps, wait_until

# What a body answers that returns a Deferred: a value, an error, or nothing.
_KINDS = {"answers": int, "fails": ValueError, "hangs": None}
_SOURCE = os.path.dirname(crochet.__file__)


def _ask(process: FakeProcess, kind: str, body: Callable[[], Any], timeout: float = 5) -> Any:
    """
    Call a body and wait for its answer, for so many seconds.
    """
    if kind == "wait_for":
        return process.wait_for(timeout)(body)()
    return process.run_in_reactor(body)().wait(timeout)


class TestGivingUp:
    """
    A wait that ends for lack of time.
    """

    def test_cancels_the_operation(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        And waits for its end.
        """
        told: list[object] = []
        waiter = waits(lambda timeout: stepped.reactor.turn())
        expected = r"Deferred\(\) has not answered in 5 s; its Deferred was cancelled"
        with pytest.raises(TimeoutError, match=expected) as caught:
            stepped.wait_for(5)(Deferred)(told.append)
        assert len(told) == 1
        assert caught.value.__context__ is None
        assert waiter.waits == pytest.approx([5.0, 0.02])
        assert stepped.bridge.calls_in_flight() == set()

    def test_waits_for_its_cleanup(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        A second at most, once it has been told.
        """
        cleaned = Deferred[None]()

        async def body() -> None:
            try:
                await Deferred()
            finally:
                await cleaned

        def wait(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == pytest.approx(1.0):
                cleaned.callback(None)

        waiter = waits(wait)
        with pytest.raises(TimeoutError, match="its Deferred was cancelled"):
            stepped.wait_for(5)(body)()
        assert waiter.waits == pytest.approx([5.0, 0.02, 1.0])

    def test_waits_no_longer_than_that(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        What comes then is lost, unless it is an error.
        """
        last: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await last

        waiter = waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(body)()
        assert waiter.waits == pytest.approx([5.0, 0.02, 1.0])
        last.callback(None)
        assert stepped.bridge.calls_in_flight() == set()

    def test_does_not_wait_for_a_busy_reactor(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        To which the cancellation does not get through.
        """
        turns = iter([stepped.reactor.turn])
        waiter = waits(lambda timeout: next(turns, lambda: None)())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(Deferred)()
        assert waiter.waits == pytest.approx([5.0, 0.02])
        stepped.reactor.turn()
        assert stepped.bridge.calls_in_flight() == set()

    def test_logs_another_error_that_comes_too_late(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], logged: LoggedFailures
    ) -> None:
        """
        Than the CancelledError that is expected.
        """
        error = ValueError("of a cleanup")
        waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5)(Deferred)(lambda deferred: deferred.errback(error))
        gc.collect()
        assert logged.take() == [error]

    @pytest.mark.parametrize("timeout", [0, 5])
    def test_before_the_start(self, stepped: FakeProcess, waits: Any, timeout: float) -> None:
        """
        Withdraws the call, and the body never runs.
        """
        ran: list[int] = []
        waiter = waits()
        expected = rf"append\(\) has not started in {timeout} s; it was withdrawn.* not come to it"
        with pytest.raises(TimeoutError, match=expected):
            stepped.wait_for(timeout)(ran.append)(1)
        assert waiter.waits == [timeout] * bool(timeout)
        assert stepped.bridge.calls_in_flight() == set()
        stepped.reactor.turn()
        assert ran == []

    def test_before_the_reactor_runs(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        After ``no_setup()``, the text says so. The call may be in time.
        """
        ran: list[int] = []
        process.loop.no_setup()
        clock = FakeClock()
        clock.install(monkeypatch)
        process.bridge.new_waiter = partial(FakeWaiter, clock=clock)
        with pytest.raises(TimeoutError, match=r"not running yet.*has to call reactor\.run\(\)"):
            process.wait_for(5)(ran.append)(1)

        def start(timeout: float) -> None:
            process.reactor.start()
            process.reactor.turn()

        process.bridge.new_waiter = partial(FakeWaiter, start)
        process.bridge.reactor_thread = None
        assert process.wait_for(5)(lambda: 7)() == 7
        assert ran == []

    def test_as_the_answer_comes(self, stepped: FakeProcess) -> None:
        """
        1. The caller's time is over. 2. The answer is stored. 3. The caller finds it, and cancels
        nothing.
        """

        class LateWaiter(FakeWaiter):
            def wait(self, seconds: float) -> Task | None:
                task = super().wait(seconds)
                stepped.reactor.turn()
                return task

        stepped.bridge.new_waiter = LateWaiter
        assert stepped.wait_for(5)(lambda: 7)() == 7

    def test_in_a_real_thread(self, running: FakeProcess) -> None:
        """
        With real locks and a short time. Whatever has started by then is cancelled.
        """
        started: list[object] = []
        told: list[object] = []

        def body() -> Deferred[object]:
            started.append(Deferred(told.append))
            return started[0]  # type: ignore[return-value]

        with pytest.raises(TimeoutError, match=r"body\(\) has not"):
            running.wait_for(0.05)(body)()
        has_been_told = threading.Event()
        running.reactor.callFromThread(has_been_told.set)
        assert has_been_told.wait(BOUND)
        assert told == started

    def test_of_a_reactor_that_is_blocked(self, running: FakeProcess) -> None:
        """
        By another body. The call is withdrawn.
        """
        ran: list[int] = []
        blocked, go_on = threading.Event(), threading.Event()

        def block() -> None:
            blocked.set()
            assert go_on.wait(BOUND)

        running.run_in_reactor(block)()
        assert blocked.wait(BOUND)
        expected = r"waits in test_waiting\.py:\d+ block\(\) for an event\. It has been busy for "
        with pytest.raises(TimeoutError, match=expected):
            running.wait_for(0.01)(ran.append)(1)
        go_on.set()
        assert running.wait_for(BOUND)(lambda: 7)() == 7
        assert ran == []

    def test_leaves_no_cycle(self, running: FakeProcess) -> None:
        """
        Of error, traceback and frame.
        """

        def act(timeout: float) -> None:
            try:
                running.wait_for(timeout)(Deferred)()
            except TimeoutError:
                pass
            for _ in range(2):
                running.wait_for(BOUND)(int)()

        for timeout in (0.0, 0.05):
            assert cycles_of(partial(act, timeout)) == 0

    def test_an_error_leaves_no_cycle(self, running: FakeProcess) -> None:
        """
        Though both sides' frames are in its traceback, and hold the call.
        """

        def body() -> None:
            raise ValueError("of a body")

        def act() -> None:
            try:
                running.wait_for(BOUND)(body)()
            except ValueError:
                pass
            for _ in range(2):
                running.wait_for(BOUND)(int)()

        assert cycles_of(act) == 0


@pytest.mark.parametrize("kind", ["wait_for", "wait"])
class TestLongWaits:
    """
    A wait that is longer than a thread may be blocked is made of several.
    """

    @pytest.fixture
    def waits(self, waits: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """
        Gives waiters that are not to block for more than two seconds.
        """

        def give(meanwhile: Callable[[float], object] = lambda timeout: None) -> FakeWaiter:
            waiter: FakeWaiter = waits(meanwhile)
            monkeypatch.setattr(timeouts, "LONGEST", 2.0)
            return waiter

        return give

    def test_end_with_the_limit(self, stepped: FakeProcess, waits: Any, kind: str) -> None:
        """
        The last one is what is left.
        """
        waiter = waits()
        with pytest.raises(TimeoutError, match="in 5 s"):
            _ask(stepped, kind, int)
        assert waiter.waits == [2.0, 2.0, 1.0]

    def test_each_is_longer_where_many_wait(
        self, stepped: FakeProcess, waits: Any, kind: str
    ) -> None:
        """
        Than the same wait of another thread, so that not all of them end at once.
        """
        waiter = waits()
        stepped.bridge.waits.update({Waiter(): (-number, None) for number in range(4 * CROWD)})
        with pytest.raises(TimeoutError, match="in 5 s"):
            _ask(stepped, kind, int)
        assert sum(waiter.waits) > 5.0001

    def test_each_releases_another_where_many_wait(
        self, stepped: FakeProcess, waits: Any, kind: str
    ) -> None:
        """
        Whose time is over, and of those the one that was to end first; see Waits.
        """
        ends: list[float] = []
        waiter = waits(lambda timeout: ends.append(waiter.end))
        others = [Waiter() for _ in range(4 * CROWD)]
        for number, other in enumerate(others):
            other.end = 1.0 + number
        stepped.bridge.waits.update(dict.fromkeys(others, (-1, None)))
        with pytest.raises(TimeoutError, match="in 5 s"):
            _ask(stepped, kind, int)
        assert ends == [5.0]
        assert [other.empty() for other in others[:3]] == [False, True, True]

    def test_end_when_the_time_is_up_already(
        self, stepped: FakeProcess, waits: Any, kind: str
    ) -> None:
        """
        A wait that took longer than it was told to is the last.
        """

        def oversleep(timeout: float) -> None:
            waiter._clock.now += 100

        waiter = waits(oversleep)
        with pytest.raises(TimeoutError, match="in 5 s"):
            _ask(stepped, kind, int)
        assert waiter.waits == [2.0]

    @pytest.mark.parametrize("timeout", [5.0, math.inf])
    def test_end_with_the_answer(
        self, stepped: FakeProcess, waits: Any, kind: str, timeout: float
    ) -> None:
        """
        In whichever of the waits that comes.
        """
        waiter = waits(lambda timeout: len(waiter.waits) == 2 and stepped.reactor.turn())
        assert _ask(stepped, kind, lambda: 7, timeout) == 7
        assert waiter.waits == [2.0, 2.0]


class TestGrace:
    """
    The time for an operation's cleanup.
    """

    @pytest.mark.parametrize(
        ("grace", "expected"), [(3, [5.0, 0.02, 3.0]), (0.01, [5.0, 0.01, 0.01])]
    )
    def test_is_the_programs_choice(
        self,
        stepped: FakeProcess,
        waits: Callable[..., FakeWaiter],
        grace: float,
        expected: list[float],
    ) -> None:
        """
        The error tells whether it was enough.
        """
        last: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await last

        waiter = waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet") as caught:
            stepped.wait_for(5, grace=grace)(body)()
        assert waiter.waits == pytest.approx(expected)
        assert (caught.value.cancelled, caught.value.ended) == (True, False)
        last.callback(None)

    def test_may_be_none(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        Then the operation is told, and nothing is waited for.
        """
        told: list[object] = []
        waiter = waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, grace=0)(Deferred)(told.append)
        assert waiter.waits == [5.0]
        stepped.reactor.turn()
        assert len(told) == 1

    @pytest.mark.parametrize(
        ("grace", "error"), [(-1, ValueError), (math.nan, ValueError), ("1", TypeError)]
    )
    def test_is_a_number_of_seconds(
        self, stepped: FakeProcess, grace: Any, error: type[Exception]
    ) -> None:
        """
        From zero up.
        """
        with pytest.raises(error):
            stepped.wait_for(5, grace=grace)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions take notes from 3.11 on")
    @pytest.mark.parametrize(
        ("starts", "ends", "note"),
        [
            (False, False, "body() had not started; it was withdrawn and will not run."),
            (True, True, "body() was told to cancel, and its Deferred was cancelled."),
            (True, False, "body() was told to cancel but has not ended yet."),
        ],
    )
    def test_another_exception_has_a_note_of_how_it_ended(
        self,
        stepped: FakeProcess,
        waits: Callable[..., FakeWaiter],
        starts: bool,
        ends: bool,
        note: str,
    ) -> None:
        """
        Printed below its traceback.
        """

        def interrupt(timeout: float) -> None:
            if starts:
                stepped.reactor.turn()
            if timeout == 5.0:
                raise KeyboardInterrupt("Ctrl-C")

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                if not ends:
                    await Deferred()

        waits(interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            stepped.wait_for(5)(body)()
        assert caught.value.__notes__ == [note]


class TestLateValues:
    """
    What comes after the wait was given up.
    """

    def test_are_handed_over(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        Once, whenever they come.
        """
        late: list[object] = []
        opened: Deferred[str] = Deferred()

        async def body() -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return await opened

        waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, on_late=late.append)(body)()
        assert late == []
        opened.callback("a connection")
        stepped.reactor.turn()
        assert late == ["a connection"]

    def test_that_come_while_it_is_cancelled(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        For want of anything better to answer a cancellation with.
        """
        late: list[object] = []
        started: Deferred[str] = Deferred(lambda deferred: deferred.callback("a connection"))
        waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="its Deferred was cancelled"):
            stepped.wait_for(5, on_late=late.append)(lambda: started)()
        assert late == ["a connection"]

    def test_after_an_interruption_twice(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        Are handed over once, though both have the operation cancelled.
        """
        late: list[object] = []
        opened: Deferred[str] = Deferred()

        async def body() -> str:
            try:
                await Deferred()
            except CancelledError:
                pass
            return await opened

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            raise KeyboardInterrupt(f"at {timeout:g}")

        waits(interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"at 0\.02"):
            stepped.wait_for(5, on_late=late.append)(body)()
        stepped.reactor.turn()
        opened.callback("a connection")
        assert late == ["a connection"]

    def test_errors_are_not(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], logged: LoggedFailures
    ) -> None:
        """
        They are logged, unless they are what was expected.
        """
        late: list[object] = []
        waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)()
        error = ValueError("of a cleanup")
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)(lambda d: d.errback(error))
        assert late == []
        gc.collect()
        assert logged.take() == [error]

    def test_an_error_in_the_hand_over_is_logged(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], logged: LoggedFailures
    ) -> None:
        """
        And does no harm to the reactor.
        """
        error = LookupError("in on_late")

        def refuse(value: object) -> None:
            raise error

        waits(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="its Deferred was cancelled"):
            stepped.wait_for(5, on_late=refuse)(Deferred)(lambda d: d.callback("a connection"))
        assert logged.take() == [error]

    def test_are_nothing_to_one_that_cannot_be_called(self, stepped: FakeProcess) -> None:
        """
        Which is refused where the function is decorated.
        """
        with pytest.raises(TypeError, match="on_late is a function that takes the late value"):
            stepped.wait_for(5, on_late="close")  # type: ignore[call-overload]


class TestInterruptions:
    """
    A wait that ends by an exception that a signal handler raises.
    """

    def test_before_the_start(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        Withdraws the call.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        ran: list[int] = []
        waits(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(ran.append)(1)
        stepped.reactor.turn()
        assert ran == []
        assert stepped.bridge.calls_in_flight() == set()

    def test_after_the_start(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        Cancels the operation, and waits for its end.
        """
        told: list[object] = []

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == 5.0:
                raise KeyboardInterrupt("Ctrl-C")

        waiter = waits(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(Deferred)(told.append)
        assert waiter.waits == pytest.approx([5.0, 0.02])
        assert len(told) == 1
        assert stepped.bridge.calls_in_flight() == set()

    def test_leaves_no_flag_behind(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        1. The caller has noted that a wake-up is on its way. 2. Signals keep it from waking and
        from taking that back. 3. It wakes the reactor in any case, for those who come after it.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        waits(interrupt)
        stepped.reactor.turn()
        before = stepped.reactor.number_of_wakings()
        stepped.bridge._wakeup = [None]
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(int)()
        assert stepped.reactor.number_of_wakings() > before
        result = stepped.run_in_reactor(lambda: 7)()
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("second_at", [0.02, 1.0])
    def test_twice(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter], second_at: float
    ) -> None:
        """
        Cancels the operation, whose end is not waited for any longer.
        """
        told: list[object] = []
        cleaned: Deferred[None] = Deferred()

        async def body() -> None:
            try:
                await Deferred(told.append)
            finally:
                await cleaned

        def interrupt(timeout: float) -> None:
            if timeout != 0.02 or second_at != 0.02:
                stepped.reactor.turn()
            if timeout in (5.0, second_at):
                raise KeyboardInterrupt(f"Ctrl-C at {timeout}")

        waiter = waits(interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"Ctrl-C at {second_at}"):
            stepped.wait_for(5)(body)()
        assert waiter.waits[-1] == second_at
        stepped.reactor.turn()
        assert len(told) == 1
        cleaned.callback(None)
        assert stepped.bridge.calls_in_flight() == set()

    def test_while_it_gives_up(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        1. The time is over, the operation is told to cancel. 2. A signal comes while its cleanup
        is waited for. 3. It has been told: nothing more is to be done.
        """
        told: list[object] = []

        async def body() -> None:
            try:
                await Deferred(told.append)
            finally:
                await cleaned

        cleaned: Deferred[None] = Deferred()

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == pytest.approx(1.0):
                raise KeyboardInterrupt("Ctrl-C")

        waiter = waits(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(body)()
        assert waiter.waits == pytest.approx([5.0, 0.02, 1.0])
        assert len(told) == 1
        cleaned.callback(None)

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_step(
        self, stepped: FakeProcess, waits: Any, kind: str, logged: LoggedFailures
    ) -> None:
        """
        At each call and return within the library, in turn: no operation is left running, none
        starts later, and the next call is answered. An error that does not get through is logged.
        """
        for point in itertools.count():
            interruption = _Interruption(point)
            self._check_a_call_with(stepped, waits, kind, interruption)
            assert not stepped.bridge.calls_in_flight(), f"left in flight: {interruption}"
            assert not stepped.bridge.waits, f"left listed: {interruption}"
            if not interruption.has_come:
                break
        assert {type(error) for error in logged.take()} == {ValueError} & {_KINDS[kind]}
        assert point > 15

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_two_steps(
        self, stepped: FakeProcess, waits: Any, kind: str, logged: LoggedFailures, monkeypatch: Any
    ) -> None:
        """
        The same holds for a second interruption, at each call and return of what is done about the
        first.
        """
        seconds = 0
        for point, second_point in itertools.product(range(40), range(40)):
            second = _Interruption(second_point)

            monkeypatch.setattr(_waiting, "cancel_interrupted", partial(_interrupted_again, second))
            self._check_a_call_with(stepped, waits, kind, _Interruption(point))
            seconds += second.has_come
        assert seconds > 50
        logged.take()

    def test_at_every_two_steps_of_a_call_in_the_background(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch, logged: LoggedFailures
    ) -> None:
        """
        ``run_in_reactor`` either returns a result, or the body never runs. An interruption as it
        returns is like one right after that: the result is lost, and the call goes on.
        """
        seconds = 0
        ran: list[int] = []
        for point, second_point in itertools.product(range(20), range(20)):
            interruption, second = _Interruption(point), _Interruption(second_point)

            again = partial(_interrupted_again, second)
            monkeypatch.setattr(_decorators, "cancel_interrupted", again)
            call = stepped.run_in_reactor(ran.append)
            result = None
            with interruption:
                try:
                    result = call(point)
                except KeyboardInterrupt:
                    pass
            for _ in range(2):
                stepped.reactor.turn()
            is_made = result is not None or "return of <EventualResult" in repr(interruption)
            assert ran == [point] * is_made, (interruption, second)
            ran.clear()
            seconds += second.has_come
        assert seconds > 50
        # Nobody ordered those, if the second interruption kept that from being noted.
        assert {type(error) for error in logged.take()} <= {CancelledError}

    def _check_a_call_with(
        self, stepped: FakeProcess, waits: Any, kind: str, interruption: _Interruption
    ) -> None:
        started = self._interrupted_call(stepped, waits, kind, interruption)
        running = [deferred for deferred in started if not deferred.called]
        for _ in range(2):
            stepped.reactor.turn()
        assert all(deferred.called for deferred in running), f"left running: {interruption}"
        assert len(started) <= 1, f"started later or twice: {interruption}"
        waits(lambda timeout: stepped.reactor.turn())
        assert stepped.wait_for(5)(lambda: succeed(3))() == 3

    def _interrupted_call(
        self, stepped: FakeProcess, waits: Any, kind: str, interruption: _Interruption
    ) -> list[Deferred[object]]:
        """
        Call a body that returns a Deferred, and return what it returned, whenever that was.
        """
        started: list[Deferred[object]] = []
        is_over = False

        def body() -> Deferred[object]:
            started.append(Deferred())
            if is_over:
                started.append(Deferred())  # is not to be
            return started[0]

        def meanwhile(timeout: float) -> None:
            with _undisturbed():
                stepped.reactor.turn()
                if kind != "hangs" and started and not started[0].called:
                    started[0].callback(7 if kind == "answers" else Failure(ValueError("why")))

        waits(meanwhile)
        call = stepped.wait_for(5)(body)
        with interruption:
            try:
                assert call() == 7
            except (KeyboardInterrupt, ValueError, TimeoutError):
                pass
        is_over = True
        return started


def _interrupted_again(second: _Interruption, *args: Any) -> None:
    """
    Do what is done about an interruption, and be interrupted in that.
    """
    with second:
        cancel_interrupted(*args)


class TestListed:
    """
    Who is listed in ``bridge.waits``: who can only be helped by an answer, or a task.
    """

    def _seen(self, process: FakeProcess) -> Waiter | None:
        waiter, _ = process.bridge.waits.by_thread().get(get_ident(), (None, None))
        return waiter

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_while_it_blocks(self, stepped: FakeProcess, waits: Any, kind: str) -> None:
        """
        With the call.
        """
        seen: list[tuple[object, str]] = []

        def meanwhile(timeout: float) -> None:
            [(listed, call)] = stepped.bridge.waits.by_thread().values()
            seen.append((listed, call.name))
            stepped.reactor.turn()

        waiter = waits(meanwhile)
        _ask(stepped, kind, int)
        assert seen == [(waiter, "int")]
        assert stepped.bridge.waits == {}

    def test_not_while_it_gives_up(self, stepped: FakeProcess, waits: Any) -> None:
        """
        Nor while it runs a task: it goes on, whatever becomes of the call.
        """
        seen: list[object] = []

        def meanwhile(timeout: float) -> None:
            seen.append(self._seen(stepped))
            stepped.reactor.turn()
            if len(seen) == 1:
                waiter.put(lambda: seen.append(self._seen(stepped)))

        waiter = waits(meanwhile)
        with pytest.raises(TimeoutError):
            stepped.wait_for(5)(Deferred)()
        assert seen == [waiter, None, waiter, None]

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    @pytest.mark.parametrize("is_answered", [True, False])
    def test_not_after_an_interruption(
        self, stepped: FakeProcess, waits: Any, kind: str, *, is_answered: bool
    ) -> None:
        """
        At each point at which a signal handler may come, with a task before; nor are others kept.
        """

        def interrupt() -> None:
            raise KeyboardInterrupt("Ctrl-C")

        def meanwhile(timeout: float) -> None:
            if len(waiter.waits) == 1:
                waiter.put(int)
            elif is_answered:
                Background(stepped.reactor.turn).outcome()  # where nothing interrupts it

        for at in itertools.count():
            waiter = waits(meanwhile)
            steps = Steps(at, interrupt, is_signal=True)
            with suppress(KeyboardInterrupt, TimeoutError):
                Background(
                    self._in_a_wait, stepped, partial(steps.run, partial(_ask, stepped, kind, int))
                ).outcome()
            stepped.reactor.turn()
            if not steps.is_over:
                break
        assert at > 20

    def _in_a_wait(self, process: FakeProcess, act: Callable[[], object]) -> None:
        waits, outer = process.bridge.waits, Waiter()
        waits[outer] = get_ident(), "a call"
        try:
            act()
        finally:
            assert list(waits) == [outer]
            waits.clear()

    def test_nested_in_a_signal_handler(self, stepped: FakeProcess, waits: Any) -> None:
        """
        1. A thread waits. 2. A signal handler waits in it, too, and is listed instead. 3. The inner
        wait is over, and the outer is listed again.
        """
        seen: list[object] = []

        def handle(timeout: float) -> None:
            inner = FakeWaiter(lambda timeout: look_and_turn())
            stepped.bridge.new_waiter = lambda: inner
            assert stepped.wait_for(5)(lambda: 8)() == 8
            seen.append([self._seen(stepped), inner])

        def look_and_turn() -> None:
            seen.append([self._seen(stepped), *stepped.bridge.waits])
            stepped.reactor.turn()

        waiter = waits(handle)
        assert stepped.wait_for(5)(lambda: 7)() == 7
        inner = seen[1][1]
        assert seen == [[inner, waiter, inner], [waiter, inner]]
        assert stepped.bridge.waits == {}

    def test_nested_in_a_task(self, stepped: FakeProcess, waits: Any) -> None:
        """
        1. A thread waits, and is given a task. 2. The task waits for another call. 3. That thread
        waits for nothing but that one, and for the first again after that.
        """
        seen: list[object] = []

        def look_and_turn(timeout: float) -> None:
            seen.append([call.name for _, call in stepped.bridge.waits.values()])
            stepped.reactor.turn()

        def task() -> None:
            stepped.bridge.new_waiter = lambda: FakeWaiter(look_and_turn)
            assert stepped.wait_for(5)(complex)() == 0

        def meanwhile(timeout: float) -> None:
            if len(waiter.waits) == 1:
                waiter.put(task)
            else:
                look_and_turn(timeout)
                deferred.callback(7)

        deferred: Deferred[int] = Deferred()
        waiter = waits(meanwhile)
        assert stepped.wait_for(5)(Deferred.addCallback)(deferred, int) == 7
        assert seen == [["complex"], ["Deferred.addCallback"]]
        assert stepped.bridge.waits == {}

    @pytest.mark.parametrize("depth", [1, 2])
    def test_of_a_wait_in_which_a_fork_comes(
        self, stepped: FakeProcess, waits: Any, depth: int
    ) -> None:
        """
        1. A thread waits, and in that again. 2. A signal handler forks. 3. In the child all waits
        of that thread are released, the inner first, and those of other threads are not listed.
        """
        ended: list[int] = []
        other = Waiter()
        stepped.bridge.waits[other] = -7, None

        def nested(level: int) -> None:
            def meanwhile(timeout: float) -> None:
                if level < depth:
                    nested(level + 1)
                else:
                    stepped.bridge.after_fork_in_child(_errors.forked, _errors.not_run_in_child)

            stepped.bridge.new_waiter = lambda: FakeWaiter(meanwhile)
            with pytest.raises(ReactorStopped, match="forked while the call was under way"):
                stepped.run_in_reactor(Deferred)().wait(5)
            ended.append(level)

        waits()
        nested(1)
        assert ended == [*range(depth, 0, -1)]
        assert stepped.bridge.waits == {}
        assert other.empty()


class TestTasks:
    """
    What a thread that waits is asked to do meanwhile.
    """

    class Refused(Exception):
        """
        What a task raises.
        """

    def _refuse(self) -> None:
        raise self.Refused("of a task")

    @pytest.mark.parametrize("at", [0, 1])
    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_are_run_and_the_wait_goes_on(
        self, stepped: FakeProcess, waits: Any, kind: str, at: int
    ) -> None:
        """
        For what is left of its time. Also one that comes first, and several at once.
        """
        ran: list[str] = []

        def meanwhile(timeout: float) -> None:
            if len(waiter.waits) <= at + 1:
                waiter.put(lambda: ran.append("one"))
                waiter.put(None)
                waiter.put(lambda: ran.append("another"))
            else:
                stepped.reactor.turn()

        waiter = waits(meanwhile)
        assert _ask(stepped, kind, lambda: 7) == 7
        assert ran == ["one", "another"] * (at + 1)
        assert waiter.waits == [5.0] * (at + 2)

    def test_that_raise_end_wait_for(self, stepped: FakeProcess, waits: Any) -> None:
        """
        The operation is cancelled, as after any other exception.
        """
        told: list[object] = []

        def meanwhile(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == 5.0:
                waiter.put(self._refuse)

        waiter = waits(meanwhile)
        with pytest.raises(self.Refused, match="of a task"):
            stepped.wait_for(5)(Deferred)(told.append)
        assert len(told) == 1
        assert stepped.bridge.calls_in_flight() == set()

    def test_that_raise_end_a_wait(self, stepped: FakeProcess, waits: Any) -> None:
        """
        The operation goes on.
        """
        waiter = waits(lambda timeout: waiter.put(self._refuse))
        result = stepped.run_in_reactor(lambda: 7)()
        with pytest.raises(self.Refused, match="of a task"):
            result.wait(5)
        assert call_of(result).callbacks == {}
        stepped.reactor.turn()
        assert result.wait(0) == 7

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    @pytest.mark.parametrize("is_released_first", [False, True])
    def test_are_not_run_beside_an_answer(
        self, stepped: FakeProcess, waits: Any, kind: str, *, is_released_first: bool
    ) -> None:
        """
        1. A task is put. 2. The answer comes. 3. The waiter gets the task, and looks for the answer
        first. Or it is the other way round, or the waiter was released once more.
        """

        def meanwhile(timeout: float) -> None:
            if is_released_first:
                stepped.reactor.turn()
                waiter.put(None)
            waiter.put(self._refuse)
            stepped.reactor.turn()

        waiter = waits(meanwhile)
        assert _ask(stepped, kind, lambda: 7) == 7

    @pytest.mark.parametrize("kind", ["wait_for", "wait"])
    def test_none_came_to_who_was_released_for_nothing(
        self, stepped: FakeProcess, waits: Any, kind: str
    ) -> None:
        """
        It waits on.
        """

        def meanwhile(timeout: float) -> None:
            waiter.put(None)
            waiter.put(None)
            if len(waiter.waits) == 3:
                stepped.reactor.turn()

        waiter = waits(meanwhile)
        assert _ask(stepped, kind, lambda: 7) == 7
        assert waiter.waits == [5.0] * 3

    def test_are_dropped_by_who_gives_up(self, stepped: FakeProcess, waits: Any) -> None:
        """
        It has an end already.
        """

        def meanwhile(timeout: float) -> None:
            if len(waiter.waits) == 2:
                waiter.put(self._refuse)
            stepped.reactor.turn()

        waiter = waits(meanwhile)

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await Deferred()

        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5)(body)()
        assert waiter.empty()

    def test_get_a_real_thread_out_of_its_wait(self, running: FakeProcess) -> None:
        """
        And the reactor goes on.
        """

        def wait() -> None:
            running.wait_for(BOUND)(Deferred)()

        thread = Background(wait)
        wait_until(lambda: bool(running.bridge.waits), "nobody waits")
        [waiter] = running.bridge.waits.copy()
        waiter.put(self._refuse)
        with pytest.raises(self.Refused):
            thread.outcome()
        assert running.wait_for(BOUND)(lambda: 7)() == 7


class _Interruption:
    """
    Raises KeyboardInterrupt at the n-th call or return in the library's code.
    """

    def __init__(self, point: int) -> None:
        self._left = point
        self.has_come = False
        self._place = "nowhere"

    def __repr__(self) -> str:
        return f"<interruption in {self._place}>"

    def __enter__(self) -> None:
        sys.setprofile(self._profile)

    def __exit__(self, *args: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        is_ours = frame.f_code.co_filename.startswith(_SOURCE)
        if self.has_come or not is_ours or _is_finalizer(frame):
            return
        if self._left == 0:
            # The interpreter stops profiling when a profiler raises.
            self.has_come = True
            self._place = f"{frame.f_code.co_name}, line {frame.f_lineno}, {event} of {argument}"
            raise KeyboardInterrupt(self._place)
        self._left -= 1


def _is_finalizer(frame: FrameType | None) -> bool:
    """
    Tell whether an exception would only be printed, for this runs within a ``__del__``.
    """
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """
    Do what the reactor thread does, which no signal handler interrupts.
    """
    profile = sys.getprofile()
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(profile)
