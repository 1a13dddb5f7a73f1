"""
One bound for many waits.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from decimal import Decimal
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from crochet import TimeoutError, deadline
from crochet._threads import clock as _clock
from support.process import FakeProcess
from support.programs import run_python
from support.stepping import BOUND, FakeClock, FakeWaiter, Steps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """
    A clock that waits move.
    """
    clock = FakeClock()
    clock.install(monkeypatch)
    return clock


@pytest.fixture
def waits(stepped: FakeProcess, clock: FakeClock) -> Callable[..., FakeWaiter]:
    """
    Has threads that wait move that clock.
    """

    def give(meanwhile: Callable[[float], object] = lambda timeout: None) -> FakeWaiter:
        waiter = FakeWaiter(meanwhile, clock)
        stepped.bridge.new_waiter = lambda: waiter
        return waiter

    return give


class TestRemaining:
    """
    ``deadline.remaining()``
    """

    def test_tells_what_is_left(self, clock: FakeClock) -> None:
        """
        Inside the block, and never less than nothing.
        """
        assert deadline.remaining() == math.inf
        with deadline(5):
            assert deadline.remaining() == 5.0
            clock.now = 3.0
            assert deadline.remaining() == 2.0
            clock.now = 7.0
            assert deadline.remaining() == 0.0
        assert deadline.remaining() == math.inf

    @pytest.mark.parametrize(
        ("outer", "inner", "left"),
        [(5, 2, 2.0), (2, 5, 2.0), (None, 5, 5.0), (5, None, 5.0), (5, Decimal("1.5"), 1.5)],
    )
    def test_is_the_smaller_of_two(
        self, clock: FakeClock, outer: Any, inner: Any, left: float
    ) -> None:
        """
        And after the inner block the outer one's.
        """
        with deadline(outer):
            before = deadline.remaining()
            with deadline(inner):
                assert deadline.remaining() == left
            assert deadline.remaining() == before

    def test_of_a_block_left_by_an_error(self, clock: FakeClock) -> None:
        """
        Is over as well.
        """
        with pytest.raises(LookupError), deadline(5):
            raise LookupError("inside")
        assert deadline.remaining() == math.inf

    @pytest.mark.usefixtures("clock")
    def test_counts_from_the_block_on(self) -> None:
        """
        Not from where the object was made. It may be used again, but for one block at a time.
        """
        bound = deadline(5)
        for _ in range(2):
            with bound:
                assert deadline.remaining() == 5.0
                with pytest.raises(RuntimeError, match="in use for another block"):
                    bound.__enter__()
                assert bound.remaining() == 5.0

    def test_of_a_block_that_a_signal_keeps_from_beginning(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Is not left behind: there will be no end of the block.
        """

        def interrupt() -> float:
            raise KeyboardInterrupt("Ctrl-C")

        bound = deadline(5)
        with monkeypatch.context() as patch:
            patch.setattr(_clock, "monotonic", interrupt)
            with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
                bound.__enter__()
        assert deadline.remaining() == math.inf
        with bound:
            assert deadline.remaining() <= 5.0

    @pytest.mark.parametrize("is_stacked", [False, True])
    def test_of_a_block_whose_end_a_signal_interrupts(
        self, clock: FakeClock, *, is_stacked: bool
    ) -> None:
        """
        Is over, wherever that comes: later waits of the thread are bounded by nothing.
        """

        def block() -> None:
            with ExitStack() if is_stacked else deadline(5) as stack:
                if is_stacked:
                    stack.enter_context(deadline(5))
                assert deadline.remaining() == 5.0
                clock.now += 0.0

        def interrupt() -> None:
            raise KeyboardInterrupt("Ctrl-C")

        for at in itertools.count():
            steps = Steps(at, interrupt, os.path.dirname(__file__), is_signal=True)
            with suppress(KeyboardInterrupt):
                steps.run(block)
            assert deadline.remaining() == math.inf, f"after an interruption at step {at}"
            if not steps.is_over:
                break
        assert at >= 3

    def test_of_a_block_that_nobody_can_end(self) -> None:
        """
        As by an ExitStack that a signal interrupts before it has put it on its list.
        """
        block = deadline(5)
        block.__enter__()
        assert deadline.remaining() < math.inf
        del block
        assert deadline.remaining() == math.inf

    @pytest.mark.usefixtures("clock")
    def test_of_a_task_that_runs_on_after_the_block(self) -> None:
        """
        Is over there, too, also when the same object bounds another block.
        """

        async def main() -> None:
            begun = asyncio.Event()
            seen: list[float] = []

            async def look() -> None:
                seen.append(deadline.remaining())
                await begun.wait()
                seen.append(deadline.remaining())

            bound = deadline(5)
            with bound:
                task = asyncio.create_task(look())
                await asyncio.sleep(0)
            with bound:
                begun.set()
                await task
            assert seen == [5.0, math.inf]

        asyncio.run(main())

    @pytest.mark.usefixtures("clock")
    def test_of_a_generator_that_ends_in_another_context(self) -> None:
        """
        As those of pytest's fixtures do.
        """

        def block() -> Iterator[float]:
            with deadline(5):
                yield deadline.remaining()

        asyncio.run(_exhaust(block()))

    @pytest.mark.parametrize(("timeout", "error"), [("5", TypeError), (math.nan, ValueError)])
    def test_of_no_number(self, timeout: Any, error: type[Exception]) -> None:
        """
        Is refused where it is written.
        """
        with pytest.raises(error, match="timeout"):
            deadline(timeout)


