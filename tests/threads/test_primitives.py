"""
What a thread that waits is asked to do meanwhile.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from crochet._core import decorators as _calls
from crochet._core import result as _result
from crochet._threads import primitives as _waiting
from crochet._threads.primitives import run_errands, send_errand
from support.process import FakeProcess
from support.stepping import BOUND, FakeClock, FakeLock


class Refused(Exception):
    """
    What an errand raises.
    """


def _refuse() -> None:
    raise Refused("of an errand")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeLock]:
    """
    Gives waiters a fake lock, with what is to happen while they wait.
    """

    def give(meanwhile: Callable[[float], object]) -> FakeLock:
        clock = FakeClock()
        clock.install(monkeypatch)
        lock = FakeLock(meanwhile, clock)
        for module in (_calls, _result):
            monkeypatch.setattr(module, "allocate_lock", lambda: lock)
        return lock

    return give


def _send(lock: FakeLock, errand: Callable[[], object]) -> None:
    send_errand(lock, errand)  # type: ignore[arg-type]


class TestErrands:
    """
    Of a waiter with a lock of its own.
    """

    def test_are_run_in_order_once(self) -> None:
        """
        And open the gate.
        """
        lock = FakeLock()
        lock.acquire()
        ran: list[int] = []
        for number in range(3):
            _send(lock, lambda number=number: ran.append(number))  # type: ignore[misc]
        assert not lock.locked()
        for _ in range(2):
            run_errands(lock)  # type: ignore[arg-type]
        assert ran == [0, 1, 2]

    def test_are_dropped_with_the_gate(self) -> None:
        """
        For nobody can come to do them.
        """
        lock = FakeLock()
        _send(lock, _refuse)
        before = len(_waiting._errands)
        del lock
        gc.collect()
        assert len(_waiting._errands) == before - 1


class TestWaitFor:
    """
    A wait of a decorated function.
    """

    @pytest.mark.parametrize("at", [0, 1])
    def test_runs_errands_and_waits_on(self, stepped: FakeProcess, gate: Any, at: int) -> None:
        """
        For what is left of its time.
        """
        ran: list[str] = []

        def meanwhile(timeout: float) -> None:
            if len(lock.waits) == at + 1:
                _send(lock, lambda: ran.append("errand"))
            elif len(lock.waits) == at + 2:
                stepped.reactor.turn()
            else:
                _send(lock, lambda: ran.append("before"))

        lock = gate(meanwhile)
        assert stepped.wait_for(5)(lambda: 7)() == 7
        assert ran[-1] == "errand"
        assert lock.waits == [5.0] * (at + 2)

    def test_ends_with_what_an_errand_raises(self, stepped: FakeProcess, gate: Any) -> None:
        """
        The operation is cancelled, as after any other exception.
        """
        told: list[object] = []

        def meanwhile(timeout: float) -> None:
            stepped.reactor.turn()
            if timeout == 5.0:
                _send(lock, _refuse)

        lock = gate(meanwhile)
        with pytest.raises(Refused, match="of an errand"):
            stepped.wait_for(5)(Deferred)(told.append)
        assert len(told) == 1
        assert stepped.bridge.calls_in_flight() == set()

    def test_with_an_answer_runs_none(self, stepped: FakeProcess, gate: Any) -> None:
        """
        1. The errand opens the gate. 2. The answer comes, and finds it open. 3. The waiter looks.
        """

        def meanwhile(timeout: float) -> None:
            _send(lock, _refuse)
            stepped.reactor.turn()

        lock = gate(meanwhile)
        assert stepped.wait_for(5)(lambda: 7)() == 7

    def test_runs_none_while_it_gives_up(self, stepped: FakeProcess, gate: Any) -> None:
        """
        It has an end already.
        """

        def meanwhile(timeout: float) -> None:
            if len(lock.waits) == 2:
                _send(lock, _refuse)
            stepped.reactor.turn()

        lock = gate(meanwhile)

        async def body() -> None:
            try:
                await Deferred()
            except CancelledError:
                await Deferred()

        with pytest.raises(TimeoutError, match="has not ended yet"):
            stepped.wait_for(5)(body)()


class TestWait:
    """
    ``EventualResult.wait()``.
    """

    def test_runs_errands_and_waits_on(self, stepped: FakeProcess, gate: Any) -> None:
        """
        Likewise.
        """
        ran: list[str] = []

        def meanwhile(timeout: float) -> None:
            if ran:
                stepped.reactor.turn()
            _send(lock, lambda: ran.append("errand"))

        lock = gate(meanwhile)
        assert stepped.run_in_reactor(lambda: 7)().wait(5) == 7
        assert ran == ["errand"]

    def test_ends_with_what_an_errand_raises(self, stepped: FakeProcess, gate: Any) -> None:
        """
        The operation goes on.
        """
        lock = gate(lambda timeout: _send(lock, _refuse))
        result = stepped.run_in_reactor(lambda: 7)()
        with pytest.raises(Refused, match="of an errand"):
            result.wait(5)
        stepped.reactor.turn()
        assert result.wait(0) == 7


def test_a_real_thread_is_got_out_of_its_wait(
    running: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    And the reactor goes on.
    """
    gates: list[Any] = []
    allocate = _calls.allocate_lock

    def remember() -> Any:
        gates.append(allocate())
        return gates[-1]

    monkeypatch.setattr(_calls, "allocate_lock", remember)
    outcome: list[object] = []

    def wait() -> None:
        try:
            running.wait_for(BOUND)(Deferred)()
        except Refused as error:
            outcome.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while not running.bridge.calls_in_flight():
        pass
    send_errand(gates[0], _refuse)
    thread.join(BOUND)
    assert [type(error) for error in outcome] == [Refused]
    assert running.wait_for(BOUND)(lambda: 7)() == 7
