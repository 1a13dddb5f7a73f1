"""
What is known of threads.
"""

from __future__ import annotations

import _thread
import sys
import threading

import pytest

from crochet._threads.threads import in_subinterpreter, start_thread
from support.programs import run_python


@pytest.mark.parametrize("start", ["start_thread(hold, 'holds')", "pool.callInThread(hold)"])
def test_a_thread_begins_in_an_empty_context(start: str) -> None:
    """
    Of ours or of the reactor's pool, also where Python 3.14 and later have been told to start
    threads in a copy of their starter's. (Earlier ones know no such option, and heed none.)
    """
    run_python(
        f"""
        import contextvars, sys, threading, weakref
        from twisted.internet import reactor
        from crochet._reactor.pool import use_daemon_threads
        from crochet._threads.threads import start_thread

        class Held:
            pass

        variable = contextvars.ContextVar("variable", default=None)
        seen, begun, let_go = [], threading.Event(), threading.Event()

        def hold():
            seen.append(variable.get())
            begun.set()
            assert let_go.wait(float(sys.argv[1]))

        use_daemon_threads(reactor)
        pool = reactor.getThreadPool()
        pool.start()
        held = Held()
        reference = weakref.ref(held)
        token = variable.set(held)
        {start}
        variable.reset(token)
        assert begun.wait(float(sys.argv[1]))
        del held, token
        assert seen == [None]
        assert reference() is None
        let_go.set()
        pool.stop()
        """,
        flags=("-W", "error", "-X", "thread_inherit_context=1"),
    )


class TestSubinterpreter:
    """
    Whether this is one.
    """

    def test_is_told_from_the_main_one(self) -> None:
        """
        On whatever Python.
        """
        assert not in_subinterpreter()

    def test_where_there_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        On other Pythons than CPython.
        """
        monkeypatch.delattr(_thread, "_is_main_interpreter", raising=False)
        monkeypatch.setitem(sys.modules, "_xxsubinterpreters", None)
        assert not in_subinterpreter()


def test_is_joined_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Who waits in one does not see a signal that came right before it.
    """
    may_end, waits = threading.Event(), list[float | None]()
    thread = start_thread(may_end.wait, "joined")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", lambda thread, timeout: waits.append(timeout))
        thread.join(0.35)
    assert waits == pytest.approx([0.1, 0.1, 0.1, 0.05])
    may_end.set()
    thread.join()
    assert not thread.is_alive()
