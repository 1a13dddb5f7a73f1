"""
Progress: what an operation reports, and who sees it.
"""

from __future__ import annotations

import asyncio
import gc
import io
import math
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks

import crochet
from crochet import DeadlockError, Progress, ReactorStopped, TimeoutError
from crochet._core.call import Call
from crochet._core.progress import INTERVAL, display, progress_of
from crochet._core.result import call_of
from crochet._core.run_in_caller import run_in_caller
from crochet._streams import progress as _progress
from crochet._streams.context import Contexting
from crochet._streams.progress import progress_bar, report
from support.programs import run_python
from support.stepping import BOUND, Background, FakeClock, wait_until

with suppress(ImportError):
    from tqdm import tqdm

    tqdm.get_lock()  # from Python 3.14 on it opens a pipe, for all of the process


class Job:
    """
    An operation that reports and goes on when it is told to, in the reactor thread.
    """

    def __init__(self, process: Any) -> None:
        self._process = process
        self.steps: Any = []
        self.is_cancelled = False

    async def run(self) -> object:
        """
        Do what the steps say: report, or answer.
        """
        while True:
            step: Deferred[Any] = Deferred(self._cancelled)
            self.steps.append(step)
            given = await step
            if not isinstance(given, tuple):
                return given
            report(self._process.bridge, *given)

    def _cancelled(self, step: object) -> None:
        self.is_cancelled = True

    def go(self, given: object) -> None:
        """
        Have it take a step, and wait until it is at the next, or has answered.
        """
        wait_until(lambda: bool(self.steps), "the job's next step")
        self._process.wait_for(BOUND)(self.steps.pop().callback)(given)


@pytest.fixture
def job(either: Any) -> Job:
    """
    One in a process with a reactor of either kind.
    """
    return Job(either)


class TestReporting:
    """
    ``report_progress()``, and what ``result.progress`` makes of it.
    """

    def test_is_found_in_a_coroutine_for_its_life(self, either: Any, job: Job) -> None:
        """
        None before the first; the last stays when the answer is there.
        """
        result = either.run_in_reactor(job.run)()
        assert result.progress is None
        job.go((1, 4, "one"))
        assert result.progress[:4] == (1, 4, "one", 0.25)
        job.go((4, 4, None))
        job.go("answer")
        assert result.wait(BOUND) == "answer"
        assert result.progress[:4] == (4, 4, None, 1.0)

    def test_is_found_in_each_kind_of_body(self, either: Any) -> None:
        """
        Plain ones, and generators that Twisted resumes.
        """

        def plain() -> None:
            report(either.bridge, 1, None, None)

        @inlineCallbacks
        def resumed() -> Any:
            turn: Deferred[None] = Deferred()
            either.reactor.callLater(0, turn.callback, None)
            yield turn
            report(either.bridge, 2, None, None)

        for number, body in enumerate((plain, resumed), 1):
            result = either.run_in_reactor(body)()
            result.wait(BOUND)
            assert result.progress == Progress(number)

    def test_is_found_where_the_context_goes(self, either: Any) -> None:
        """
        In a thread, of a plain function that has reported once, too.
        """

        def in_a_thread() -> Deferred[None]:
            done: Deferred[None] = Deferred()
            context = copy_context()

            def work() -> None:
                context.run(report, either.bridge, 1, 2, None)
                either.reactor.callFromThread(done.callback, None)

            threads.append(Background(work))
            return done

        def plain() -> Deferred[None]:
            report(either.bridge, 0, 2, None)
            return in_a_thread()

        async def awaiting() -> None:
            await in_a_thread()

        threads: list[Background[None]] = []
        for body in (plain, awaiting):
            result = either.run_in_reactor(body)()
            result.wait(BOUND)
            assert result.progress.done == 1
        for thread in threads:
            thread.outcome()

    def test_is_of_the_innermost_operation(self, either: Any) -> None:
        """
        What an operation starts has a progress of its own.
        """

        def inner() -> None:
            report(either.bridge, 1, None, None)

        async def outer() -> Any:
            report(either.bridge, 7, None, None)
            return either.run_in_reactor(inner)()

        result = either.run_in_reactor(outer)()
        started = result.wait(BOUND)
        started.wait(BOUND)
        assert (result.progress.done, started.progress.done) == (7, 1)

    def test_outside_an_operation_does_nothing(self, either: Any, job: Job) -> None:
        """
        Also in another thread while a body is on the reactor thread's stack; and in a callback.
        """
        entered, leave = threading.Event(), threading.Event()

        def body() -> None:
            entered.set()
            assert leave.wait(BOUND)

        result = either.run_in_reactor(body)()
        assert entered.wait(BOUND)
        report(either.bridge, 1, None, None)
        leave.set()
        result.wait(BOUND)
        assert result.progress is None
        called: Deferred[None] = Deferred()
        either.reactor.callFromThread(
            lambda: (report(either.bridge, 1, None, None), called.callback(None))
        )
        either.wait_for(BOUND)(lambda: called)()

    def test_in_a_stream(self, either: Any) -> None:
        """
        It is the stream's, in what a timeout says.
        """

        @either.iterate(0.05)
        async def body() -> Any:
            report(either.bridge, 1, 2, None)
            yield 1
            report(either.bridge, 2, 4, None)
            await Deferred()

        stream = body()
        assert next(stream) == 1
        with pytest.raises(TimeoutError, match=r"It had reported 2 of 4 \(50%\)"):
            next(stream)

    @pytest.mark.parametrize(
        "given", [(-1, None, None), (1, -1, None), (math.nan, 1, None), (1, math.nan, None)]
    )
    def test_refuses_numbers_below_zero(self, either: Any, given: Any) -> None:
        """
        Where they come from.
        """
        with pytest.raises(ValueError, match="give numbers from 0 up"):
            either.wait_for(BOUND)(report)(either.bridge, *given)
        with pytest.raises(TypeError, match="give numbers, or None for no total"):
            either.wait_for(BOUND)(report)(either.bridge, "1", None, None)

    def test_takes_eight_bytes_of_a_pending_call(self) -> None:
        """
        One slot.
        """
        assert [name for name in Call.__slots__ if "report" in name] == ["reported"]


