"""
What is done when objects are dropped, and by which thread.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any, ClassVar
from weakref import ref

import pytest

from crochet._threads.finalizer import Finalizer, FinalizerThread
from crochet._threads.threads import start_thread
from support.stepping import BOUND


@pytest.fixture
def finalizers() -> Iterator[FinalizerThread]:
    """
    A thread of its own, for one test.
    """
    thread = FinalizerThread(start_thread)
    thread.begin()
    yield thread
    assert thread.stop(BOUND)


class Owner:
    """
    Has something done when it is dropped, if anything is.
    """

    noted: ClassVar[list[None]] = []

    def __init__(self, finalizer: Finalizer | None = None) -> None:
        self.finalizer = finalizer
        self.cycle = None if finalizer is None else self

    def note(self) -> None:
        self.noted.append(None)


def test_work_is_done_by_its_thread(finalizers: FinalizerThread) -> None:
    """
    Once, whether a reference or a garbage collection was the last to have the object.
    """
    threads: list[str] = []

    def note() -> None:
        threads.append(threading.current_thread().name)

    finalizer = Finalizer(finalizers.put, note)
    del finalizer
    assert finalizers.flush(BOUND)
    owner = Owner(Finalizer(finalizers.put, note))
    del owner
    gc.collect()
    assert finalizers.flush(BOUND)
    assert threads == ["crochet-finalizer"] * 2


def test_nothing_is_done_once_it_is_detached(finalizers: FinalizerThread) -> None:
    """
    Nor is what it held kept.
    """
    owner = Owner()
    is_alive = ref(owner)
    finalizer = Finalizer(finalizers.put, owner.note)
    del owner
    finalizer.detach()
    assert is_alive() is None
    del finalizer
    assert finalizers.flush(BOUND)
    assert Owner.noted == []


def test_no_python_code_runs_as_it_is_dropped() -> None:
    """
    So no signal handler can raise there, where Python drops what is raised.
    """
    items: SimpleQueue[Any] = SimpleQueue()
    finalizer = [Finalizer(items.put, int)]
    events: list[str] = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        finalizer.clear()
    finally:
        sys.setprofile(None)
    assert items.get(timeout=BOUND) is int
    assert set(events) <= {"c_call", "c_return"}


def test_signals_that_come_meanwhile_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What their handler raises comes out of the code that has dropped the object.
    """
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)

    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        # The signal is there before the object is gone, and Python looks at it after that.
        # Not os.kill(), which looks itself.
        send = getattr(ctypes.CDLL(None), "raise")
        finalizer = [Finalizer(send, signal.SIGUSR1)]
        with pytest.raises(Interrupted):
            finalizer.clear()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert lost == []


def test_what_comes_after_the_end_waits() -> None:
    """
    For the next beginning, or for the exit, which does it in its own thread.
    """
    thread = FinalizerThread(start_thread)
    threads: list[str] = []
    dropped = [Finalizer(thread.put, lambda: threads.append(threading.current_thread().name))]
    dropped.clear()
    assert threads == []
    thread.begin()
    assert thread.flush(BOUND)
    assert threads == ["crochet-finalizer"]
    assert thread.stop(BOUND)
    dropped = [Finalizer(thread.put, lambda: threads.append(threading.current_thread().name))]
    dropped.clear()
    assert threads == ["crochet-finalizer"]
    assert thread.stop(BOUND)
    assert threads == ["crochet-finalizer", threading.current_thread().name]


def test_a_forked_child_leaves_to_the_parent_what_is_the_parents() -> None:
    """
    Its own is done by its own thread.
    """
    thread = FinalizerThread(start_thread)
    done: list[str] = []
    inherited = [Finalizer(thread.put, partial(done.append, "parent's"))]
    thread.after_fork_in_child()
    inherited.clear()
    own = [Finalizer(thread.put, partial(done.append, "own"))]
    own.clear()
    thread.begin()
    assert thread.stop(BOUND)
    assert done == ["own"]


def test_begins_once(finalizers: FinalizerThread) -> None:
    """
    However often it is told to.
    """
    finalizers.begin()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("crochet-finalizer") == 1