async def _exhaust(values: Iterator[float]) -> None:
    async def first() -> float:
        return next(values)

    assert await asyncio.create_task(first()) == 5.0
    assert next(values, None) is None
    assert deadline.remaining() == math.inf


class TestWaits:
    """
    Inside the block.
    """

    def test_end_with_it(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        If that is earlier than their own timeout. The operation is cancelled, and the cleanup's
        time comes on top.
        """
        told: list[object] = []
        waiter = waits(lambda timeout: stepped.reactor.turn())
        expected = (
            r"has not answered in 2 s, all that deadline\(\) left it; its Deferred was cancelled"
        )
        with deadline(2), pytest.raises(TimeoutError, match=expected) as caught:
            stepped.wait_for(5)(Deferred)(told.append)
        assert caught.value.timeout == 2.0
        assert len(told) == 1
        assert waiter.waits == pytest.approx([2.0, 0.02])

    def test_end_with_their_own_timeout(
        self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]
    ) -> None:
        """
        If that is earlier.
        """
        waiter = waits(lambda timeout: stepped.reactor.turn())
        with deadline(5), pytest.raises(TimeoutError, match=r"has not answered in 2 s; its Def"):
            stepped.wait_for(2)(Deferred)()
        assert waiter.waits == pytest.approx([2.0, 0.02])

    def test_share_the_time(self, stepped: FakeProcess, waits: Callable[..., FakeWaiter]) -> None:
        """
        What one has used the next has no longer.
        """
        result = stepped.run_in_reactor(lambda: 7)()
        waiters = [waits()]
        with deadline(5):
            with pytest.raises(TimeoutError, match=r"has not answered in 3 s\. "):
                result.wait(3)
            waiters.append(waits())
            with pytest.raises(TimeoutError, match=r"in 2 s, all that deadline\(\) left it"):
                result.wait(3)
            waiters.append(waits())
            with pytest.raises(TimeoutError, match=r"in 0 s, all that deadline\(\) left it"):
                result.wait()
        assert [waiter.waits for waiter in waiters] == [[3.0], [2.0], []]

    @pytest.mark.parametrize("timeout", [0, 5, None])
    def test_past_it_are_not_begun(
        self, stepped: FakeProcess, waits: Any, clock: FakeClock, timeout: Any
    ) -> None:
        """
        Nothing is queued.
        """
        ran: list[int] = []
        waiter = waits()
        with deadline(2):
            clock.now = 3.5
            expected = r"append\(\) was not started\. The deadline\(\) .* ended 1\.5 s ago"
            with pytest.raises(TimeoutError, match=expected) as caught:
                stepped.wait_for(timeout)(ran.append)(1)
        assert (caught.value.state, caught.value.ended) == ("past-deadline", True)
        assert waiter.waits == []
        stepped.reactor.turn()
        assert ran == []

    def test_of_results_that_are_there(self, stepped: FakeProcess, clock: FakeClock) -> None:
        """
        Take no time, and so have their value.
        """
        result = stepped.run_in_reactor(lambda: 7)()
        stepped.reactor.turn()
        with deadline(0):
            assert result.wait() == 7

    def test_in_another_thread_are_not_bound(self, clock: FakeClock) -> None:
        """
        Unless it is given the context.
        """
        seen: list[float] = []
        with deadline(5):
            thread = threading.Thread(target=lambda: seen.append(deadline.remaining()))
            thread.start()
            thread.join()
        assert seen == [math.inf]


class TestBodies:
    """
    Of calls made inside the block.
    """

    def test_see_it_for_their_whole_life(self, stepped: FakeProcess, clock: FakeClock) -> None:
        """
        Also when the block has been left.
        """
        seen: list[float] = []
        step: Deferred[None] = Deferred()

        async def body() -> None:
            seen.append(deadline.remaining())
            await step
            seen.append(deadline.remaining())

        with deadline(5):
            stepped.run_in_reactor(body)()
        clock.now = 1.0
        stepped.reactor.turn()
        clock.now = 2.0
        step.callback(None)
        assert seen == [4.0, 3.0]

    def test_hand_it_on_to_the_calls_they_make(self, running: FakeProcess) -> None:
        """
        From a thread that they run code in, with their context.
        """
        left: list[float] = []

        async def body() -> list[float]:
            inner = running.run_in_reactor(lambda: left.append(deadline.remaining()))()
            done: Deferred[list[float]] = Deferred()
            inner.add_done_callback(lambda result: done.callback(left))
            return await done

        with deadline(1000):
            running.wait_for(30)(body)()
        assert 900 < left[0] <= 1000


class TestAwaits:
    """
    Of results, inside the block, in each kind of loop.
    """

    def test_in_asyncio(self, running: FakeProcess) -> None:
        """
        End with it, and cancel the operation.
        """
        asyncio.run(_await_in_vain(running))

    def test_in_trio(self, running: FakeProcess) -> None:
        """
        In whose loop it is trio's own clock that ends it.
        """
        import trio

        trio.run(_await_in_vain, running)

    def test_in_the_reactor_thread(self) -> None:
        """
        Of the process's own reactor: end with it, in a coroutine that Twisted drives.
        """
        program = """
            import threading
            import crochet
            from twisted.internet.defer import Deferred

            crochet.setup()
            told = threading.Event()

            @crochet.run_in_reactor
            def never():
                return Deferred(lambda it: told.set())

            @crochet.wait_for(timeout=60)
            async def body():
                with crochet.deadline(0.5):
                    try:
                        await never()
                    except crochet.TimeoutError as error:
                        return str(error)

            print(body(), told.wait(60))
        """
        finished = run_python(program)
        assert "never() has not answered in 0." in finished.stdout
        assert "all that deadline() left it; it was told to cancel" in finished.stdout
        assert finished.stdout.endswith(" True\n")

    def test_that_are_answered_in_time(self, running: FakeProcess) -> None:
        """
        Leave no timer behind, and end as ever.
        """

        async def main() -> None:
            with deadline(1000):
                assert await running.run_in_reactor(lambda: 7)() == 7

        import trio

        asyncio.run(main())
        trio.run(main)


async def _await_in_vain(process: FakeProcess) -> None:
    told: list[object] = []
    result = process.run_in_reactor(lambda: Deferred(told.append))()
    expected = r"all that deadline\(\) left it; it was told to cancel but has not ended yet"
    with deadline(0.01), pytest.raises(TimeoutError, match=expected):
        await result
    with pytest.raises(CancelledError):
        result.wait(BOUND)
    assert len(told) == 1