class TestMeaning:
    """
    ``Progress``.
    """

    def test_of_rate_and_time_left(self, monkeypatch: pytest.MonkeyPatch, either: Any) -> None:
        """
        Since the first report, or since less was done than before.
        """
        clock = FakeClock()
        monkeypatch.setattr(_progress, "clock", SimpleNamespace(monotonic=clock))
        seen: list[Progress] = []

        def body() -> None:
            call = either.bridge.body_of
            for at, done in ((0.0, 50), (2.0, 60), (5.0, 100), (6.0, 0), (8.0, 20)):
                clock.now = at
                report(either.bridge, done, 100, None)
                progress = progress_of(call.reported)
                assert progress is not None
                seen.append(progress)

        either.wait_for(BOUND)(body)()
        assert [each.rate for each in seen] == [None, 5.0, 10.0, None, 10.0]
        assert [each.eta for each in seen] == [None, 8.0, 0.0, None, 8.0]

    def test_of_odd_numbers(self) -> None:
        """
        No total, a total of nothing, and more done than there is to do.
        """
        for done, total, fraction in ((1, None, None), (1, 0, None), (3, 2, 1.0)):
            progress = progress_of((done, total, None, 1.0, 0, 0.0))
            assert progress is not None
            assert progress.fraction == fraction
            assert progress.rate == done

    def test_in_words(self) -> None:
        """
        As they stand in texts.
        """
        assert str(Progress(1500)) == "1,500"
        assert str(Progress(30, 120, "rows", 0.25)) == "30 of 120 (25%)"


