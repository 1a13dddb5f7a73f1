"""
Noticing forks that no hook has told of, and what signal handlers raise in hooks around forks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crochet
from crochet import ReactorStopped
from crochet._core.result import call_of
from crochet._threads.fork_mark import ForkWatch
from crochet._threads.threads import frames_of_threads, note_parents_threads
from support.process import FakeProcess, call_for
from support.programs import run_python
from support.stepping import Background, together

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


class TestMark:
    """
    It is set in the process that has made it, and in no child.
    """

    @needs_fork
    @pytest.mark.parametrize("kind", ["page", "number"])
    def test_is_wiped_in_a_child(self, kind: str) -> None:
        """
        And in the child's child, once the child has set it for itself. Also by a fork in C.
        """
        run_python(
            """
            import ctypes, os, sys
            from crochet._threads.fork_mark import new_mark, _Number

            def no_page():
                raise OSError("no MADV_WIPEONFORK")

            mark = new_mark(no_page) if sys.argv[2] == "number" else new_mark()
            assert isinstance(mark, _Number) == (sys.argv[2] == "number" or sys.platform != "linux")
            assert mark[0]
            for fork in (os.fork, ctypes.PyDLL(None).fork):
                if fork() == 0:
                    assert not mark[0]
                    mark[0] = 1
                    assert mark[0]
                    pid = fork()
                    if pid == 0:
                        os._exit(bool(mark[0]))
                    assert os.waitpid(pid, 0)[1] == 0 and mark[0]
                    os._exit(7)
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
                assert mark[0]
            """,
            kind,
        )


class Told:
    """
    What is done in a child, and how often.
    """

    def __init__(self) -> None:
        self.mark: Any = [1]
        self.times = 0
        self.meanwhile: Callable[[], object] = int
        self.watch = ForkWatch(self.mark, self, lambda: RuntimeError("in the middle"))

    def __call__(self) -> None:
        self.meanwhile()
        self.times += 1
        self.mark[0] = 1


class TestForkWatch:
    """
    What is to be done in a child is done once.
    """

    def test_does_nothing_in_the_process_itself(self) -> None:
        """
        However often it is asked.
        """
        told = Told()
        told.watch.notice()
        assert told.times == 0

    def test_of_several_threads_one_does_it(self) -> None:
        """
        And the others go on when it is done, not before.
        """
        told = Told()
        told.mark[0] = 0
        others: list[Background[int]] = []

        def look() -> int:
            told.watch.notice()
            return told.times

        def meanwhile() -> None:
            others.extend(Background(look) for _ in range(3))
            assert not told.mark[0]

        told.meanwhile = meanwhile
        told.watch.notice()
        assert [each.outcome() for each in others] == [1, 1, 1]
        told.mark[0], told.meanwhile = 0, int
        assert together(8, lambda _: look()) == [2] * 8

    def test_in_the_middle_of_itself(self) -> None:
        """
        As in a signal handler, which cannot wait for it. What it has interrupted goes on.
        """
        told = Told()
        told.mark[0] = 0
        errors: list[object] = []

        def meanwhile() -> None:
            with pytest.raises(RuntimeError, match="in the middle") as raised:
                told.watch.notice()
            errors.append(raised.value)

        told.meanwhile = meanwhile
        told.watch.notice()
        assert len(errors) == told.times == 1

    def test_is_done_again_if_it_was_interrupted(self) -> None:
        """
        By a signal's exception: the child has still what is the parent's.
        """
        told = Told()
        told.mark[0] = 0

        def interrupt() -> None:
            raise KeyboardInterrupt

        told.meanwhile = interrupt
        with pytest.raises(KeyboardInterrupt):
            told.watch.notice()
        told.meanwhile = int
        told.watch.notice()
        assert told.times == 1

    def test_its_lock_is_this_process_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A thread that was at it in the parent, and is not in the child, has locked the parent's.
        """
        told = Told()
        told.mark[0] = 0

        def fork() -> None:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            told.meanwhile = int
            Background(told.watch.notice).outcome()

        told.meanwhile = fork
        told.watch.notice()
        assert told.times == 2


class TestUntoldChild:
    """
    A process whose mark was wiped, with fakes around it. (test_fork.py has real ones.)
    """

    @pytest.mark.parametrize(
        "enter",
        [
            lambda child, result: child.loop.setup(),
            lambda child, result: child.loop.status(),
            lambda child, result: child.loop.shutdown(0.1),
            lambda child, result: child.loop._before_fork(),
            lambda child, result: child.loop._exit(),
            lambda child, result: call_for(child),
            lambda child, result: result.done(),
            lambda child, result: result.cancel(),
            lambda child, result: result.add_done_callback(print),
            lambda child, result: result.as_future(),
            lambda child, result: result.__await__(),
            lambda child, result: child.bridge.explain(call_of(result)),
            lambda child, result: child.bridge.call(int),
            lambda child, result: child.bridge.call_from_thread(int),
            lambda child, result: child.loop._logs.notice_fork(),
        ],
    )
    def test_gives_up_what_is_the_parent_s(
        self, process: FakeProcess, enter: Callable[[Any, Any], object]
    ) -> None:
        """
        Whatever it enters by; the parent's calls are answered by an error that says why.
        """
        process.loop.setup()
        result = call_for(process)
        process.bridge.mark[0] = 0
        try:
            enter(process, result)
            assert process.bridge.mark[0]
            assert result.done()
            with pytest.raises(ReactorStopped, match="forked"):
                result.wait(0)
            assert frames_of_threads() == {}
        finally:
            note_parents_threads(False)

    def test_no_setup_in_the_parent(self, process: FakeProcess) -> None:
        """
        There it is noticed before the program's reactor runs in the child, and not afterwards, when
        it would be taken for the parent's.
        """
        process.loop.no_setup()
        process.bridge.mark[0] = 0
        process.reactor.callWhenRunning(process.reactor.stop)
        sums: list[object] = []
        process.reactor.callWhenRunning(lambda: sums.append(process.bridge.reactor_thread))
        try:
            process.reactor.run(installSignalHandlers=False)
        finally:
            note_parents_threads(False)
        assert sums == [threading.get_ident()]
        assert process.bridge.mark[0]

    def test_thread_that_has_got_the_ident_of_the_parent_s_reactor_thread(
        self, process: FakeProcess
    ) -> None:
        """
        It may wait, and shut down: it is another thread.
        """
        process.loop.setup()
        process.bridge.reactor_thread = threading.get_ident()
        process.bridge.mark[0] = 0
        try:
            assert not process.bridge.is_reactor_thread()
            process.bridge.reactor_thread = threading.get_ident()
            process.bridge.mark[0] = 0
            process.loop.shutdown(0.1)
        finally:
            note_parents_threads(False)


def test_frames_are_those_of_threads_that_are_there() -> None:
    """
    In a child of which Python knows nothing, none are looked at: CPython crashes over those of the
    parent's threads. A child of that which Python has forked itself has no others.
    """
    assert threading.get_ident() in frames_of_threads()
    note_parents_threads(True)
    try:
        assert frames_of_threads() == {}
    finally:
        note_parents_threads(False)
    assert threading.get_ident() in frames_of_threads()


def test_nobody_else_looks_at_frames() -> None:
    """
    Of all threads: each look goes through the function that knows where that is safe.
    """
    package = Path(crochet.__file__).parent
    looks = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "_current_frames()" in path.read_text().replace("``sys._current_frames()``", "")
    ]
    assert looks == [os.path.join("_threads", "threads.py")]
