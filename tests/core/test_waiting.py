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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

import crochet
from crochet import TimeoutError
from crochet._core import decorators as _calls
from crochet._core import waiting as _patience
from support.process import FakeProcess, LoggedFailures
from support.stepping import BOUND, FakeLock

# What a body answers that returns a Deferred: a value, an error, or nothing.
_KINDS = {"answers": int, "fails": ValueError, "hangs": None}
_SOURCE = os.path.dirname(crochet.__file__)


class TestGivingUp:
    """
    A wait that ends for lack of time.
    """

    def test_cancels_the_operation(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        And waits for its end.
        """
        told: list[object] = []
        lock = gate(lambda timeout: stepped.reactor.turn())
        expected = r"Deferred\(\) has not answered in 5 s; its Deferred was cancelled"
        with pytest.raises(TimeoutError, match=expected) as caught:
            stepped.wait_for(5)(Deferred)(told.append)
        assert len(told) == 1
        assert caught.value.__context__ is None
        assert lock.waits == pytest.approx([5.0, 0.02])
        assert stepped.bridge.calls_in_flight() == set()

    def test_waits_for_its_cleanup(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        A second at most, once it has been told.
        """
        cleaned = Deferred[None]()
        waits: list[float] = []

        async def body() -> None:
            try:
                await Deferred()
            finally:
                await cleaned

        def wait(timeout: float) -> None:
            waits.append(timeout)
            stepped.reactor.turn()
            if timeout == pytest.approx(1.0):
                cleaned.callback(None)

        gate(wait)
        with pytest.raises(TimeoutError, match="its Deferred was cancelled"):
            stepped.wait_for(5)(body)()
        assert waits == pytest.approx([5.0, 0.02, 1.0])

    def test_waits_no_longer_than_that(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
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

        lock = gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(body)()
        assert lock.waits == pytest.approx([5.0, 0.02, 1.0])
        last.callback(None)
        assert stepped.bridge.calls_in_flight() == set()

    def test_does_not_wait_for_a_busy_reactor(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        To which the cancellation does not get through.
        """
        turns = iter([stepped.reactor.turn])
        lock = gate(lambda timeout: next(turns, lambda: None)())
        with pytest.raises(TimeoutError, match="was told to cancel but has not ended yet"):
            stepped.wait_for(5)(Deferred)()
        assert lock.waits == pytest.approx([5.0, 0.02])
        stepped.reactor.turn()
        assert stepped.bridge.calls_in_flight() == set()

    def test_logs_another_error_that_comes_too_late(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        Than the CancelledError that is expected.
        """
        error = ValueError("of a cleanup")
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5)(Deferred)(lambda deferred: deferred.errback(error))
        gc.collect()
        assert logged.take() == [error]

    @pytest.mark.parametrize("timeout", [0, 5])
    def test_before_the_start(self, stepped: FakeProcess, gate: Any, timeout: float) -> None:
        """
        Withdraws the call, and the body never runs.
        """
        ran: list[int] = []
        lock = gate()
        expected = rf"append\(\) has not started in {timeout} s; it was withdrawn.* not come to it"
        with pytest.raises(TimeoutError, match=expected):
            stepped.wait_for(timeout)(ran.append)(1)
        assert lock.waits == [timeout]
        assert stepped.bridge.calls_in_flight() == set()
        stepped.reactor.turn()
        assert ran == []

    def test_before_the_reactor_runs(self, process: FakeProcess, gate: Any) -> None:
        """
        After ``no_setup()``, the text says so. The call may be in time.
        """
        ran: list[int] = []
        process.loop.no_setup()
        gate()
        with pytest.raises(TimeoutError, match=r"not running yet.*has to call reactor\.run\(\)"):
            process.wait_for(5)(ran.append)(1)
        gate(lambda timeout: (process.reactor.start(), process.reactor.turn()))
        process.bridge.reactor_thread = None
        assert process.wait_for(5)(lambda: 7)() == 7
        assert ran == []

    def test_as_the_answer_comes(
        self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The caller's time is over. 2. The answer is stored. 3. The caller finds it, and cancels
        nothing.
        """

        class LateLock(FakeLock):
            def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
                has_acquired = super().acquire(blocking, timeout)
                if not has_acquired:
                    stepped.reactor.turn()
                return has_acquired

        monkeypatch.setattr(_calls, "allocate_lock", LateLock)
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
        expected = r"waits in test_patience\.py:\d+ block\(\) for an event\. It has been busy for "
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
            act(timeout)
            gc.collect()
            gc.disable()
            try:
                act(timeout)
                assert gc.collect() == 0
            finally:
                gc.enable()

    def test_an_error_leaves_no_cycle(self, running: FakeProcess) -> None:
        """
        Likewise.
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

        act()
        gc.collect()
        gc.disable()
        try:
            act()
            assert gc.collect() == 0
        finally:
            gc.enable()


class TestGrace:
    """
    The time for an operation's cleanup.
    """

    @pytest.mark.parametrize(("grace", "waits"), [(3, [5.0, 0.02, 3.0]), (0.01, [5.0, 0.01, 0.01])])
    def test_is_the_programs_choice(
        self,
        stepped: FakeProcess,
        gate: Callable[..., FakeLock],
        grace: float,
        waits: list[float],
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

        lock = gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet") as caught:
            stepped.wait_for(5, grace=grace)(body)()
        assert lock.waits == pytest.approx(waits)
        assert (caught.value.cancelled, caught.value.ended) == (True, False)
        last.callback(None)

    def test_may_be_none(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Then the operation is told, and nothing is waited for.
        """
        told: list[object] = []
        lock = gate(lambda timeout: timeout and stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, grace=0)(Deferred)(told.append)
        assert lock.waits == [5.0, 0.0]
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
        gate: Callable[..., FakeLock],
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

        gate(interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            stepped.wait_for(5)(body)()
        assert caught.value.__notes__ == [note]


class TestLateValues:
    """
    What comes after the wait was given up.
    """

    def test_are_handed_over(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
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

        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5, on_late=late.append)(body)()
        assert late == []
        opened.callback("a connection")
        stepped.reactor.turn()
        assert late == ["a connection"]

    def test_that_come_while_it_is_cancelled(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        For want of anything better to answer a cancellation with.
        """
        late: list[object] = []
        started: Deferred[str] = Deferred(lambda deferred: deferred.callback("a connection"))
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError, match="its Deferred was cancelled"):
            stepped.wait_for(5, on_late=late.append)(lambda: started)()
        assert late == ["a connection"]

    def test_after_an_interruption_twice(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
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

        gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"at 0\.02"):
            stepped.wait_for(5, on_late=late.append)(body)()
        stepped.reactor.turn()
        opened.callback("a connection")
        assert late == ["a connection"]

    def test_errors_are_not(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        They are logged, unless they are what was expected.
        """
        late: list[object] = []
        gate(lambda timeout: stepped.reactor.turn())
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)()
        error = ValueError("of a cleanup")
        with pytest.raises(TimeoutError):
            stepped.wait_for(5, on_late=late.append)(Deferred)(lambda d: d.errback(error))
        assert late == []
        gc.collect()
        assert logged.take() == [error]

    def test_an_error_in_the_hand_over_is_logged(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], logged: LoggedFailures
    ) -> None:
        """
        And does no harm to the reactor.
        """
        error = LookupError("in on_late")

        def refuse(value: object) -> None:
            raise error

        gate(lambda timeout: stepped.reactor.turn())
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

    def test_before_the_start(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Withdraws the call.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        ran: list[int] = []
        gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(ran.append)(1)
        stepped.reactor.turn()
        assert ran == []
        assert stepped.bridge.calls_in_flight() == set()

    def test_after_the_start(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
        """
        Cancels the operation, and waits for its end.
        """
        told: list[object] = []

        def interrupt(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == 5.0:
                raise KeyboardInterrupt("Ctrl-C")

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(Deferred)(told.append)
        assert lock.waits == pytest.approx([5.0, 0.02])
        assert len(told) == 1
        assert stepped.bridge.calls_in_flight() == set()

    def test_leaves_no_flag_behind(
        self, stepped: FakeProcess, gate: Callable[..., FakeLock]
    ) -> None:
        """
        1. The caller has noted that a wake-up is on its way. 2. Signals keep it from waking and
        from taking that back. 3. It wakes the reactor in any case, for those who come after it.
        """

        def interrupt(timeout: float) -> None:
            raise KeyboardInterrupt("Ctrl-C")

        gate(interrupt)
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
        self, stepped: FakeProcess, gate: Callable[..., FakeLock], second_at: float
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

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"Ctrl-C at {second_at}"):
            stepped.wait_for(5)(body)()
        assert lock.waits[-1] == second_at
        stepped.reactor.turn()
        assert len(told) == 1
        cleaned.callback(None)
        assert stepped.bridge.calls_in_flight() == set()

    def test_while_it_gives_up(self, stepped: FakeProcess, gate: Callable[..., FakeLock]) -> None:
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

        lock = gate(interrupt)
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            stepped.wait_for(5)(body)()
        assert lock.waits == pytest.approx([5.0, 0.02, 1.0])
        assert len(told) == 1
        cleaned.callback(None)

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_step(
        self, stepped: FakeProcess, gate: Any, kind: str, logged: LoggedFailures
    ) -> None:
        """
        At each call and return within the library, in turn: no operation is left running, none
        starts later, and the next call is answered. An error that does not get through is logged.
        """
        for point in itertools.count():
            interruption = _Interruption(point)
            self._check_a_call_with(stepped, gate, kind, interruption)
            assert not stepped.bridge.calls_in_flight(), f"left in flight: {interruption}"
            if not interruption.has_come:
                break
        assert {type(error) for error in logged.take()} == {ValueError} & {_KINDS[kind]}
        assert point > 15

    @pytest.mark.parametrize("kind", _KINDS)
    def test_at_every_two_steps(
        self, stepped: FakeProcess, gate: Any, kind: str, logged: LoggedFailures, monkeypatch: Any
    ) -> None:
        """
        Likewise, and a second time at each call and return of what is done about the first.
        """
        abandon = _patience.abandon
        seconds = 0
        for point, second_point in itertools.product(range(40), range(40)):
            second = _Interruption(second_point)

            def interrupted(*args: Any, second: _Interruption = second) -> None:
                with second:
                    abandon(*args)

            monkeypatch.setattr(_patience, "abandon", interrupted)
            self._check_a_call_with(stepped, gate, kind, _Interruption(point))
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
        abandon = _patience.abandon
        seconds = 0
        ran: list[int] = []
        for point, second_point in itertools.product(range(20), range(20)):
            interruption, second = _Interruption(point), _Interruption(second_point)

            def interrupted(*args: Any, second: _Interruption = second) -> None:
                with second:
                    abandon(*args)

            monkeypatch.setattr(_patience, "abandon", interrupted)
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
        self, stepped: FakeProcess, gate: Any, kind: str, interruption: _Interruption
    ) -> None:
        started = self._interrupted_call(stepped, gate, kind, interruption)
        running = [deferred for deferred in started if not deferred.called]
        for _ in range(2):
            stepped.reactor.turn()
        assert all(deferred.called for deferred in running), f"left running: {interruption}"
        assert len(started) <= 1, f"started later or twice: {interruption}"
        gate(lambda timeout: stepped.reactor.turn())
        assert stepped.wait_for(5)(lambda: succeed(3))() == 3

    def _interrupted_call(
        self, stepped: FakeProcess, gate: Any, kind: str, interruption: _Interruption
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

        gate(meanwhile)
        call = stepped.wait_for(5)(body)
        with interruption:
            try:
                assert call() == 7
            except (KeyboardInterrupt, ValueError, TimeoutError):
                pass
        is_over = True
        return started


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
