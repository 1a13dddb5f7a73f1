"""
A daemon thread with an inbox.

Its threads are fake where an interleaving is stepped: they run when the test says so, and find no
time to wait for more work.
"""

from __future__ import annotations

import threading
import weakref
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from crochet._threads import worker as _worker
from crochet._threads.threads import start_thread
from crochet._threads.worker import Worker
from support.process import FakeThreads, LoggedFailures
from support.programs import run_python
from support.stepping import BOUND, Background, wait_until


def _at_once(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    function(*args)


class _Stepped:
    """
    A worker whose threads are fake, and what it has done.
    """

    def __init__(self, begin: Callable[..., object] = _at_once) -> None:
        self.done: list[object] = []
        self.threads = FakeThreads()
        self.meanwhile: dict[object, Callable[[], object]] = {}
        self.worker: Worker[object] = Worker(
            self.threads, "worker", self._work, self._look, lingers=0.0, begin=begin
        )
        self.is_needed: list[bool] = []

    def _work(self, item: object) -> None:
        self.done.append(item)
        self.meanwhile.pop(item, int)()

    def _look(self) -> float | None:
        return 0.0 if self.is_needed and self.is_needed.pop() else None

    def run(self, number: int) -> None:
        self.threads.started[number].run()


@pytest.fixture
def worker() -> _Stepped:
    """
    A worker whose threads run when they are told to.
    """
    return _Stepped()


class TestReal:
    """
    A worker with a real thread.
    """

    def test_works_in_order_in_one_thread(self) -> None:
        """
        A daemon of that name, which has ended when it has been stopped.
        """
        done: list[tuple[int, threading.Thread]] = []
        worker: Worker[int] = Worker(
            start_thread,
            "worker",
            lambda item: done.append((item, threading.current_thread())),
            lingers=1.0,
        )
        for number in range(100):
            worker.post(number)
        assert worker.stop(BOUND)
        assert [number for number, _ in done] == list(range(100))
        (thread,) = {thread for _, thread in done}
        assert (thread.name, thread.daemon, thread.is_alive()) == ("worker", True, False)
        assert worker.stop(BOUND)

    def test_ends_when_it_is_idle(self) -> None:
        """
        And starts again.
        """
        threads: list[threading.Thread] = []
        worker: Worker[None] = Worker(
            start_thread,
            "worker",
            lambda item: threads.append(threading.current_thread()),
            lingers=0.0,
        )
        for number in range(2):
            worker.post(None)
            wait_until(lambda number=number: len(threads) > number, "it does nothing")  # type: ignore[misc]
            threads[-1].join(BOUND)
            assert not threads[-1].is_alive()
        assert threads[0] is not threads[1]

    def test_poster_does_not_wait_for_the_thread_to_start(self) -> None:
        """
        However long that takes.
        """
        may_start = allocate_lock()
        may_start.acquire()
        done: list[int] = []

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            may_start.acquire(True, BOUND)
            return start_thread(target, name)

        worker: Worker[int] = Worker(start, "worker", done.append, lingers=1.0)
        for number in range(3):
            worker.post(number)
        assert done == []
        may_start.release()
        assert worker.stop(BOUND)
        assert done == [0, 1, 2]

    def test_stop_is_bounded(self) -> None:
        """
        By an item that takes longer, or by being asked for by an item.
        """
        is_over = threading.Event()
        stopped: list[bool] = []

        def work(item: int) -> None:
            stopped.append(worker.stop(2 * BOUND))
            is_over.wait(BOUND)

        worker: Worker[int] = Worker(start_thread, "worker", work, lingers=1.0)
        worker.post(1)
        wait_until(lambda: bool(stopped), "it does nothing")
        assert stopped == [False]
        assert not worker.stop(0.01)
        is_over.set()
        assert worker.stop(BOUND)

    def test_stop_waits_for_the_thread_that_starts_it(self) -> None:
        """
        Which `threading` does not know: a subinterpreter cannot end before all threads have.
        """
        may_end = threading.Event()
        done: list[int] = []

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            thread = start_thread(target, name)
            may_end.wait(BOUND)
            return thread

        worker: Worker[int] = Worker(start, "worker", done.append, lingers=1.0)
        worker.post(1)
        wait_until(lambda: done == [1], "it does nothing")
        assert not worker.stop(0.01)
        may_end.set()
        assert worker.stop(BOUND)

    def test_is_forgotten_in_a_forked_child(self) -> None:
        """
        With its items. The child's own are done.
        """
        worker: Worker[int] = Worker(
            FakeThreads(), "worker", int, lingers=1.0, begin=lambda *args: None
        )
        worker.post(1)
        worker.after_fork_in_child()
        assert worker.stop(0.0)
        done: list[int] = []
        worker._start_thread, worker._begin, worker._work = start_thread, _at_once, done.append
        worker.post(2)
        assert worker.stop(BOUND)
        assert done == [2]


class TestForked:
    """
    In a forked child.
    """

    def test_keeps_what_the_parents_threads_wait_at(self) -> None:
        """
        Or another queue might get its address.
        """
        worker: Worker[int] = Worker(start_thread, "worker", print, lingers=0)
        inbox = weakref.ref(worker._inbox)
        worker.after_fork_in_child()
        assert worker._inbox is not inbox()
        del worker
        assert inbox() is not None


class TestStepped:
    """
    Interleavings of those who post and the threads that come.
    """

    def test_starts_another_thread_after_the_last_has_ended(self, worker: _Stepped) -> None:
        """
        And not before.
        """
        worker.meanwhile = {number: lambda: worker.worker.post("more") for number in range(3)}
        for number in range(3):
            worker.worker.post(number)
            assert len(worker.threads.started) == number + 1
            worker.run(number)
        assert worker.done == [0, "more", 1, "more", 2, "more"]

    def test_two_find_nobody_at_the_inbox(self) -> None:
        """
        1. A poster has found nobody. 2. Another does, and starts a thread. 3. The first starts one.
        4. The thread of 2 finds that it is not its turn.
        """
        worker = _Stepped()
        worker.worker.post(1)
        worker.worker._go_on()
        worker.run(0)
        assert worker.done == []
        worker.worker.post(2)
        assert len(worker.threads.started) == 2
        worker.run(1)
        assert worker.done == [1, 2]

    @pytest.mark.parametrize("is_seen", [False, True])
    def test_item_that_comes_as_the_thread_leaves(self, is_seen: bool, worker: _Stepped) -> None:
        """
        1. The thread finds nothing, and writes that it leaves. 2. An item comes, whose poster has
        looked before that, or looks after it and starts a thread. 3. The thread looks again.
        """

        class Leaving(Worker[object]):
            def __setattr__(self, name: str, value: object) -> None:
                is_leaving = name == "_shift" and value is None and worker.done == [1]
                if is_leaving and not is_seen:
                    self.post(2)
                super().__setattr__(name, value)
                if is_leaving and is_seen:
                    self.post(2)

        leaving = worker.worker = Leaving(
            worker.threads, "worker", worker._work, lingers=0.0, begin=_at_once
        )
        leaving.post(1)
        worker.run(0)
        assert len(worker.threads.started) == 1 + is_seen
        if is_seen:
            assert worker.done == [1]
            worker.run(1)
        assert worker.done == [1, 2]

    @pytest.mark.parametrize("is_under_way", [False, True])
    def test_poster_that_is_interrupted(self, is_under_way: bool) -> None:
        """
        By a signal's exception, before the thread is under way or after that: it gets out, and the
        item is done by that thread, or by the next.
        """
        errors: list[BaseException] = [KeyboardInterrupt(), RuntimeError("a handler's")]

        def begin(function: Callable[..., object], args: tuple[Any, ...]) -> None:
            if is_under_way or not errors:
                function(*args)
            if errors:
                raise errors.pop()

        worker = _Stepped(begin)
        with pytest.raises(RuntimeError, match="a handler's"):
            worker.worker.post(1)
        with pytest.raises(KeyboardInterrupt):
            worker.worker.post(2)
        if not is_under_way:
            worker.worker.post(3)
        worker.run(0)
        assert worker.done == ([1, 2] if is_under_way else [1, 2, 3])

    def test_goes_on_after_an_error(self, worker: _Stepped, logged: LoggedFailures) -> None:
        """
        Which is logged.
        """
        error = SystemExit("of an item")

        def fail() -> None:
            raise error

        worker.meanwhile[1] = fail
        worker.worker.post(1)
        worker.worker.post(2)
        worker.run(0)
        assert worker.done == [1, 2]
        assert logged.take() == [error]

    def test_starts_anew_after_an_error_of_its_own(
        self, worker: _Stepped, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        For want of memory, say: the thread is not taken to be there.
        """

        def fail() -> bool:
            raise MemoryError

        worker.worker.post(1)
        with monkeypatch.context() as patch:
            patch.setattr(worker.worker, "_look", fail)
            with pytest.raises(MemoryError):
                worker.run(0)
        worker.worker.post(2)
        worker.run(1)
        assert worker.done == [1, 2]

    def test_goes_on_if_no_memory_was_left_to_take_an_item(self, worker: _Stepped) -> None:
        """
        The thread is needed: those that post would have to work in its place.
        """

        class Inbox(SimpleQueue[Any]):
            errors = [MemoryError()]

            def get(self, block: bool = True, timeout: float | None = None) -> Any:
                if self.errors:
                    raise self.errors.pop()
                return super().get(block, timeout)

        worker.worker._inbox = Inbox()
        worker.worker.post(1)
        worker.run(0)
        assert worker.done == [1]

    def test_stays_while_there_is_something_to_look_after(self, worker: _Stepped) -> None:
        """
        And looks at it again and again.
        """
        worker.is_needed = [False, True, True]
        worker.worker.post(1)
        worker.run(0)
        assert (worker.done, worker.is_needed) == ([1], [])


class TestRelief:
    """
    A thread that is blocked by its item.
    """

    def test_another_goes_on(self, worker: _Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Once it has been for long, and only if something waits. The first does nothing more.
        """
        now = [0.0]
        monkeypatch.setattr(_worker, "monotonic", lambda: now[0])

        def block() -> None:
            assert not worker.worker.relieve(1.0)  # nothing waits
            worker.worker.post(2)
            assert worker.worker.relieve(1.0)  # it has only begun
            assert len(worker.threads.started) == 1
            now[0] = 1.5
            assert worker.worker.relieve(1.0)
            assert worker.worker.relieve(1.0)  # the other has not come yet
            assert len(worker.threads.started) == 2
            worker.run(1)
            worker.worker.post(3)

        worker.meanwhile[1] = block
        worker.worker.post(1)
        worker.run(0)
        assert worker.done == [1, 2]
        worker.run(2)
        assert worker.done == [1, 2, 3]

    def test_starts_a_thread_if_the_poster_was_interrupted(self, worker: _Stepped) -> None:
        """
        Before it did so.
        """
        worker.worker._inbox.put(1)
        assert worker.worker.relieve(1.0)
        worker.run(0)
        assert worker.done == [1]


class TestThatLingersForEver:
    """
    A worker that has its thread from start() to stop().
    """

    def _worker(
        self, done: list[object], start: Any = start_thread, **more: Any
    ) -> Worker[Callable[[], object]]:
        return Worker(start, "worker", lambda item: done.append(item()), lingers=None, **more)

    def test_stops_behind_items_that_came_while_it_was_at_one(self) -> None:
        """
        They leave the lock of a SimpleQueue open, and then one that is empty is not waited for for
        as long as was asked, but for ever, by CPython up to 3.12.
        """
        done: list[object] = []
        worker = self._worker(done)
        worker.start()
        gate = threading.Event()
        worker.post(lambda: gate.wait(BOUND))
        for number in range(3):
            worker.post(lambda number=number: number)  # type: ignore[misc]
        stopping = Background(worker.stop, BOUND)
        wait_until(lambda: worker.waiting() == 4, "nobody stops it")
        gate.set()
        assert stopping.outcome()
        assert done == [True, 0, 1, 2]

    def test_works_in_its_thread_while_it_has_one(self) -> None:
        """
        And before and after that in the one that posts.
        """
        done: list[object] = []
        worker = self._worker(done)
        here = get_ident()
        worker.post(get_ident)
        worker.start()
        worker.post(get_ident)
        assert worker.flush(BOUND)
        assert worker.has_thread
        assert worker.stop(BOUND)
        assert not worker.has_thread
        worker.post(get_ident)
        assert done == [here, done[1], here]
        assert done[1] != here

    def test_calls_what_is_urgent_between_two_items(self) -> None:
        """
        Before those that wait, and also when none does.
        """
        done: list[object] = []
        worker = self._worker(done)
        assert worker.caller() is None
        worker.start()
        entered, may_end = threading.Event(), threading.Event()
        callers: list[object] = []

        def block() -> str:
            callers.append(worker.caller())
            entered.set()
            may_end.wait(BOUND)
            return "first"

        worker.post(block)
        worker.post(lambda: "second")
        assert entered.wait(BOUND)
        call = worker.caller()
        assert call is not None
        call(done.append, "urgent")
        may_end.set()
        assert worker.flush(BOUND)
        is_called = threading.Event()
        call(is_called.set)
        assert is_called.wait(BOUND)
        assert worker.stop(BOUND)
        assert done == ["first", "urgent", "second"]
        assert callers == [None]  # it cannot wait for itself

    def test_ends_in_an_item_that_stops_it(self) -> None:
        """
        After those that are posted by then; the item does not wait for that.
        """
        done: list[object] = []
        worker = self._worker(done)
        worker.start()
        is_posted = threading.Event()
        worker.post(lambda: is_posted.wait(BOUND) and worker.stop(BOUND))
        worker.post(lambda: 2)
        is_posted.set()
        wait_until(lambda: not worker.has_thread, "it does not end")
        assert worker.stop(BOUND)
        assert done == [False, 2]

    def test_has_not_started_where_none_can_be(self) -> None:
        """
        It goes on without.
        """
        threads, done = FakeThreads(), list[object]()
        threads.error = RuntimeError("can't start new thread")
        worker = self._worker(done, threads)
        with pytest.raises(RuntimeError):
            worker.start()
        assert not worker.has_thread
        worker.post(lambda: 1)
        assert done == [1]

    @pytest.mark.parametrize("is_running", [False, True])
    def test_start_that_is_interrupted(self, is_running: bool) -> None:
        """
        By a signal handler's exception, when the thread is on its way or at the inbox: it ends.
        """
        at_inbox = threading.Event()
        started: list[threading.Thread] = []
        may_begin = threading.Event()

        def look() -> None:
            at_inbox.set()

        def start(target: Callable[[], object], name: str) -> threading.Thread:
            started.append(start_thread(lambda: (may_begin.wait(BOUND), target()), name))
            if is_running:
                may_begin.set()
                assert at_inbox.wait(BOUND)
            raise KeyboardInterrupt

        worker = self._worker([], start, look=look)
        with pytest.raises(KeyboardInterrupt):
            worker.start()
        may_begin.set()
        started[0].join(BOUND)
        assert not started[0].is_alive()
        assert not worker.has_thread
        assert at_inbox.is_set() is is_running

    def test_exception_of_a_signal_handler_goes_on(self) -> None:
        """
        In a thread that does the work itself. What is behind it is done by the next.
        """
        done: list[object] = []
        worker = self._worker(done)

        def interrupt() -> None:
            worker.put(lambda: 2)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            worker.post(interrupt)
        worker.post(lambda: 3)
        assert done == [2, 3]

    def test_child_that_an_item_forks(self) -> None:
        """
        Comes back into the thread's loop, and ends there.
        """
        finished = run_python(
            """
            import os, sys
            from crochet._threads.threads import start_thread
            from crochet._threads.worker import Worker

            def fork(item):
                pid = os.fork()
                if pid == 0:
                    worker.after_fork_in_child()
                else:
                    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

            worker = Worker(start_thread, "worker", fork, lingers=None)
            worker.start()
            worker.post(1)
            assert worker.stop(float(sys.argv[1]))
            """,
            flags=("-W", "ignore::DeprecationWarning"),
        )
        assert finished.stdout == "0\n"

    def test_at_the_end_of_the_interpreter(self) -> None:
        """
        That has frozen the thread: a destructor that posts does the work itself.
        """
        finished = run_python(
            """
            import os, sys
            from functools import partial
            from crochet._threads.threads import start_thread
            from crochet._threads.worker import Worker

            class Late:
                def __init__(self, worker):
                    self.worker = worker

                def __del__(self, is_finalizing=sys.is_finalizing):
                    self.worker.post(b"late" if is_finalizing() else b"early")

            worker = Worker(start_thread, "worker", partial(os.write, 1), lingers=None)
            worker.start()
            late = Late(worker)
            """
        )
        assert finished.stdout == "late"


class TestWithoutThreads:
    """
    Where none can be started.
    """

    def test_poster_does_it(self) -> None:
        """
        At once, and a stop returns.
        """
        refuse: Any = allocate_lock().__exit__  # a RuntimeError that comes out of C code
        worker = _Stepped(refuse)
        worker.worker.post(1)
        worker.worker.post(2)
        assert worker.done == [1, 2]
        worker.worker._inbox.put(3)
        assert worker.worker.stop(0.0)
        assert worker.done == [1, 2, 3]

    def test_thread_that_was_to_start_it_does_it(self, worker: _Stepped) -> None:
        """
        One could be, and then no more.
        """
        idents: list[int] = []
        worker.worker = Worker(
            worker.threads,
            "worker",
            lambda item: idents.append(get_ident()),
            lingers=0.0,
            begin=_at_once,
        )
        worker.threads.error = RuntimeError("can't start new thread")
        starting = Background(worker.worker.post, 1)
        starting.outcome()
        assert idents == [starting.thread.ident]

    def test_at_the_end_of_the_interpreter(self) -> None:
        """
        Python 3.12 and later start no thread while they wait for the program's own.
        """
        finished = run_python(
            """
            import sys, threading, time
            from crochet._threads.threads import start_thread
            from crochet._threads.worker import Worker

            bound = float(sys.argv[1])
            done = threading.Event()
            worker = Worker(start_thread, "worker", lambda item: done.set(), lingers=1.0)

            def late():
                threading.main_thread().join(bound)
                worker.post(1)
                print(done.wait(bound))

            threading.Thread(target=late).start()
            """
        )
        assert finished.stdout == "True\n"
