"""
What a thread is blocked in, seen from another thread.

A wait of ours is listed in ``bridge.waits``. What else a thread of the program is blocked in, the
interpreter tells (``sys._current_frames()``): the frames of what blocks have in their locals what
is waited for: ``Thread.join()`` the thread, an import the module's lock, and that knows its owner.
So we can go from thread to thread until we come back to where we began, which is a deadlock, or to
a thread that is at work, or to something that does not say which thread could end it.

What must always hold:

1. A deadlock that is called certain is one; see ``_told()``.
2. Nothing of the program is called here: no attribute that may be a property, no ``repr()`` of its
   objects.
3. Locals of a frame are looked at only if it is blocked in something that is listed here: before
   3.13 looking makes a copy, which lives as long as the frame.

Threads: any may ask about any other; the watchdog does.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import queue
import re
import threading
from _thread import RLock, get_ident
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any, NamedTuple, cast

from .._core.bridge import Bridge
from .._core.call import PENDING, Call
from .._threads.primitives import Waiter
from .._threads.threads import frames_of_threads, known_name
from .frames import above_the_reactor, is_ours, place_of_frame, worth_telling


class Wait(NamedTuple):
    """
    A wait of ours that a thread is in.
    """

    ident: int  # of the thread that waits
    name: str  # of the function called
    waiter: Waiter  # what the thread is blocked on
    reactor_thread: int | None  # which would have to answer


class Blocked(NamedTuple):
    """
    What a thread is blocked in, and who cannot go on because of it.
    """

    # One or two sentences.
    text: str
    # Whether it can only last for ever.
    is_certain: bool
    # The waits of ours that are part of the circle, if it is one.
    waits: list[Wait]


class _Link(NamedTuple):
    """
    A thread that waits, and what for.
    """

    what: str  # reads after "waits"
    place: str
    to: int | None = None  # the thread that could end it, if that can be told
    has_timeout: bool = False
    wait: Wait | None = None
    remedy: str = ""


_REMEDY = "Blocking code in the reactor thread belongs in a thread, with deferToThread()."

_JOIN = threading.Thread.join.__code__
_IMPORT = cast("Any", importlib)._bootstrap._ModuleLock.acquire.__code__
# By module and name, for importing those would add hooks to a program that does not use them.
_RESULT = ("concurrent.futures._base", "result")
_WORK_ITEM = ("concurrent.futures.thread", "run")
# What else blocks, from the outermost call inwards, and what is waited for there.
_OTHERS: dict[CodeType, str] = {
    queue.Queue.get.__code__: "an item of a queue",
    queue.Queue.put.__code__: "room in a queue",
    queue.Queue.join.__code__: "a queue's items to be done",
    threading.Barrier.wait.__code__: "others to come to a barrier",
    threading.Semaphore.acquire.__code__: "a semaphore",
    threading.Event.wait.__code__: "an event",
    threading.Condition.wait_for.__code__: "a condition",
    threading.Condition.wait.__code__: "a condition",
}
# Where those are. A frame of another module is not looked beyond.
_BLOCKING_MODULES = {"threading", "queue", "importlib._bootstrap", "_frozen_importlib"}
_LOCK = type(threading.Lock())
# The lock in `with self.lock:`, and in `lock.acquire()`.
# (Compiled when they are first used: most programs never do, and it takes a millisecond.)
_LOCKS_IN_SOURCE = (
    r"(?:\bwith|,)\s+(?P<name>[\w.]+)\s*(?=[,:]|as\b)|\b(?P<acquired>[\w.]+)\.acquire\((?P<args>.?)"
)
_OWNER = r"owner=(\d+)"


def blocked_in(
    ident: int,
    bridge: Bridge,
    frames: dict[int, FrameType] | None = None,
    *,
    reads_source: bool = True,
) -> Blocked | None:
    """
    Tell what a thread is blocked in, or return None: in nothing that can be recognized.

    Call it from any thread. Blocks never, but it may read a source file.

    Args:
        ident: of the thread, which is the reactor's or another.
        bridge: to the reactor whose thread is called so.
        frames: where each thread is, by its ident; it is emptied. Without it, they are looked up.
        reads_source: look for locks, too. Whoever does that over and over, with a thread that is
            at work, keeps the source of all that it does in memory.
    """
    waits = bridge.waits.by_thread()  # before the frames
    if frames is None:
        frames = frames_of_threads()
    frames.pop(get_ident(), None)  # this one leads back here, and waits for nobody
    links: dict[int, _Link] = {}
    here: int | None = ident
    try:
        while here is not None and here not in links:
            link = _link_of(here, frames, waits, bridge, reads_source)
            if link is None or link.to == here:
                break  # at work, or in the middle of giving back what it has itself
            links[here] = link
            here = link.to
    finally:
        frames.clear()
        waits.clear()
    if not links:
        return None
    return _told(links, here == ident, bridge)


def _told(links: dict[int, _Link], is_circle: bool, bridge: Bridge) -> Blocked:
    """
    Tell of threads each of which waits for the next; and if that is a circle, whether for ever.

    One look is enough to be certain. All frames are taken in one step of the interpreter, so there
    was a moment at which each thread was where it was found. A wait counts that was listed before
    that moment and is afterwards, and whose thread was not in code of the program: a signal handler
    or a destructor goes on by itself.

    1. The thread we ask about was in a wait without a timeout for the next one, and so on.
    2. The last of them waits for a call of ours, and has no answer when we look, so it had none
       then.
    3. The reactor thread, which would have to answer, is the one that we began with.

    So none of them can move before another does, but for what comes from outside: a signal's
    exception, the timeout of a wait of ours (which is what a DeadlockError saves one from waiting
    for), and a ``cancel()`` by a thread that has no part in it. With a timeout anywhere else in the
    circle, or a lock whose owner is unknown, nothing is certain.
    """
    waits = [link.wait for link in links.values() if link.wait is not None] if is_circle else []
    parts = [
        f"{_name_of(ident, bridge)} waits in {link.place} {link.what}"
        for ident, link in links.items()
    ]
    text = ", and ".join(parts) + "."
    text = text[0].upper() + text[1:]
    if is_circle:
        remedies = [link.remedy for link in links.values() if link.remedy]
        text += f" None of them can go on. {remedies[0] if remedies else _REMEDY}"
    is_certain = bool(waits) and not [link for link in links.values() if link.has_timeout]
    return Blocked(text, is_certain, waits)


def wait_of(ident: int, bridge: Bridge) -> Wait | None:
    """
    Return the wait that a thread is in, for a call that has no answer yet; or None.
    """
    waiter, call = bridge.waits.by_thread().get(ident, (None, None))
    if waiter is None or call is None or call.outcome is not PENDING:
        return None
    return Wait(ident, call.name, waiter, bridge.reactor_thread)


def place_of(frame: FrameType | None, body: Call | None = None) -> str:
    """
    Return the file, line and function of the program that a frame is in, or was called from; or if
    there is none, those of a library.

    Args:
        frame: the innermost.
        body: the call in whose body it is, to be named for want of any.
    """
    # A function of C or of a library is called by us or by the loop: what is below that is the
    # place where the program runs the reactor.
    stack = above_the_reactor(frame)
    lines = worth_telling(stack)
    if not lines and body is not None:
        return f"{body.name}()"
    for place in lines or [each for each in stack if not is_ours(each.file)] or stack:
        return str(place._replace(function=place.function.rpartition(".")[2]))
    return "an unknown place"


def _source_of(frame: FrameType) -> str:
    _, file, line = place_of_frame(frame)
    if file in linecache.cache:  # of a notebook's cell, say
        return linecache.getline(file, line).strip()
    return _line_of_file(file, line)


# Not by linecache: it would keep whole files, of all that was ever slow. And not anew each time: to
# read lets go of the interpreter's lock, and when it is wanted most, thousands want that.
@lru_cache(64)
def _line_of_file(file: str, number: int) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as source:
            for line in islice(source, number - 1, None):
                return line.strip()
    except OSError:
        pass  # it has no source that could be read, and is told without
    return ""


def _name_of(ident: int, bridge: Bridge) -> str:
    return "the reactor thread" if ident == bridge.reactor_thread else _quoted(ident)


def _quoted(ident: int | None) -> str:
    name = known_name(ident)
    return "another thread" if name is None else f"thread {name!r}"


def _link_of(
    ident: int,
    frames: dict[int, FrameType],
    waits: dict[int, tuple[Waiter, Any]],
    bridge: Bridge,
    reads_source: bool,
) -> _Link | None:
    """
    Tell what a thread waits for: what is listed, or else by its innermost frames.
    """
    innermost = frames.get(ident)
    if innermost is None:
        return None
    if is_ours(innermost.f_code.co_filename):  # and not the program's
        wait = wait_of(ident, bridge)
        if wait is None or ident not in waits or waits[ident][0] is not wait.waiter:
            return None
        what = f"for {wait.name}()"
        return _Link(what, place_of(innermost), to=wait.reactor_thread, wait=wait)
    body = bridge.body if ident == bridge.reactor_thread else None
    found: _Link | None = None
    frame: FrameType | None = innermost
    while frame is not None:
        code = frame.f_code
        if code is _JOIN:
            return _join_in(frame, body)
        if code is _IMPORT:
            return _import_in(frame, body)
        if _name_in(frame) == _RESULT:
            return _result_in(frame, frames, body)
        if code in _OTHERS:
            timeout = _local(frame, "timeout") is not None
            found = _Link(f"for {_OTHERS[code]}", place_of(frame, body), has_timeout=timeout)
        elif frame.f_globals.get("__name__") not in _BLOCKING_MODULES:
            break
        frame = frame.f_back
    return found or (_lock_in(innermost, body) if reads_source else None)


def _name_in(frame: FrameType) -> tuple[str, str]:
    return str(frame.f_globals.get("__name__")), frame.f_code.co_name


def _local(frame: FrameType, name: str) -> Any:
    return frame.f_locals.get(name)


def _join_in(frame: FrameType, body: Call | None) -> _Link:
    thread = cast("threading.Thread", _local(frame, "self"))
    return _Link(
        f"for the end of {_quoted(thread.ident)}",
        place_of(frame, body),
        to=thread.ident,
        has_timeout=_local(frame, "timeout") is not None,
    )


def _import_in(frame: FrameType, body: Call | None) -> _Link:
    lock = _local(frame, "self")
    owner = cast("int | None", lock.owner)
    return _Link(
        f"to import the module {lock.name!r}, which {_quoted(owner)} is importing",
        place_of(frame, body),
        to=owner,
        remedy="Move the call out of the import, into a function that is called after it.",
    )


def _result_in(frame: FrameType, frames: dict[int, FrameType], body: Call | None) -> _Link:
    """
    Find the thread of a pool that is at work on a future.
    """
    future = _local(frame, "self")
    has_timeout = _local(frame, "timeout") is not None
    for ident, each in frames.items():
        here: FrameType | None = each
        while here is not None:
            # Of two there from 3.14 on one has no future, and an item that has failed is None.
            work = _local(here, "self") if _name_in(here) == _WORK_ITEM else None
            if work is not None and getattr(work, "future", None) is future:
                what = f"for a future that {_quoted(ident)} works on"
                return _Link(what, place_of(frame, body), to=ident, has_timeout=has_timeout)
            here = here.f_back
    return _Link("for a future", place_of(frame, body), has_timeout=has_timeout)


def _lock_in(frame: FrameType, body: Call | None) -> _Link | None:
    """
    Find a lock by the source line, for a thread that is blocked in one leaves no frame behind.

    A line that takes a reentrant lock which another thread has cannot be a line that has taken it.
    Of a plain lock nobody knows the owner.
    """
    for match in re.finditer(_LOCKS_IN_SOURCE, _source_of(frame)):
        name = match["name"] or match["acquired"]
        lock = _looked_up(name, frame)
        has_timeout = match["args"] not in (None, ")")
        if isinstance(lock, RLock):
            found = re.search(_OWNER, repr(lock))
            owner = int(found[1]) if found else 0
            if owner:
                what = f"for the lock {name!r}, which {_quoted(owner)} has"
                return _Link(what, place_of(frame, body), to=owner, has_timeout=has_timeout)
        elif isinstance(lock, _LOCK) and lock.locked():
            what = f"for the lock {name!r}, which does not say which thread holds it"
            return _Link(what, place_of(frame, body), has_timeout=has_timeout)
    return None


def _looked_up(name: str, frame: FrameType) -> object:
    """
    Return what a dotted name stands for in a frame, as far as that runs no code.
    """
    first, *rest = name.split(".")
    value: object = frame.f_locals.get(first, frame.f_globals.get(first))
    for attribute in rest:
        value = inspect.getattr_static(value, attribute, None)
    return value
