"""
Threads: starting them, and what they are called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

# Starts a daemon thread of that target and name.
StartThread = Callable[[Callable[[], object], str], threading.Thread]


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """
    Start a daemon thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
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
