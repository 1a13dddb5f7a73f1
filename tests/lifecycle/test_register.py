"""
What is called when the main thread has ended.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable

import pytest
from twisted.logger import formatEvent

from crochet import register
from crochet._lifecycle import register as _registered
from support.process import LoggedFailures
from support.programs import run_python


class Hooks:
    """
    Stands in for the hooks of ``threading`` and of ``atexit``; see the head of ``_registered``.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.after_main: list[Callable[[], object]] = []
        self.at_exit: list[Callable[[], object]] = []
        self.has_main_ended = False
        monkeypatch.setattr(_registered, "_registered", deque())
        monkeypatch.setattr(_registered, "_is_too_late", False)
        monkeypatch.setattr(threading, "_register_atexit", self._register)
        monkeypatch.setattr(atexit, "register", self.at_exit.append)

    def _register(self, hook: Callable[[], object]) -> None:
        if self.has_main_ended:
            raise RuntimeError("can't register atexit after shutdown")
        self.after_main.append(hook)

    def end_main(self) -> None:
        """
        Do what Python does when the main thread has ended.
        """
        self.has_main_ended = True
        for hook in reversed(self.after_main):
            hook()

    def exit(self) -> None:
        """
        Do what it does when non-daemon threads have, too. What a hook registers is dropped.
        """
        hooks, self.at_exit[:] = self.at_exit[::-1], []
        for hook in hooks:
            hook()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    """
    An interpreter whose end the test makes.
    """
    return Hooks(monkeypatch)


