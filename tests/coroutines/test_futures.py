"""
A result as a ``concurrent.futures.Future``.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent import futures
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

import crochet
from crochet import EventualResult, _errors
from crochet._core.result import call_of
from crochet._coroutines import futures as _futures
from crochet._threads.threads import start_thread
from support.process import FakeProcess, LoggedFailures
from support.programs import run_python
from support.reactor import close_reactor, new_real_reactor
from support.stepping import BOUND, Background, SteppedDeque, wait_until


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Have threads that see to futures end at once when they have nothing to do.
    """
    monkeypatch.setattr(_futures, "_LINGERS", 0.0)


def _held(process: FakeProcess) -> tuple[Deferred[Any], EventualResult[Any], list[object]]:
    """
    Start an operation that ends when its Deferred is fired; also return who cancelled it.
    """
    told: list[object] = []
    deferred: Deferred[Any] = Deferred(told.append)
    result = process.run_in_reactor(lambda: deferred)()
    process.wait_for(BOUND)(lambda: None)()
    return deferred, result, told


def _stepped_held(
    process: FakeProcess,
) -> tuple[Deferred[Any], EventualResult[Any], list[object]]:
    """
    The same, on a reactor that is stepped.
    """
    told: list[object] = []
    deferred: Deferred[Any] = Deferred(told.append)
    result = process.run_in_reactor(lambda: deferred)()
    process.reactor.turn()
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
        assert (future.done(), future.cancelled(), future.running()) == (True, True, False)
        wait_until(lambda: called == [future], "its callback is not called")
        assert futures.wait([future], BOUND).done == {future}
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

    def test_are_cancelled_by_an_operation_that_is(
        self, running: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        Of its own accord. Who asks knows of it then, so that it is not logged.
        """
        future = running.run_in_reactor(_fail)(CancelledError("of itself")).as_future()
        for ask in (future.result, future.exception):
            with pytest.raises(futures.CancelledError):
                ask(BOUND)
        assert future.cancelled()
        assert futures.wait([future], BOUND).done == {future}
        del future, ask
        gc.collect()
        assert logged.take() == []

    def test_with_an_answer_cannot_be_cancelled(self, running: FakeProcess) -> None:
        """
        They say so.
        """
        result = running.run_in_reactor(lambda: 7)()
        future = result.as_future()
        assert result.wait(BOUND) == 7
        assert not future.cancel()
        assert future.result() == 7

    @pytest.mark.parametrize("ask", ["result", "exception"])
    def test_release_those_who_wait_when_they_are_cancelled(
        self, ask: str, running: FakeProcess
    ) -> None:
        """
        At once, even if the operation ignores it. Who waits for the result itself waits on, and
        gets what comes of it.
        """
        deferred: Deferred[Any] = Deferred()
        told: list[int] = []
        deferred.cancel = lambda: told.append(1)  # type: ignore[method-assign]
        result = running.run_in_reactor(lambda: deferred)()
        running.wait_for(BOUND)(lambda: None)()  # it has started
        future = result.as_future()
        waiters = [Background(getattr(future, ask), BOUND) for _ in range(3)]
        other = Background(result.wait, BOUND)
        wait_until(lambda: len(call_of(result).callbacks) == 5, "nobody waits")
        assert future.cancel()
        for waiter in waiters:
            with pytest.raises(futures.CancelledError):
                waiter.outcome()
        assert futures.wait([future], BOUND).done == {future}
        assert future.cancel()
        running.wait_for(BOUND)(lambda: deferred.callback(7))()
        assert other.outcome() == 7
        assert (told, future._at) == ([1], [])

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_cancelled_as_somebody_begins_to_wait(self, when: str, stepped: FakeProcess) -> None:
        """
        1. The waiter finds it pending. 2. It puts its waiter into the list. 3. Another cancels it,
        before 2 or after it. 4. The waiter looks again, or is sent there.
        """
        _, result, _ = _stepped_held(stepped)
        future = result.as_future()
        waiters = future._at = SteppedDeque()
        setattr(waiters, f"{when}_append", future.cancel)
        with pytest.raises(futures.CancelledError):
            future.result(BOUND)
        assert not waiters

    def test_answered_as_they_are_cancelled(self, stepped: FakeProcess) -> None:
        """
        1. One thread finds it pending, and has it cancelled. 2. The answer comes. 3. Another thread
        sees that, which decides it. 4. The first decides, too late.
        """
        deferred, result, _ = _stepped_held(stepped)
        future = result.as_future()
        fates = future._fates = SteppedDeque()

        def answer() -> None:
            deferred.callback(7)
            assert future.done()

        fates.before_append = answer
        assert not future.cancel()
        assert (future.result(0), future.cancelled()) == (7, False)

    def test_that_are_cancelled_hide_no_late_error(
        self, running: FakeProcess, logged: LoggedFailures
    ) -> None:
        """
        It is logged, for nobody is told of it.
        """
        error = LookupError("of the cleanup")
        deferred: Deferred[Any] = Deferred(lambda _: deferred.errback(error))
        result = running.run_in_reactor(lambda: deferred)()
        running.wait_for(BOUND)(lambda: None)()  # it has started
        future = result.as_future()
        assert future.cancel()
        wait_until(result.done, "it does not end")
        with pytest.raises(futures.CancelledError):
            future.result(BOUND)
        del future, result
        gc.collect()  # of the canceller, which has the Deferred that has it
        taken: list[BaseException] = []
        wait_until(lambda: bool(taken.extend(logged.take()) or taken), "nothing was logged")
        assert taken == [error]


class TestCallbacks:
    """
    What users have called when a future is done.
    """

    @pytest.mark.parametrize(
        "wait",
        [
            lambda future: future.result(BOUND),
            lambda future: futures.wait([future], BOUND).done.pop().result(0),
            lambda future: next(futures.as_completed([future], BOUND)).result(0),
        ],
    )
    def test_that_wait_for_another_future(
        self, wait: Callable[[futures.Future[int]], int], running: FakeProcess
    ) -> None:
        """
        Are no obstacle to it, in whatever way they wait.
        """
        first, result, _ = _held(running)
        second, other, _ = _held(running)
        seen: SimpleQueue[int] = SimpleQueue()
        future, awaited = result.as_future(), other.as_future()
        future.add_done_callback(lambda _: seen.put(wait(awaited)))
        running.reactor.callFromThread(first.callback, 7)
        assert futures.wait([future], BOUND).done == {future}
        running.reactor.callFromThread(second.callback, 8)
        assert seen.get(timeout=BOUND) == 8

    def test_that_wait_for_callbacks_of_others(self, running: FakeProcess) -> None:
        """
        Each of five blocks until the last one's has been called.
        """
        all_held = [_held(running) for _ in range(5)]
        called: list[int] = []
        is_over = threading.Event()

        def call(number: int) -> None:
            called.append(number)
            if number == 4:
                is_over.set()
            assert is_over.wait(BOUND)

        for number, (_, result, _) in enumerate(all_held):
            result.as_future().add_done_callback(lambda _, number=number: call(number))  # type: ignore[misc]
        for deferred, _, _ in all_held:
            running.reactor.callFromThread(deferred.callback, None)
        assert is_over.wait(BOUND)
        assert called == [0, 1, 2, 3, 4]

    def test_are_called_in_order_without_a_lock(
        self, running: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        In one thread, not the reactor's. Another may take the future's lock meanwhile.
        """
        monkeypatch.setattr(_futures, "_BLOCKS", 2.0)
        all_held = [_held(running) for _ in range(100)]
        seen: SimpleQueue[tuple[int, int | None]] = SimpleQueue()

        def call(number: int, future: futures.Future[Any]) -> None:
            assert Background(repr, future).outcome()  # that takes it
            seen.put((number, threading.get_ident()))

        for number, (_, result, _) in enumerate(all_held):
            result.as_future().add_done_callback(partial(call, number))

        def fire() -> None:
            for deferred, _, _ in all_held:
                deferred.callback(None)

        running.reactor.callFromThread(fire)
        all_seen = [seen.get(timeout=BOUND) for _ in all_held]
        assert [number for number, _ in all_seen] == list(range(100))
        (ident,) = {ident for _, ident in all_seen}
        assert ident != running.bridge.reactor_thread

    def test_that_raise(self, running: FakeProcess, logged: LoggedFailures) -> None:
        """
        Are no obstacle to others. What is no Exception is logged by us.
        """
        deferred, result, _ = _held(running)
        seen: SimpleQueue[int] = SimpleQueue()
        error = SystemExit("of a callback")
        result.as_future().add_done_callback(lambda _: _fail(error))
        result.as_future().add_done_callback(lambda _: seen.put(8))
        running.reactor.callFromThread(deferred.callback, None)
        assert seen.get(timeout=BOUND) == 8
        assert logged.take() == [error]


class TestReactorThread:
    """
    It waits for nothing here.
    """

    @pytest.fixture
    def slow(self) -> Iterator[tuple[FakeProcess, threading.Event]]:
        """
        A process whose threads for futures do not start before they may.
        """
        may_start = threading.Event()

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            if name.startswith("crochet-future"):
                assert may_start.wait(BOUND)
            return start_thread(target, name)

        reactor = new_real_reactor()
        process = FakeProcess(reactor, start)
        process.loop.setup()
        yield process, may_start
        may_start.set()
        process.exit()
        close_reactor(reactor)

    def test_does_not_wait_for_the_thread_to_start(
        self, slow: tuple[FakeProcess, threading.Event]
    ) -> None:
        """
        Beside threads that compute, that can take a second.
        """
        process, may_start = slow
        future = process.run_in_reactor(int)().as_future()
        assert future.result(BOUND) == 0
        assert process.wait_for(BOUND)(lambda: 7)() == 7
        assert not futures.wait([future], 0).done
        may_start.set()
        assert futures.wait([future], BOUND).done == {future}

    def test_takes_no_lock_of_a_future(self, running: FakeProcess) -> None:
        """
        To answer it, nor to cancel it.
        """
        deferred, result, _ = _held(running)
        answered, cancelled = result.as_future(), _held(running)[1].as_future()
        with answered._condition, cancelled._condition:
            running.reactor.callFromThread(deferred.callback, 7)
            assert running.wait_for(BOUND)(cancelled.cancel)()
            assert answered.result(BOUND) == 7
        assert futures.wait([answered, cancelled], BOUND).done == {answered, cancelled}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestFork:
    """
    A forked child, and the futures of its parent.
    """

    def test_child_that_was_forked_in_c(self, stepped: FakeProcess) -> None:
        """
        Takes notice of that when somebody asks the base class.
        """
        future = stepped.run_in_reactor(Deferred)().as_future()
        bridge = stepped.bridge
        teller: Any = bridge.teller

        def on_fork() -> None:
            teller.inherited = threading.Condition()
            bridge.after_fork_in_child(_errors.forked, lambda name: None)
            bridge.mark = [1]

        bridge.mark, bridge.on_fork = [0], on_fork
        assert futures.wait([future], 0).done == {future}

    def test_child_finds_them_done(self) -> None:
        """
        In whatever way it asks, even if a thread of the parent's had their locks, or a callback to
        be called. Its own are as ever; so are the parent's in the parent.
        """
        finished = run_python(
            """
            import faulthandler, os, signal, sys, threading, warnings
            from concurrent import futures
            from twisted.internet.defer import Deferred
            import crochet

            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
            bound = float(sys.argv[1])
            crochet.setup()
            deferred = Deferred()
            pending = crochet.run_in_reactor(lambda: deferred)().as_future()
            pending.add_done_callback(lambda _: print("called", flush=True))
            cancelled = crochet.run_in_reactor(Deferred)().as_future()
            answered = crochet.run_in_reactor(lambda: 7)().as_future()
            assert cancelled.cancel() and answered.result(bound) == 7
            every = [pending, cancelled, answered]
            is_locked, is_over = threading.Event(), threading.Event()

            def lock():
                with pending._condition, cancelled._condition, answered._condition:
                    is_locked.set()
                    is_over.wait(bound)

            locking = threading.Thread(target=lock)
            locking.start()
            is_locked.wait(bound)
            pid = os.fork()
            if not pid:
                try:
                    signal.alarm(int(bound))
                    assert all(future.done() for future in every)
                    assert set(futures.as_completed(every)) == set(every)
                    assert futures.wait(every) == (set(every), set())
                    assert isinstance(pending.exception(), crochet.ReactorStopped)
                    assert cancelled.cancelled() and answered.result() == 7
                    assert [repr(future).count("state=finished") for future in every] == [1, 0, 1]
                    called = []
                    pending.add_done_callback(called.append)
                    assert called == [pending]
                    own = crochet.run_in_reactor(lambda: 8)().as_future()
                    assert futures.wait([own]).done == {own} and own.result() == 8
                    print("child", flush=True)
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            is_over.set()
            locking.join()
            from twisted.internet import reactor
            reactor.callFromThread(deferred.callback, 9)
            assert futures.wait(every, bound).not_done == set()
            assert pending.result() == 9
            crochet.shutdown()
            """
        )
        assert (finished.stdout, finished.stderr) == ("child\ncalled\n", "")


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
