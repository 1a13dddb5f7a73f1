"""
A result as a ``concurrent.futures.Future``.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

import crochet
from crochet import EventualResult, _futures
from crochet._futures import Deliveries
from fakes import BOUND, Background, FakeProcess, LoggedFailures, wait_until


def _held(process: FakeProcess) -> tuple[Deferred[Any], EventualResult[Any], list[object]]:
    """
    Start an operation that ends when its Deferred is fired; also return who cancelled it.
    """
    told: list[object] = []
    deferred: Deferred[Any] = Deferred(told.append)
    result = process.run_in_reactor(lambda: deferred)()
    process.wait_for(BOUND)(lambda: None)()
    return deferred, result, told


def _fail(error: BaseException) -> None:
    raise error


class TestFutures:
    """
    What users of futures do with them.
    """

    def test_give_the_value(self, running: FakeProcess) -> None:
        """
        As soon as it is there, to as many as ask.
        """
        deferred, result, _ = _held(running)
        future = result.as_future()
        assert (future.done(), future.running(), future.cancelled()) == (False, True, False)
        waiter = Background(future.result, BOUND)
        running.reactor.callFromThread(deferred.callback, 7)
        assert waiter.outcome() == future.result() == result.as_future().result() == 7
        assert future.exception() is None
        assert (future.done(), future.running(), future.cancelled()) == (True, False, False)

    def test_of_calls_that_have_not_started_do_not_run(self, stepped: FakeProcess) -> None:
        """
        And give their value once they have.
        """
        future = stepped.run_in_reactor(lambda: 7)().as_future()
        assert (future.done(), future.running()) == (False, False)
        stepped.reactor.turn()
        assert future.result(0) == 7

    @pytest.mark.parametrize("error", [LookupError("of a body"), TimeoutError("of a body")])
    def test_raise_the_error(self, running: FakeProcess, error: Exception) -> None:
        """
        Which is then known, and not logged.
        """
        future = running.run_in_reactor(_fail)(error).as_future()
        with pytest.raises(type(error), match="of a body"):
            future.result(BOUND)
        assert type(future.exception(BOUND)) is type(error)

    def test_that_nobody_asks_have_their_error_logged(
        self, running: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        To follow it is not to take it.
        """
        error = LookupError("of a body")
        future = running.run_in_reactor(_fail)(error).as_future()
        assert futures.wait([future], BOUND).done == {future}
        del future
        taken: list[BaseException] = []
        wait_until(lambda: bool(taken.extend(logged.take()) or taken), "nothing was logged")
        assert taken == [error]

    def test_end_a_wait_for_lack_of_time(self, running: FakeProcess) -> None:
        """
        With the error that users of futures expect. The operation goes on.
        """
        deferred, result, told = _held(running)
        future = result.as_future()
        for ask in (future.result, future.exception):
            with pytest.raises(futures.TimeoutError, match="has not answered"):
                ask(0.01)
        running.reactor.callFromThread(deferred.callback, 7)
        assert future.result(BOUND) == 7
        assert told == []

    def test_end_a_wait_by_our_own_timeout_error(self, running: FakeProcess) -> None:
        """
        Of the operation's: that is its answer.
        """
        error = crochet.TimeoutError("of a body")
        future = running.run_in_reactor(_fail)(error).as_future()
        with pytest.raises(crochet.TimeoutError, match="of a body"):
            future.result(BOUND)

    def test_cancel_the_operation(self, running: FakeProcess) -> None:
        """
        And are cancelled at once.
        """
        _, result, told = _held(running)
        future = result.as_future()
        called: list[object] = []
        future.add_done_callback(called.append)
        assert future.cancel()
        assert (future.done(), future.cancelled(), called) == (True, True, [future])
        for ask in (future.result, future.exception):
            with pytest.raises(futures.CancelledError):
                ask(BOUND)
        with pytest.raises(CancelledError):
            result.wait(BOUND)
        assert len(told) == 1
        assert future.cancel()

    def test_are_cancelled_with_the_operation(self, running: FakeProcess) -> None:
        """
        By whomever.
        """
        _, result, _ = _held(running)
        future = result.as_future()
        result.cancel()
        assert futures.wait([future], BOUND).done == {future}
        assert future.cancelled()
        with pytest.raises(futures.CancelledError):
            future.result(BOUND)

    def test_with_an_answer_cannot_be_cancelled(self, running: FakeProcess) -> None:
        """
        They say so.
        """
        result = running.run_in_reactor(lambda: 7)()
        future = result.as_future()
        assert result.wait(BOUND) == 7
        assert not future.cancel()
        assert future.result() == 7

    def test_raise_what_an_operation_answers_a_cancellation_with(
        self, running: FakeProcess
    ) -> None:
        """
        To whoever had asked before; the future itself is cancelled.
        """
        _, result, _ = _held(running)
        future = result.as_future()
        waiter = Background(future.result, BOUND)
        wait_until(lambda: len(result._waiters) == 2, "nobody waits")
        assert future.cancel()
        with pytest.raises(futures.CancelledError):
            waiter.outcome()