class TestWatching:
    """
    ``result.watch()``.
    """

    def test_yields_what_is_new_until_the_answer(self, either: Any, job: Job) -> None:
        """
        The last one though the answer came with it; an error is no concern of it.
        """
        result = either.run_in_reactor(job.run)()
        snapshots = result.watch(0.001)
        for done in (1, 2):
            job.go((done, None, None))
            assert next(snapshots).done == done
        job.go((3, None, None))
        job.go("answer")
        assert [each.done for each in snapshots] == [3]
        assert [each.done for each in result.watch()] == [3]

    def test_blocks_until_there_is_something_new(self, either: Any, job: Job) -> None:
        """
        A thread that waits there is seen to wait, and is released by the answer.
        """
        result = either.run_in_reactor(job.run)()
        waiting = Background(next, result.watch(1000), None)
        wait_until(lambda: bool(either.bridge.waits), "the wait")
        job.go("answer")
        assert waiting.outcome() is None
        assert not either.bridge.waits

    def test_skips_what_is_old(self, either: Any, job: Job) -> None:
        """
        Who looks late sees the newest only.
        """
        result = either.run_in_reactor(job.run)()
        for done in range(5):
            job.go((done, None, None))
        assert next(result.watch()).done == 4
        result.cancel()

    def test_beats(self, either: Any, job: Job) -> None:
        """
        With nothing done before the first report, and with the last one after it.
        """
        result = either.run_in_reactor(job.run)()
        snapshots = result.watch(0.001, heartbeat=0.001)
        assert [next(snapshots), next(snapshots)] == [Progress(), Progress()]
        job.go((1, None, None))
        seen = [next(snapshots) for _ in range(10)]
        assert seen[-2:] == [Progress(1), Progress(1)]
        job.go("answer")
        list(snapshots)

    def test_ends_by_a_deadline_and_leaves_the_operation(self, either: Any, job: Job) -> None:
        """
        With a TimeoutError that tells how far it is.
        """
        result = either.run_in_reactor(job.run)()
        job.go((1, 4, "secret"))
        snapshots = result.watch()
        assert next(snapshots).message == "secret"
        with crochet.deadline(0.01), pytest.raises(TimeoutError, match=r"deadline\(\)") as caught:
            next(snapshots)
        assert "It had reported 1 of 4 (25%)" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert not job.is_cancelled
        job.go("answer")
        assert result.wait(BOUND) == "answer"

    def test_is_not_for_the_reactor_thread(self, either: Any, job: Job) -> None:
        """
        It would wait for itself.
        """
        result = either.run_in_reactor(job.run)()
        with pytest.raises(DeadlockError):
            either.wait_for(BOUND)(lambda: next(result.watch()))()
        job.go("answer")

    def test_ends_with_the_reactor(self, own: Any) -> None:
        """
        At once; wait() says why.
        """
        result = own.run_in_reactor(Job(own).run)()
        waiting = Background(list, result.watch())
        wait_until(lambda: bool(own.bridge.waits), "the wait")
        own.loop.shutdown()
        assert waiting.outcome() == []
        with pytest.raises(ReactorStopped):
            result.wait(BOUND)

    def test_leaves_nothing_behind(self, either: Any, job: Job) -> None:
        """
        Whether it is dropped halfway or ends.
        """
        result = either.run_in_reactor(job.run)()
        job.go((1, None, None))
        snapshots = result.watch()
        next(snapshots)
        del snapshots
        gc.collect()
        assert not result._call.callbacks
        job.go("answer")

    def test_refuses_no_time(self, either: Any, job: Job) -> None:
        """
        At once, not at the first item.
        """
        result = either.run_in_reactor(job.run)()
        for given in ((0,), (-1,), (1, 0)):
            with pytest.raises(ValueError, match="give seconds above zero"):
                result.watch(*given)
        job.go("answer")


