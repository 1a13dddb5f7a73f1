"""
``dump()``: what it shows, where it writes, and that it can be called at any time.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from crochet import _errors
from crochet._diagnostics import dump as _dump
from crochet._diagnostics.dump import dump
from support.process import FakeProcess, in_reactor_thread
from support.programs import run_python
from support.stepping import BOUND, Background, wait_until


def _text_of(process: FakeProcess) -> str:
    file = io.StringIO()
    dump(process.bridge, file, sys._getframe())
    return file.getvalue()


def _sections(text: str) -> list[list[str]]:
    return [section.splitlines() for section in text.split("\n\n")]


class TestText:
    """
    What is written.
    """

    def test_begins_with_the_calls_in_flight(self, stepped: FakeProcess) -> None:
        """
        And says what each of them does.
        """
        seen: list[str] = []

        def waits() -> Deferred[None]:
            return Deferred()

        def runs() -> None:
            seen.append(_text_of(stepped))

        def queued() -> None:
            pass

        results = [stepped.run_in_reactor(body)() for body in (waits, runs, queued)]
        with in_reactor_thread(stepped.bridge):
            stepped.reactor.turn()
        head, *lines = seen[0].splitlines()
        assert head == "crochet: the reactor runs in 'MainThread', calls are accepted"
        assert lines[0] == "calls in flight: 3"
        assert sorted(lines[1:4]) == [
            "  queued(): queued",
            "  runs(): runs",
            "  waits(): started, and waits for its Deferred",
        ]
        assert lines[4] == ""
        results[0].cancel()
        stepped.reactor.turn()

    @pytest.mark.parametrize(
        ("refusal", "reason"),
        [
            (_errors.not_set_up, "setup() has not been called"),
            (_errors.stopped, "the reactor has stopped"),
            (_errors.shut_down, "shutdown() was called"),
            (_errors.exiting, "the interpreter is exiting"),
            (
                partial(_errors.ended_with, ValueError()),
                "the reactor thread has ended with an error",
            ),
            (_errors.not_run_in_child, "this process was forked, and does not run the reactor"),
            (len, "this process was forked; the first call will start the reactor"),
        ],
    )
    def test_says_why_calls_are_refused(
        self, process: FakeProcess, refusal: Any, reason: str
    ) -> None:
        """
        In words, for all that there are today.
        """
        process.bridge.refuse(refusal)
        head, flight, *_ = _text_of(process).splitlines()
        assert head == f"crochet: no reactor runs, calls are refused: {reason}"
        assert flight == "calls in flight: 0"

    def test_does_not_set_up_in_a_forked_child(self, process: FakeProcess) -> None:
        """
        As a call would.
        """
        process.loop.setup()
        process.fork()
        assert "this process was forked; the first call will start" in _text_of(process)
        assert len(process.threads.started) == 1

    def test_shows_the_reactor_then_who_waits_then_the_others(self, running: FakeProcess) -> None:
        """
        With the stack of each, the most recent call first, and what it waits for.
        """
        is_blocked, go_on = threading.Event(), threading.Event()

        def block_the_reactor() -> None:
            is_blocked.set()
            go_on.wait(BOUND)

        def wait_for_call(result: Any) -> None:
            result.wait(BOUND)

        waiter = Background(running.wait_for(BOUND)(block_the_reactor))
        assert is_blocked.wait(BOUND)
        result = running.run_in_reactor(lambda: None)()
        other = Background(wait_for_call, result)
        idle = Background(go_on.wait, BOUND)
        idents = {waiter.thread.ident, other.thread.ident}
        wait_until(lambda: idents <= {*running.bridge.waits.by_thread()}, "nobody waits")
        state, *threads = _sections(_text_of(running))
        go_on.set()
        for background in (waiter, other, idle):
            background.outcome()
        assert "  block_the_reactor(): runs" in state
        assert "'crochet-reactor', the reactor's (most recent" in threads[0][0]
        functions = [line.rpartition(" ")[2] for line in threads[0]]
        assert functions.index("block_the_reactor") < functions.index("run")
        heads = [thread[0] for thread in threads]
        waits = sorted(head.partition(", ")[2] for head in heads[1:3])
        assert waits == [
            '"test\'s background", waits for <lambda>() (most recent call first):'.replace(
                '"', '"'
            ),
            '"test\'s background", waits for block_the_reactor() (most recent call first):',
        ]
        assert not [head for head in heads[3:] if "waits for" in head or "reactor's" in head]
        (own,) = (thread for thread in threads if "called dump()" in thread[0])
        assert own[0].startswith(f"Thread {threading.get_ident():#x}, 'MainThread', called dump()")
        assert own[1].endswith("in _text_of")  # and none of what writes it
        assert __file__ in own[2]

    def test_is_bounded(self, stepped: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        In calls, threads, frames, lines and altogether; what was left out is said.
        """
        monkeypatch.setattr(_dump, "_CALLS", 2)
        monkeypatch.setattr(_dump, "_FRAMES", 3)
        monkeypatch.setattr(_dump, "_THREADS", 1)
        monkeypatch.setattr(_dump, "_LINE", 70)
        go_on = threading.Event()
        idle = Background(go_on.wait, BOUND)
        for _ in range(5):
            stepped.run_in_reactor(int)()
        text = _text_of(stepped)
        monkeypatch.setattr(_dump, "_LENGTH", 80)
        short = _text_of(stepped)
        go_on.set()
        idle.outcome()
        lines = text.splitlines()
        assert lines[1:5] == [
            "calls in flight: 5",
            "  int(): queued",
            "  int(): queued",
            "  ... and 3 more",
        ]
        assert max(map(len, lines)) == 70
        assert lines[-2] == "  ..."
        assert [line.startswith("  File") for line in lines[-6:-1]] == [
            False,
            True,
            True,
            True,
            False,
        ]
        assert lines[-1].endswith(" more threads")
        assert short.endswith("\n... (cut)\n")
        assert len(short) <= 80 + len("... (cut)\n")
        stepped.reactor.turn()

    def test_shows_a_thread_that_has_ended_meanwhile(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        As far as there is something to be shown.
        """
        ended = Background(lambda: (threading.get_ident(), sys._getframe())).outcome()

        def frames() -> dict[int, FrameType]:
            return dict([ended])

        monkeypatch.setattr(sys, "_current_frames", frames)
        assert f"Thread {ended[0]:#x}, an unnamed thread ({ended[0]:#x}) (most" in _text_of(process)

    def test_names_threads_in_one_line(self, process: FakeProcess) -> None:
        """
        Whatever they are called.
        """
        go_on = threading.Event()
        thread = threading.Thread(target=go_on.wait, name="two\nlines \udc80")
        thread.start()
        text = _text_of(process)
        go_on.set()
        thread.join(BOUND)
        assert r"'two\nlines \udc80' (most recent" in text


class TestFile:
    """
    Where it is written to.
    """

    def test_is_its_descriptor(self, process: FakeProcess, tmp_path: Path) -> None:
        """
        Past its buffer, whose lock may be held; what is buffered comes later.
        """
        path = tmp_path / "dump.txt"
        with path.open("w") as file:
            file.write("buffered")
            dump(process.bridge, file, sys._getframe())
            dump(process.bridge, file.fileno(), sys._getframe())
        text = path.read_text()
        assert text.count("crochet: no reactor runs") == 2
        assert text.endswith("buffered")

    def test_is_stderr_as_it_is_then(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Not as it was when Crochet was imported.
        """
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        dump(process.bridge, None, sys._getframe())
        assert file.getvalue().startswith("crochet: ")

    @pytest.mark.parametrize("state", ["missing", "closed"])
    def test_may_be_a_stderr_that_is_not_there(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        """
        Then nothing is written, and a signal handler raises nothing.
        """
        file = None
        if state == "closed":
            file = io.StringIO()
            file.close()
        monkeypatch.setattr(sys, "stderr", file)
        dump(process.bridge, None, sys._getframe())

    def test_that_is_closed_is_refused(self, process: FakeProcess, tmp_path: Path) -> None:
        """
        By itself, if it was asked for.
        """
        with (tmp_path / "dump.txt").open("w") as file:
            pass
        with pytest.raises(ValueError, match="closed file"):
            dump(process.bridge, file, sys._getframe())

    def test_is_nothing_else(self, process: FakeProcess) -> None:
        """
        But has to have a descriptor or a write().
        """
        file: Any = "dump.txt"
        with pytest.raises(TypeError, match=r"to a file or to a descriptor, not to 'dump\.txt'"):
            dump(process.bridge, file, sys._getframe())

    def test_may_be_a_pipe_that_nobody_reads(self, process: FakeProcess) -> None:
        """
        A signal handler is no place to learn of that.
        """
        reading, writing = os.pipe()
        os.close(reading)
        dump(process.bridge, writing, sys._getframe())
        os.close(writing)

    def test_is_written_to_piece_by_piece(
        self, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        And waited for a while, if it takes nothing more at the moment.
        """
        written: list[bytes] = []
        pauses: list[float] = []

        def write(descriptor: int, data: bytes) -> int:
            if len(pauses) < 3 or len(written) == 2:
                raise BlockingIOError
            written.append(bytes(data[:10]))
            return 10

        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(_dump.time, "sleep", pauses.append)
        dump(process.bridge, 99, sys._getframe())
        assert b"".join(written) == b"crochet: no reactor "[:20]
        assert len(pauses) == 50


class TestAtAnyTime:
    """
    That it can be called.
    """

    @pytest.mark.parametrize("kind", ["run_in_reactor", "wait_for"])
    def test_in_the_middle_of_any_function_of_ours(self, running: FakeProcess, kind: str) -> None:
        """
        Called at each step of a wait, it shows the wait or not, and raises nothing.
        """
        texts: list[str] = []
        is_seen = threading.Event()
        wait = running.wait_for(BOUND)(lambda: is_seen.wait(BOUND))
        begin = running.run_in_reactor(lambda: is_seen.wait(BOUND))

        def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
            if "crochet" not in frame.f_code.co_filename or "dump.py" in frame.f_code.co_filename:
                return None
            frame.f_trace_opcodes = True
            if event != "call":  # CPython 3.12 does not trace bytecodes at first, but lines
                texts.append(_text_of(running))
                if "waits for <lambda>()" in texts[-1]:
                    is_seen.set()
            return trace

        def traced() -> None:
            sys.settrace(trace)
            try:
                assert wait() if kind == "wait_for" else begin().wait(BOUND)
            finally:
                sys.settrace(None)

        before = sys.gettrace()
        Background(traced).outcome()
        assert sys.gettrace() is before
        assert len(texts) > 10
        assert "waits for <lambda>()" not in texts[0]
        assert is_seen.is_set()

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals of the user's")
    def test_in_a_signal_handler_while_everything_is_locked(self) -> None:
        """
        The reactor is blocked, and holds the locks of logging and of the list of threads.
        """
        finished = run_python(
            """
            import logging, os, signal, sys, threading
            import crochet
            from crochet import dump, run_in_reactor, setup, wait_for

            BOUND = float(sys.argv[1])
            setup()
            handler = logging.StreamHandler()
            may_call, is_blocked, go_on = threading.Event(), threading.Event(), threading.Event()

            @run_in_reactor
            def block():
                with threading._active_limbo_lock, handler.lock, logging._lock:
                    is_blocked.set()
                    go_on.wait(BOUND)

            @wait_for(BOUND)
            def behind():
                return 7

            def wait():
                may_call.wait(BOUND)
                behind()

            thread = threading.Thread(target=wait, name="waiter")
            thread.start()
            block()
            assert is_blocked.wait(BOUND)
            may_call.set()
            bridge = crochet._event_loop.bridge
            while thread.ident not in bridge.waits.by_thread():
                is_blocked.wait(0.001)
            signal.signal(signal.SIGUSR1, lambda *_: dump())
            os.kill(os.getpid(), signal.SIGUSR1)
            go_on.set()
            thread.join(BOUND)
            crochet.shutdown()
            """
        )
        text = finished.stderr
        assert "reactor runs in 'crochet-reactor', calls are accepted\ncalls in flight: 2" in text
        assert "\n  block(): runs\n" in text
        assert "\n  behind(): queued\n" in text
        assert text.index("in block\n") < text.index("'waiter', waits for behind()")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_in_a_forked_child(self) -> None:
        """
        Which has one thread and no reactor, and gets none by that.
        """
        finished = run_python(
            """
            import os, threading, warnings
            import crochet

            warnings.simplefilter("ignore", DeprecationWarning)
            crochet.setup()
            pid = os.fork()
            if not pid:
                crochet.dump(1)
                os._exit(threading.active_count())
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
            """
        )
        state, *threads = _sections(finished.stdout)
        assert state[0].endswith("this process was forked; the first call will start the reactor")
        assert [thread[0].split(" ")[2] for thread in threads] == ["'MainThread',"]

    def test_leaves_no_frames_behind(self, process: FakeProcess) -> None:
        """
        Nor does it make cycles that only a garbage collection finds.
        """

        class Local:
            pass

        def call() -> weakref.ref[Local]:
            local = Local()
            _text_of(process)
            return weakref.ref(local)

        gc.disable()
        try:
            assert call()() is None
        finally:
            gc.enable()
