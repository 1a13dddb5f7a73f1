"""
Noticing forks that Python was not told of.

``os.register_at_fork()`` covers forks that Python makes. A program in C that embeds Python may fork
past it, as uWSGI does unless it is told otherwise, and so may a C library. The child then has
everything of the parent's, half done perhaps, and none of the threads that would finish it. So
what enters the package looks at a mark that a fork wipes, and on finding it wiped does what the
hook would have done, before anything else. What must always hold:

1. The mark is set in a process that has nothing of a parent's that is not its own.
2. Of the threads of such a child one does that, and all others wait until it is done.

On Linux the mark is a byte in a page that the kernel empties in every child (MADV_WIPEONFORK). To
look takes 10 ns more than to look at a list, where a system call such as ``os.getpid()`` takes 100.
Elsewhere, and on kernels before 4.14, it is the process's number.

Threads: any may look, and any may be the first to find it wiped. The lock is the process's own: one
that was made before the fork may be held by a thread that the child does not have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import RLock
from typing import Any, Protocol

# MADV_WIPEONFORK, in <sys/mman.h> of Linux. Python's mmap does not name it.
_WIPE_ON_FORK = 18


class Mark(Protocol):
    """
    Of which the first item is true, until this process forks; in the child it is false.
    """

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class _Number:
    """
    The number of the process in which this was set, where no memory is wiped.
    """

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, index: int, /) -> int:
        return self._pid == os.getpid()

    def __setitem__(self, index: int, value: int, /) -> None:
        self._pid = os.getpid()


def _wiped_page() -> Mark:
    """
    Return a page of memory that is empty, and is so again in a forked child.

    Raises:
        Exception: there is no such thing here.
    """
    import mmap

    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.madvise(_WIPE_ON_FORK)
    return page


def new_mark(wiped_page: Callable[[], Mark] = _wiped_page) -> Mark:
    """
    Return a mark of this process.
    """
    try:
        if sys.platform != "linux":  # the number means something else there
            raise NotImplementedError
        mark = wiped_page()
    except Exception:  # an old kernel, or one of a sandbox: as good, but slower
        mark = _Number()
    mark[0] = 1
    return mark


def wiped_like(mark: Mark) -> Any:
    """
    Return a page that is empty in forked children, as this mark is; None if that is a number.
    """
    return _wiped_page() if hasattr(mark, "madvise") else None


class ForkWatch:
    """
    Does in a forked child, once, what is to be done there, should no hook have done it.

    Args:
        mark: this process's.
        then: is called in the child. It sets the mark when all is done.
        interrupted: builds the error of a call that comes in the middle of that, in its thread.
    """

    def __init__(
        self, mark: Mark, then: Callable[[], object], interrupted: Callable[[], Exception]
    ) -> None:
        self._mark = mark
        self._then = then
        self._interrupted = interrupted
        # By process, for a child's is not to be the parent's.
        self._locks: dict[int, Any] = {}

    def notice(self) -> None:
        """
        Take notice of the fork. From any thread; blocks while another thread does.

        Raises:
            RuntimeError: this thread is at it, and was interrupted.
        """
        lock = self._locks.setdefault(os.getpid(), RLock())
        if lock._is_owned():
            raise self._interrupted()
        with lock:
            if not self._mark[0]:
                self._then()