class TestWaiting:
    """
    ``wait(progress=...)`` and ``with_progress()``.
    """

    def waits(self, either: Any, job: Job, form: str, show: Any) -> Any:
        """
        Return what waits for the job, in one of two ways.
        """
        if form == "wait":
            result = either.run_in_reactor(job.run)()
            return lambda: result.wait(BOUND, progress=show)
        return either.wait_for(BOUND)(job.run).with_progress(show)

    @pytest.mark.parametrize("form", ["wait", "with_progress"])
    def test_calls_the_function_in_the_waiting_thread(
        self, either: Any, job: Job, form: str
    ) -> None:
        """
        Each that is seen, and the last; then the answer is returned.
        """
        seen: list[tuple[float, int]] = []

        def show(progress: Progress) -> None:
            seen.append((progress.done, threading.get_ident()))

        waiting = Background(self.waits(either, job, form, show))
        job.go((1, None, None))
        wait_until(lambda: bool(seen), "the first report")
        job.go((2, None, None))
        job.go((3, None, None))
        job.go("answer")
        assert waiting.outcome() == "answer"
        assert seen[0][0] == 1
        assert seen[-1][0] == 3
        assert {ident for _, ident in seen} == {waiting.thread.ident}
        assert not either.bridge.waits

    @pytest.mark.parametrize("form", ["wait", "with_progress"])
    def test_what_it_raises_ends_the_wait(self, either: Any, job: Job, form: str) -> None:
        """
        As any exception does: ``wait_for`` cancels the operation, a result's leaves it.
        """

        def show(progress: Progress) -> None:
            raise KeyError("of the bar")

        waiting = Background(self.waits(either, job, form, show))
        job.go((1, None, None))
        with pytest.raises(KeyError, match="of the bar"):
            waiting.outcome()
        if form == "with_progress":  # a busy machine's reactor comes to it later
            wait_until(lambda: job.is_cancelled, "the cancellation")
        assert job.is_cancelled is (form == "with_progress")
        assert not either.bridge.waits
        if not job.is_cancelled:
            job.go("answer")

    def test_tells_of_what_has_ended(self, either: Any) -> None:
        """
        An operation that is over before anybody looks has its last report told, once.
        """

        def body() -> str:
            report(either.bridge, 5, 5, None)
            return "answer"

        seen: list[float] = []
        result = either.run_in_reactor(body)()
        result.wait(BOUND)
        assert result.wait(0, progress=lambda each: seen.append(each.done)) == "answer"
        follow = either.wait_for(BOUND)(body).with_progress(lambda each: seen.append(each.done))
        assert follow() == "answer"
        assert seen == [5, 5]

    def test_of_a_method_with_a_timeout(self, either: Any) -> None:
        """
        In either order.
        """

        class Client:
            @either.wait_for(BOUND)
            async def fetch(self, number: int) -> int:
                report(either.bridge, number, None, None)
                return number

        seen: list[Progress] = []
        fetch = Client().fetch
        assert fetch.with_progress(seen.append).with_timeout(BOUND - 1)(1) == 1
        assert fetch.with_timeout(BOUND - 1).with_progress(seen.append)(2) == 2
        assert seen == [Progress(1), Progress(2)]
        with pytest.raises(TypeError, match="takes a function, not 7"):
            fetch.with_progress(7)

    def test_a_body_reaches_its_caller_meanwhile(self, either: Any) -> None:
        """
        As in any wait.
        """

        async def body() -> Any:
            for number in range(50):
                report(either.bridge, number, None, None)
                assert await run_in_caller(either.bridge, threading.get_ident) == caller

        caller = threading.get_ident()
        either.wait_for(BOUND)(body).with_progress(lambda each: None)()

    def test_a_timeout_says_how_far_it_was(self, either: Any, job: Job) -> None:
        """
        And so does status().
        """
        waiting = Background(either.wait_for(0.5)(job.run))
        job.go((1, 4, None))
        (call,) = either.loop.status().calls
        assert call.details == "has reported 1 of 4 (25%)"
        with pytest.raises(TimeoutError, match=r"It had reported 1 of 4 \(25%\), [\d.]+ s before"):
            waiting.outcome()