class TestOrder:
    """
    When they are called, and in which order.
    """

    def test_the_last_registered_is_called_first(self, hooks: Hooks) -> None:
        """
        With its arguments, once.
        """
        called: list[str] = []
        register(called.append, "first")
        register(lambda *, word: called.append(word), word="second")
        assert called == []
        hooks.end_main()
        hooks.exit()
        assert called == ["second", "first"]

    def test_one_that_is_registered_while_they_run_is_next(self, hooks: Hooks) -> None:
        """
        Before those that were there already, and before Python waits for threads.
        """
        called: list[str] = []
        register(called.append, "first")
        register(lambda: register(called.append, "late"))
        hooks.end_main()
        assert called == ["late", "first"]

    def test_one_that_comes_after_the_main_thread_is_called_at_exit(self, hooks: Hooks) -> None:
        """
        Whether or not others were registered before.
        """
        called: list[str] = []
        hooks.end_main()
        register(called.append, "late")
        assert called == []
        hooks.exit()
        assert called == ["late"]

    def test_one_that_an_exit_hook_registers_is_called_at_once(self, hooks: Hooks) -> None:
        """
        ``atexit`` drops what is given to it that late.
        """
        called: list[str] = []
        register(called.append, "in time")
        hooks.end_main()
        hooks.exit()
        register(called.append, "late")
        assert called == ["in time", "late"]

    def test_none_is_lost_between_the_hooks_and_the_flag(
        self, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        1. A thread has appended an entry, and hooks up. 2. The main thread sets the flag, and has
        called what is there. The thread sees the flag, and calls no entry twice.
        """
        called: list[str] = []
        hooks.end_main()
        monkeypatch.setattr(atexit, "register", lambda hook: hook())
        register(called.append, "once")
        assert called == ["once"]
        # The other order: 1. The main thread sets the flag and finds nothing. 2. The entry.
        monkeypatch.setattr(atexit, "register", lambda hook: None)
        register(called.append, "again")
        assert called == ["once", "again"]

    def test_python_without_the_hook(self, hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        It is private, and may go. Then exit has to do.
        """
        monkeypatch.delattr(threading, "_register_atexit")
        called: list[str] = []
        register(called.append, "first")
        register(called.append, "second")
        hooks.exit()
        assert called == ["second", "first"]

    def test_this_python_has_the_hook(self) -> None:
        """
        Should it go, programs whose threads wait for ``register()`` hang at their end.
        """
        assert callable(threading._register_atexit)  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_logged_and_the_others_are_called(
    hooks: Hooks, logged: LoggedFailures, error: BaseException
) -> None:
    """
    Python would call none of the others, and wait for no thread.
    """
    called: list[str] = []

    def fails() -> None:
        raise error

    register(called.append, "called")
    register(fails)
    hooks.end_main()
    assert called == ["called"]
    assert logged.take() == [error]


def test_an_error_is_told_without_arguments(hooks: Hooks, logged: LoggedFailures) -> None:
    """
    Which may be secrets.
    """

    def fails(password: str) -> None:
        raise ValueError

    register(fails, "secret")
    hooks.end_main()
    (event,) = logged.events
    assert formatEvent(event) == "Error in fails(), which was given to crochet.register()"
    logged.take()


class TestPrograms:
    """
    In a program.
    """

    def test_ends_what_python_waits_for(self) -> None:
        """
        A thread that is no daemon, and ends when it is told to, while the reactor runs.
        """
        finished = run_python(
            """
            import os, queue, threading
            import crochet

            def say(text):
                os.write(1, f"{text}.".encode())  # in one piece, beside another thread

            crochet.setup()
            call = crochet.wait_for(timeout=30)(lambda: "reactor runs")
            work = queue.Queue()

            def loop():
                while (job := work.get()) is not None:
                    say(job)
                say(call())

            threading.Thread(target=loop).start()
            work.put("job")
            crochet.register(work.put, None)
            crochet.register(work.put, "last job")
            crochet.register(lambda: say(call()))
            """
        )
        assert finished.status == 0
        said = finished.stdout.split(".")[:-1]
        assert sorted(said) == ["job", "last job", "reactor runs", "reactor runs"]
        assert finished.stderr == ""

    def test_shutdown_releases_threads_that_wait_for_ever(self) -> None:
        """
        As the end of the main thread did in 2.1.1, unasked.
        """
        finished = run_python(
            """
            import os, threading
            import crochet
            from twisted.internet.defer import Deferred

            crochet.setup()
            crochet.register(crochet.shutdown)
            both = threading.Barrier(3)
            short = crochet.wait_for(timeout=None)(int)

            def wait():
                both.wait()
                try:
                    crochet.wait_for(timeout=None)(Deferred)()
                except crochet.ReactorStopped:
                    os.write(1, b"released\\n")

            def loop():
                both.wait()
                while True:
                    try:
                        short()
                    except crochet.ReactorStopped:
                        os.write(1, b"released\\n")
                        return

            for each in (wait, loop):
                threading.Thread(target=each).start()
            both.wait()
            """
        )
        assert finished == (0, "released\nreleased\n", "")

    def test_works_late(self) -> None:
        """
        In a thread for which Python waits, in an exit hook, and in a function registered.
        """
        finished = run_python(
            """
            import atexit, threading
            import crochet

            def outlive():
                threading.main_thread().join()
                print("main has ended", flush=True)
                crochet.register(print, "of a thread", flush=True)

            def register_more():
                crochet.register(go.set)
                crochet.register(print, "of a function", flush=True)

            go = threading.Event()
            threading.Thread(target=go.wait).start()
            threading.Thread(target=outlive).start()
            atexit.register(crochet.register, print, "of a hook", flush=True)
            crochet.register(register_more)
            """
        )
        assert finished == (0, "of a function\nmain has ended\nof a thread\nof a hook\n", "")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_child_does_not_call_its_parents(self) -> None:
        """
        A file that is to be removed at the end is the parent's. Its own it calls.
        """
        finished = run_python(
            """
            import os, sys
            import crochet

            crochet.register(print, "parent's", flush=True)
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
            else:
                crochet.register(print, "child's", flush=True)
            """
        )
        assert finished == (0, "child's\nparent's\n", "")

    def test_in_a_subinterpreter(self) -> None:
        """
        At its end, which also waits for threads.
        """
        pytest.importorskip("_testcapi", reason="only it makes one that shares the lock")
        finished = run_python(
            """
            import _testcapi, sys

            _testcapi.run_in_subinterp(f'''
            import sys, threading
            sys.path[:] = {sys.path}
            import crochet
            go = threading.Event()
            threading.Thread(target=go.wait).start()
            crochet.register(print, "called", flush=True)
            crochet.register(go.set)
            '''.replace(chr(10) + " " * 12, chr(10)))
            print("main ends")
            """
        )
        assert finished[:2] == (0, "called\nmain ends\n")  # coverage complains on stderr