class TestStuck:
    """
    A future whose condition a signal's exception has left locked.
    """

    def test_does_not_hold_up_the_others(
        self, running: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It is tried again for a while, and then given up.
        """
        monkeypatch.setattr(_futures, "_STUCK", 0.01)
        monkeypatch.setattr(_futures, "_TRIES", 3)
        deferred, result, _ = _held(running)
        stuck = result.as_future()
        is_locked, is_over = threading.Event(), threading.Event()

        def lock() -> None:
            stuck._condition.acquire()
            is_locked.set()
            is_over.wait(BOUND)  # the ident of a thread that has ended may be used again

        locking = Background(lock)
        assert is_locked.wait(BOUND)
        other = running.run_in_reactor(lambda: 7)().as_future()
        running.reactor.callFromThread(deferred.callback, 8)
        assert futures.wait([other], BOUND).done == {other}
        assert stuck.result(BOUND) == 8
        wait_until(lambda: stuck._tries == 3, "it is not given up")
        is_over.set()
        locking.outcome()

    def test_cancelled_when_it_has_ended(self, running: FakeProcess) -> None:
        """
        The answer has come between looking and cancelling: it stays.
        """
        result = running.run_in_reactor(lambda: 7)()
        future = result.as_future()
        assert futures.wait([future], BOUND).done == {future}
        assert not future._cancel()


class TestWithOthers:
    """
    Functions that take futures.
    """

    def test_as_completed(self, running: FakeProcess) -> None:
        """
        In the order in which they are.
        """
        held = [_held(running) for _ in range(5)]
        all_of_them = {result.as_future(): number for number, (_, result, _) in enumerate(held)}
        seen: list[int] = []
        for number in (3, 1, 4, 0, 2):
            running.reactor.callFromThread(held[number][0].callback, number)
            pending = [future for future, which in all_of_them.items() if which not in seen]
            done = next(futures.as_completed(pending, BOUND))
            seen.append(done.result(0))
        assert seen == [3, 1, 4, 0, 2]

    @pytest.mark.parametrize(
        ("when", "number"), [(futures.FIRST_COMPLETED, 1), (futures.FIRST_EXCEPTION, 1)]
    )
    def test_wait(self, running: FakeProcess, when: str, number: int) -> None:
        """
        For the first that is done, or has failed.
        """
        deferred, result, _ = _held(running)
        failing = running.run_in_reactor(_fail)(LookupError("of a body")).as_future()
        done, pending = futures.wait([result.as_future(), failing], BOUND, return_when=when)
        assert (done, len(pending)) == ({failing}, number)
        assert isinstance(failing.exception(0), LookupError)
        running.reactor.callFromThread(deferred.callback, None)
        assert result.wait(BOUND) is None

    def test_asyncio(self, running: FakeProcess) -> None:
        """
        The value, and a cancellation that goes through.
        """

        async def main() -> tuple[object, list[object]]:
            value = await asyncio.wrap_future(running.run_in_reactor(lambda: 7)().as_future())
            _, result, told = _held(running)
            task = asyncio.ensure_future(asyncio.wrap_future(result.as_future()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)  # in which it tells the future
            with pytest.raises(CancelledError):
                result.wait(BOUND)
            return value, told

        value, told = asyncio.run(main())
        assert (value, len(told)) == (7, 1)

    def test_hold_no_memory(self, running: FakeProcess) -> None:
        """
        Round after round, of a thousand each.
        """

        def one_round() -> None:
            pending = [running.run_in_reactor(int)().as_future() for _ in range(1000)]
            assert {future.result() for future in futures.as_completed(pending, BOUND)} == {0}

        one_round()
        gc.collect()
        tracemalloc.start()
        try:
            one_round()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(3):
                one_round()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 100_000
        finally:
            tracemalloc.stop()


class TestDeliveries:
    """
    The thread that may block.
    """

    def test_run_in_order_in_one_thread(self) -> None:
        """
        Which is gone when it has been stopped.
        """
        threads: list[threading.Thread] = []
        done: list[tuple[int, int]] = []

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            threads.append(threading.Thread(target=target, name=name, daemon=True))
            threads[-1].start()
            return threads[-1]

        deliver = Deliveries(start)
        for number in range(100):
            deliver(lambda number=number: done.append((number, threading.get_ident())))  # type: ignore[misc]
        deliver.stop(BOUND)
        assert [number for number, _ in done] == list(range(100))
        assert {ident for _, ident in done} == {thread.ident for thread in threads}
        assert not any(thread.is_alive() for thread in threads)

    def _stepped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Deliveries, list[Callable[[], object]]]:
        started: list[Callable[[], object]] = []

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            started.append(target)
            return threading.Thread()

        monkeypatch.setattr(_futures, "_BEGINS", 0.0)
        deliver = Deliveries(start)
        deliver._patience = 0.0
        return deliver, started

    def test_start_another_thread_after_the_last_has_ended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        And not before.
        """
        done: list[int] = []
        deliver, started = self._stepped(monkeypatch)

        def work() -> None:
            done.append(1)
            if len(done) % 2:
                deliver(work)

        for number in range(3):
            deliver(work)
            assert len(started) == number + 1
            started[-1]()
        assert len(done) == 6

    def test_two_threads_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        1. Two bring work before either thread has begun. 2. One takes the ticket. 3. The other
        ends.
        """
        done: list[int] = []
        deliver, started = self._stepped(monkeypatch)
        deliver._patience = BOUND
        for number in range(2):
            deliver(lambda number=number: done.append(number))  # type: ignore[misc]
        first = Background(started[0])
        wait_until(lambda: done == [0, 1], "the first does not")
        started[1]()
        deliver._patience = 0.0
        deliver._wake.release()
        first.outcome()
        assert len(started) == 2

    @pytest.mark.parametrize("is_taken", [False, True])
    def test_work_that_comes_as_the_thread_ends(
        self, is_taken: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. The thread finds nothing. 2. Work comes, whose bringer does not get the ticket, or does
        once the thread has put it back. 3. The thread looks again.
        """
        done: list[int] = []
        deliver, started = self._stepped(monkeypatch)

        class Ticket(list):  # type: ignore[type-arg]
            def append(self, item: None) -> None:
                if len(done) == 1:
                    if not is_taken:
                        deliver(lambda: done.append(2))
                    super().append(item)
                    if is_taken:
                        deliver(lambda: done.append(2))
                    return
                super().append(item)

        deliver._ticket = Ticket([None])
        deliver(lambda: done.append(1))
        started[0]()
        if is_taken:
            assert len(started) == 2
            started[1]()  # finds nothing to do
        assert done == [1, 2]

    def test_are_done_at_once_where_no_thread_starts(self) -> None:
        """
        At the interpreter's exit, from Python 3.12 on.
        """

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        done: list[int] = []
        deliver = Deliveries(start)
        for _ in range(2):
            deliver(lambda: done.append(1))
        assert done == [1, 1]

    def test_go_on_after_an_error(
        self, logged: LoggedFailures, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Which is logged.
        """
        error = LookupError("in what follows")
        done: list[int] = []
        deliver, started = self._stepped(monkeypatch)
        deliver(lambda: _fail(error))
        deliver(lambda: done.append(1))
        started[0]()
        assert done == [1]
        assert logged.take() == [error]