class TestStreams:
    """
    What a stream's body reports, and a context's.
    """

    def test_is_told_while_an_item_is_waited_for(self, either: Any) -> None:
        """
        In the thread that waits, with the last before the end; ``stream.progress`` has it, too.
        """
        told: list[tuple[int, Any]] = []

        async def body() -> AsyncIterator[int]:
            report(either.bridge, 1, 2, None)
            yield 1
            waited: Deferred[None] = Deferred()
            either.reactor.callLater(0.01, waited.callback, None)
            await waited
            report(either.bridge, 2, 2, None)

        def tell(progress: Progress) -> None:
            told.append((threading.get_ident(), (progress.done, progress.total)))

        stream = either.iterate(BOUND)(body).with_progress(tell)()
        assert stream.progress is None
        assert next(stream) == 1
        assert list(stream) == []
        assert told[-1] == (threading.get_ident(), (2, 2))
        assert stream.progress[:4] == (2, 2, None, 1.0)

    def test_what_is_raised_there_closes_the_stream(self, either: Any) -> None:
        """
        As what ends any wait does.
        """
        ended: list[str] = []

        async def body() -> AsyncIterator[int]:
            try:
                report(either.bridge, 1, None, None)
                await Deferred()
                yield 1
            finally:
                ended.append("finally")

        def tell(progress: Progress) -> None:
            raise KeyError(progress.done)

        with pytest.raises(KeyError, match="1"):
            next(either.iterate(BOUND)(body).with_progress(tell)())
        wait_until(lambda: ended == ["finally"], "the body goes on")

    def test_of_a_method_and_of_a_context(self, either: Any) -> None:
        """
        As for functions; and only a function will do.
        """
        told: list[float] = []

        class Client:
            @either.iterate(BOUND)
            async def items(self) -> AsyncIterator[int]:
                report(either.bridge, 1, None, None)
                waited: Deferred[None] = Deferred()
                either.reactor.callLater(0.01, waited.callback, None)
                await waited
                yield 1

            @Contexting(either.bridge).context_in_reactor(BOUND)
            @asynccontextmanager
            async def entered(self) -> AsyncIterator[int]:
                report(either.bridge, 2, None, None)
                waited: Deferred[None] = Deferred()
                either.reactor.callLater(0.2, waited.callback, None)
                await waited
                yield 2

        def tell(progress: Progress) -> None:
            told.append(progress.done)

        client: Any = Client()
        assert list(client.items.with_progress(tell)()) == [1]
        with client.entered.with_progress(tell)() as value:
            assert value == 2
        assert told == [1, 2]
        with pytest.raises(TypeError, match="takes a function, not 7"):
            client.items.with_progress(7)


