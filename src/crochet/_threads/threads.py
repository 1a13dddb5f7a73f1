"""
Threads: starting them, what they are called, and where they are.
"""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from importlib import import_module
from math import inf
from types import FrameType
from typing import cast

from .timeouts import LONGEST

# Starts a daemon thread of that target and name.
StartThread = Callable[[Callable[[], object], str], threading.Thread]


class _Thread(threading.Thread):
    """
    A thread that is waited for in slices: see LONGEST.
    """

    def join(self, timeout: float | None = None) -> None:
        """
        Wait for its end, for *timeout* seconds at most.
        """
        left = inf if timeout is None else timeout
        super().join(min(left, LONGEST))
        while self.is_alive() and left > LONGEST:
            left -= LONGEST
            super().join(min(left, LONGEST))


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """
    Start a daemon thread, in an empty context.
    """
    thread = _Thread(target=target, name=name, daemon=True)
    # Python 3.14 can start a thread in a copy of this one's context (-X thread_inherit_context):
    # a deadline would bound whatever the new thread waits for, and what it holds would live on.
    Context().run(thread.start)
    return thread


def known_name(ident: int | None) -> str | None:
    """
    Return the name of a thread, if it has one.

    Takes no lock, so that it can be called from a signal handler at any point.
    """
    # threading.enumerate() takes a lock, and current_thread() does for a thread that is not
    # Python's. To look into the dictionary is one step of the interpreter.
    threads = cast("dict[int | None, threading.Thread]", getattr(threading, "_active", {}))
    thread = threads.get(ident)
    return None if thread is None else thread.name


def name_of_thread(ident: int) -> str:
    """
    Return the name of a thread, for a text. Likewise.
    """
    name = known_name(ident)
    return f"an unnamed thread ({ident:#x})" if name is None else repr(name)


# Whether Python takes threads of a parent's for threads of this process; see _threads/fork_mark.py.
_lists_parents = False


def note_parents_threads(are_listed: bool) -> None:
    """
    Say whether Python lists threads that are not there.
    """
    global _lists_parents
    _lists_parents = are_listed


def frames_of_threads() -> dict[int, FrameType]:
    """
    Return where each thread is, by ident; nothing in a child of which Python does not know.

    There, some of them are threads of the parent's, whose stacks are gone, or others use them:
    CPython from 3.11 on crashes as it looks at one. It would also take one for a new thread that
    has got its ident.
    """
    return {} if _lists_parents else sys._current_frames()


def in_subinterpreter() -> bool:
    """
    Tell whether this is one of the process's interpreters that ends before the process does.

    Call it in ``setup()``, for it may import something.
    """
    is_main = getattr(_thread, "_is_main_interpreter", None)  # from Python 3.12 on
    if is_main is not None:
        return not is_main()
    try:
        interpreters = import_module("_xxsubinterpreters")
    except ImportError:
        return False  # this Python has none
    return bool(interpreters.get_current() != interpreters.get_main())
