"""
Noticing forks that no hook has told of, and what signal handlers raise in hooks around forks.
"""

from __future__ import annotations

import os
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import crochet
from crochet import ReactorStopped
from crochet._threads.fork_mark import ForkWatch, at_fork
from crochet._threads.threads import expect_ghosts, frames_of_threads
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
            lambda child, result: child.bridge.explain(result),
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
            expect_ghosts(False)

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
            expect_ghosts(False)
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
            expect_ghosts(False)


def test_frames_are_those_of_threads_that_are_there() -> None:
    """
    In a child of which Python knows nothing, none are looked at: CPython crashes over those of the
    parent's threads. A child of that which Python has forked itself has no others.
    """
    assert threading.get_ident() in frames_of_threads()
    expect_ghosts(True)
    try:
        assert frames_of_threads() == {}
    finally:
        expect_ghosts(False)
    assert threading.get_ident() in frames_of_threads()


def test_nobody_else_looks_at_frames() -> None:
    """
    Of all threads: each look goes through the function that knows where that is safe.
    """
    folder = Path(crochet.__file__).parent
    looks = [
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        if "_current_frames()" in file.read_text().replace("``sys._current_frames()``", "")
    ]
    assert looks == ["_threads/threads.py"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestHooks:
    """
    What is raised in hooks around a fork reaches the program, once, in the parent.
    """

    BEGINNING = """
    import os, signal, sys, traceback
    from crochet._threads.fork_mark import at_fork

    class Interruption(Exception):
        pass

    def handler(number, frame):
        handled.append(number)
        raise Interruption("by a signal")

    def interrupt():
        os.kill(os.getpid(), signal.SIGUSR1)
        raise AssertionError("was not interrupted")

    def state():
        return signal.getsignal(signal.SIGUSR1), signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return pid

    def caught():
        try:
            fork()
        except Interruption as error:
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 7  # and not in the child
            return error
        raise AssertionError("nothing was raised")

    handled = []
    nothing = lambda: None
    signal.signal(signal.SIGUSR1, handler)
    before = state()
    """

    def run(self, code: str) -> None:
        """
        Run a program.
        """
        run_python(textwrap.dedent(self.BEGINNING) + textwrap.dedent(code))

    @pytest.mark.parametrize("hook", ["before", "after_in_parent"])
    def test_signal_s_exception(self, hook: str) -> None:
        """
        The handler is called once. Another hook that comes after this, and the one before, are not
        broken; and nothing is left behind for the next fork.
        """
        self.run(
            f"""
            hooks = dict(before=nothing, after_in_parent=nothing, after_in_child=nothing)
            hooks["{hook}"] = interrupt
            seen = []
            os.register_at_fork(after_in_parent=lambda: seen.append("first"))
            at_fork(**hooks)
            os.register_at_fork(after_in_parent=lambda: [seen.append(each) for each in "second"])
            error = caught()
            assert handled == [signal.SIGUSR1], handled
            assert "".join(seen) == "firstsecond", seen
            text = "".join(traceback.format_exception(error))
            assert text.index("in fork") < text.index("in interrupt"), text
            assert state() == before and sys.gettrace() is None
            """
        )

    def test_of_a_fork_that_failed(self) -> None:
        """
        The exception comes all the same.
        """
        self.run(
            """
            import resource
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            os.setuid(65534) if os.getuid() == 0 else None  # root has no limit
            at_fork(before=interrupt, after_in_parent=nothing, after_in_child=nothing)
            try:
                fork()
            except Interruption:
                try:
                    os.wait()
                except ChildProcessError:
                    raise SystemExit(0)
            raise AssertionError("it was to fail, and be interrupted")
            """
        )

    def test_is_the_parent_s(self) -> None:
        """
        The child goes on, and so do forks that nobody interrupts.
        """
        self.run(
            """
            interrupted = [interrupt]
            at_fork(
                before=lambda: interrupted and interrupted.pop()(),
                after_in_parent=nothing, after_in_child=nothing,
            )
            try:
                pid = os.fork()
            except Interruption:
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 5
                end = fork()
                assert os.waitstatus_to_exitcode(os.waitpid(end, 0)[1]) == 7
            else:
                assert pid == 0
                pid = fork()
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
                os._exit(5)
            """
        )

    def test_of_a_thread(self) -> None:
        """
        Into which an exception was thrown, as there are libraries that do that.
        """
        self.run(
            """
            import threading
            def throw():
                raise Interruption("thrown")
            raised = []
            at_fork(before=throw, after_in_parent=nothing, after_in_child=nothing)
            thread = threading.Thread(target=lambda: raised.append(caught()))
            thread.start()
            thread.join()
            assert str(raised[0]) == "thrown"
            """
        )


def test_a_fork_is_heard_of_where_there_are_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Elsewhere nothing is to be done.
    """
    registered: list[Any] = []
    monkeypatch.setattr(
        os, "register_at_fork", lambda **hooks: registered.append(hooks), raising=False
    )
    called: list[str] = []
    hooks = {
        name: lambda name=name: called.append(name)
        for name in ("before", "after_in_parent", "after_in_child")
    }
    at_fork(**hooks)
    assert list(registered[0]) == list(hooks)
    for hook in registered[0].values():
        hook()
    assert called == list(hooks)
    monkeypatch.delattr(os, "register_at_fork")
    at_fork(**hooks)
    assert len(registered) == 1