class TestBar:
    """
    ``progress_bar()``.
    """

    @pytest.fixture(autouse=True)
    def tqdm(self) -> Any:
        """
        It needs an extra's package.
        """
        return pytest.importorskip("tqdm")

    def test_writes_lines_where_there_is_no_terminal(
        self, either: Any, job: Job, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The first and the last, and some in between.
        """
        file = io.StringIO()

        def wait() -> object:
            with progress_bar(file):
                return either.run_in_reactor(job.run)().wait(BOUND)

        waiting = Background(wait)
        job.go((1, 4, "rows"))
        wait_until(lambda: bool(file.getvalue()), "the first line")
        job.go((2, 4, "rows"))
        job.go((4, 4, "rows"))
        job.go("answer")
        assert waiting.outcome() == "answer"
        first, last = file.getvalue().splitlines()
        assert first == "Job.run() 1 of 4 (25%): rows"
        assert last == "Job.run() 4 of 4 (100%), 0 s left: rows"

    def test_draws_a_bar_in_a_terminal(self, either: Any, job: Job) -> None:
        """
        Of tqdm's, without a thread of its own.
        """

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        file, threads = Terminal(), threading.active_count()

        def wait() -> object:
            with progress_bar(file):
                return either.wait_for(BOUND)(job.run)()

        waiting = Background(wait)
        job.go((1, 4, "rows"))
        wait_until(lambda: "25%" in file.getvalue(), "the bar")
        assert threading.active_count() == threads + 1
        job.go((4, 4, "rows"))
        job.go("answer")
        assert waiting.outcome() == "answer"
        assert "Job.run: 100%" in file.getvalue()
        assert "4/4" in file.getvalue()
        assert file.getvalue().endswith("\n")

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_shows_what_is_awaited(self, either: Any, loop: str) -> None:
        """
        As in a notebook's cell, in whatever loop; several at once, each by its own line or bar. It
        leaves nothing with the call for each look.
        """
        trio: Any = pytest.importorskip("trio")
        file = io.StringIO()
        callbacks: list[int] = []

        async def first() -> str:
            report(either.bridge, 1, 2, None)
            await never_yet["first"]
            report(either.bridge, 2, 2, None)
            return "one"

        async def second() -> str:
            report(either.bridge, 5, 9, None)
            await never_yet["second"]
            return "two"

        never_yet: dict[str, Deferred[None]] = {"first": Deferred(), "second": Deferred()}
        results = [either.run_in_reactor(each)() for each in (first, second)]

        def go_on() -> None:
            # A line of each is there, and there were some looks.
            wait_until(lambda: file.getvalue().count("\n") == 2, "the lines")
            callbacks.extend(len(call_of(result).callbacks) for result in results)
            for name in never_yet:
                either.reactor.callFromThread(never_yet[name].callback, None)

        async def take(result: Any, into: list[str]) -> None:
            into.append(await result)

        async def cell() -> list[str]:
            into: list[str] = []
            with progress_bar(file):
                if loop == "asyncio":
                    await asyncio.gather(*(take(each, into) for each in results))
                else:
                    async with trio.open_nursery() as nursery:
                        for each in results:
                            nursery.start_soon(take, each, into)
            return into

        going = Background(go_on)
        into = asyncio.run(cell()) if loop == "asyncio" else trio.run(cell)
        going.outcome()
        assert sorted(into) == ["one", "two"]
        lines = file.getvalue().splitlines()
        assert sorted(lines[:2]) == ["first() 1 of 2 (50%)", "second() 5 of 9 (56%)"]
        assert lines[2].startswith("first() 2 of 2 (100%)")
        assert len(lines) == 3
        assert max(callbacks) <= 1

    def test_of_what_is_awaited_is_over_with_its_block(self, either: Any, job: Job) -> None:
        """
        A task that goes on after it shows nothing more, and an await of short time shows nothing.
        """
        file = io.StringIO()

        async def cell() -> None:
            with progress_bar(file):
                assert await either.run_in_reactor(int)() == 0
                task = asyncio.ensure_future(take(either.run_in_reactor(job.run)()))
                await asyncio.to_thread(job.go, (1, 2, None))
                await asyncio.to_thread(wait_until, lambda: bool(file.getvalue()), "a line")
            await asyncio.to_thread(job.go, (2, 2, None))
            await asyncio.sleep(2.5 * INTERVAL)
            await asyncio.to_thread(job.go, "done")
            assert await task == "done"

        async def take(result: Any) -> Any:
            return await result

        asyncio.run(cell())
        assert file.getvalue() == "Job.run() 1 of 2 (50%)\n"

    def test_is_over_with_its_block(self, either: Any) -> None:
        """
        However that ends; and is no other thread's.
        """

        def fail() -> None:
            with progress_bar(io.StringIO()):
                begin = display.get()
                assert begin is not None
                assert Background(begin, "other").outcome() is None
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert display.get() is None

    def test_needs_tqdm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        And says where it is to be had.
        """
        monkeypatch.setitem(sys.modules, "tqdm.std", None)
        with pytest.raises(ImportError, match=r"install crochet\[progress\]"), progress_bar(None):
            pass


def test_the_public_functions() -> None:
    """
    With the process's own reactor, and lines on stderr.
    """
    pytest.importorskip("tqdm")
    finished = run_python(
        """
        import sys
        import crochet

        crochet.setup(reactor="select")

        @crochet.wait_for(30)
        def work():
            crochet.report_progress(3, 4, "rows")
            crochet.run_in_caller(lambda: None).addErrback(lambda failure: None)
            return crochet.run_in_caller(lambda: "answer")

        crochet.report_progress(1)
        seen = []
        print(work.with_progress(seen.append)(), seen)
        with crochet.progress_bar(sys.stdout):
            print(work())
        """
    )
    assert finished.stdout.splitlines()[0] == (
        "answer [Progress(done=3, total=4, message='rows', fraction=0.75, rate=None, eta=None)]"
    )
    assert finished.stderr == ""


def test_ctrl_c_ends_a_watch_and_leaves_the_operation() -> None:
    """
    At once, though the next look would be in an hour; likewise a wait with a function.
    """
    finished = run_python(
        """
        import os, signal, threading
        import crochet
        from twisted.internet.defer import Deferred

        crochet.setup(reactor="select")
        bridge = crochet._event_loop.bridge
        operation = Deferred()
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def interrupt():
            while not bridge.waits:
                pass
            os.kill(os.getpid(), signal.SIGINT)

        result = crochet.run_in_reactor(lambda: operation)()
        for wait in (lambda: next(result.watch(3600)), lambda: result.wait(progress=print)):
            threading.Thread(target=interrupt).start()
            try:
                wait()
            except KeyboardInterrupt:
                print("interrupted", result.done(), bridge.waits, result._call.callbacks)
        crochet.run_in_reactor(lambda: operation.callback("answer"))()
        print(result.wait(30))
        """
    )
    assert finished == (0, "interrupted False {} {}\n" * 2 + "answer\n", "")
