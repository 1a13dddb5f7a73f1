"""
What an operation waits on: from its Deferred down to the innermost frame, and what is below it.

Deferreds know whom to tell and not whom they wait for. What leads down all the same:

- A Deferred whose callback has returned another one is chained to that: ``_chainedTo``.
- The Deferred of a coroutine or an ``inlineCallbacks`` generator has a canceller, a closure over
  the record in which Twisted notes what that waits on: ``status.waitingOn``.
- The Deferred waited on has a callback, and that has the generator among its arguments, beside the
  same record. Generators and coroutines know what they await: ``cr_await`` and its kin.
- A ``DeferredList`` has its list.
- A Deferred notes whether it is calling something: ``_runningCallbacks``.
- An asyncio task has its coroutine and ``_fut_waiter``. What ``gather()`` returns has its list, and
  so has a task group, to which the coroutine refers that waits at its end. The functions by which
  Twisted turns futures and Deferreds into one another, and ``shield()`` a future into another, are
  closures over them.

Most of this is private to Twisted: it is as above from 24.10, where ``_callbacks`` is
``callbacks``, to 26.10. Attributes are asked of classes, for an object may say that it has any.

What must always hold: the walk changes nothing, never raises and always ends. What is not found
ends it. It is made in any thread while the reactor thread goes on: lists are copied, in one step,
before they are looked through, and a running generator tells its line and awaits nothing. What the
reactor thread drops while the walk holds it dies here instead of there.
"""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import suppress
from types import CodeType, CoroutineType, FunctionType
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.defer import Deferred

from .._errors import Place
from .frames import is_ours, worth_telling

# How many steps down are made at most, and how many are then told, of the first and of the last.
_STEPS = 1000
_TOLD = 15

# What a generator, a coroutine or an asynchronous generator calls its frame, its code, and what
# it waits on.
_KINDS = (
    ("cr_frame", "cr_code", "cr_await"),
    ("gi_frame", "gi_code", "gi_yieldfrom"),
    ("ag_frame", "ag_code", "ag_await"),
)

# The record in which Twisted notes what a coroutine or generator waits on.
_STATUS: Any = getattr(defer, "_CancellationStatus", ())

# What asyncio.gather() returns.
_GATHERING: Any = getattr(asyncio.tasks, "_GatheringFuture", ())

# Task groups, which Python 3.10 has not, and what waits for the tasks of one.
_GROUP: Any = getattr(asyncio, "TaskGroup", None)
_GROUP_ENDS = {
    getattr(getattr(_GROUP, name, None), "__code__", 0) for name in ("__aexit__", "_aexit")
}

# Functions that are closures over what is waited for: for certain, unlike any others.
_CLOSURES = frozenset(
    {
        ("twisted.internet.defer", "Deferred.asFuture.<locals>.checkCancel"),
        ("twisted.internet.defer", "Deferred.fromFuture.<locals>.cancel"),
        ("asyncio.tasks", "shield.<locals>._outer_done_callback"),
    }
)

# Objects of the interpreter's between two of those, which do not tell what they wrap.
_WRAPPERS = frozenset(
    {"async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper"}
)


class Deferral(Place):
    """
    The end of a chain: a Deferred that has not fired.

    Where it is waited for is told by the places before it. The function, file and line are those
    of its canceller, or of the first callback that it is to call; all are empty if it has neither.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"a Deferred ({super().__str__()})" if self.function else "a Deferred"


class Made(Deferral):
    """
    The same, and Twisted knows where that Deferred was made: that is the place.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"a Deferred made in {Place.__str__(self)}"


class Number(Place):
    """
    How many Deferreds of a ``DeferredList``, or of ``gatherResults()``, have not fired, or how many
    futures of ``gather()``, or tasks of a group, are not done: the chain goes on with the first of
    them. Or how much of a very long chain is left out.

    The function tells it in words; there is no file.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return self.function


def awaits(operation: object) -> tuple[Place, ...]:
    """
    Return what an operation waits on, outermost first. Never raises.

    Call it from any thread. Blocks never.

    Args:
        operation: a Deferred, or an asyncio task or future.
    """
    found: list[Place] = []
    path_of(operation, found)
    if len(found) > 2 * _TOLD:
        omitted = Number(f"{len(found) - 2 * _TOLD} more", "", 0)
        found[_TOLD:-_TOLD] = [omitted]
    return tuple(found)


def path_of(operation: object, found: list[Place] | None = None) -> list[object]:
    """
    Return an operation, what it waits on, what that waits on, and so on. Likewise.

    Args:
        operation: as above.
        found: where each is to be noted, for somebody to be told. Without it the path ends where
            what comes next is no more than likely.
    """
    path: list[object] = []
    seen: set[int] = set()
    here: object = operation
    # Some Deferred or awaitable may be made differently than those we know. What has been found by
    # then is right, and whoever looks at the chain sees where it ends.
    with suppress(Exception):
        while here is not None and len(seen) < _STEPS and id(here) not in seen:
            seen.add(id(here))
            path.append(here)
            here = _next(here, found)
    return path


def is_unknown(chain: tuple[Place, ...]) -> bool:
    """
    Tell whether a chain ends with a Deferred of which nothing is known.
    """
    return bool(chain) and type(chain[-1]) is Deferral and not chain[-1].function


def told(chain: tuple[Place, ...]) -> str:
    """
    Return a chain in a line.
    """
    return " > ".join(map(str, chain))


def _next(here: object, found: list[Place] | None) -> object:
    if isinstance(here, Deferred):
        return _below_deferred(cast("Any", here), found)
    if _has(here, "get_coro"):
        task: Any = here
        if task.done():
            return None
        coroutine = task.get_coro()
        own = getattr(coroutine, "coroutine", coroutine)  # of our driver, its own
        _down(own, found)
        awaited = getattr(coroutine, "awaited", None) or _grouped(own, found) or task._fut_waiter
        return getattr(awaited, "deferred", awaited)
    # A future.
    future: Any = here
    if future.done():
        return None
    if isinstance(here, _GATHERING):
        left = [one for one in future._children if not one.done()]
        if found is not None:
            found.append(Number(f"{len(left)} of {len(future._children)} futures", "", 0))
        return cast("object", next(iter(left or future._children), None))
    for callback in getattr(future, "_callbacks", None) or ():
        is_certain = _is_closure(callback[0])
        for content in _contents(callback[0]) if is_certain or found is not None else ():
            if isinstance(content, Deferred) or (is_certain and _has(content, "get_loop")):
                return cast("object", content)
    return None


def _grouped(coroutine: Any, found: list[Place] | None) -> object:
    """
    Return the first task that is left of a group at whose end a coroutine waits, if it does.
    """
    while type(coroutine) is CoroutineType:
        if coroutine.cr_code in _GROUP_ENDS:
            groups = [each for each in gc.get_referents(coroutine) if isinstance(each, _GROUP)]
            left = [*groups[0]._tasks]
            if found is not None:
                found.append(Number(f"{len(left)} of a group's tasks", "", 0))
            return cast("object", next(iter(left), None))
        coroutine = coroutine.cr_await
    return None


def _is_closure(function: Any) -> bool:
    if not isinstance(function, FunctionType):
        return False
    return (function.__module__, function.__qualname__) in _CLOSURES


def _below_deferred(deferred: Any, found: list[Place] | None) -> object:
    if deferred.called and not deferred.paused:
        return None  # it has fired, and is about to be looked at
    if deferred._chainedTo is not None:
        return cast("object", deferred._chainedTo)
    # Of a coroutine that _coroutines/task.py drives, or what _coroutines/follow.py follows.
    task = getattr(deferred, "task", None)
    if task is not None:
        return cast("object", task)
    canceller = deferred._canceller
    for content in _contents(canceller):
        if isinstance(content, _STATUS):
            awaited = content.waitingOn
            if found is not None:
                _down(_driven(awaited, content), found)
            return cast("object", awaited)
        if (found is not None or _is_closure(canceller)) and _has(content, "get_loop"):
            return content  # Deferred.fromFuture() has made this of a future or a task
    gathered: Any = getattr(deferred, "_deferredList", None)
    if gathered is not None:
        left = [one for one in gathered if not one.called or one.paused or callbacks_of(one)]
        if found is not None:
            found.append(Number(f"{len(left)} of {len(deferred.resultList)} Deferreds", "", 0))
        return cast("object", next(iter(left or gathered), None))
    if found is not None:
        found.append(_end(deferred, canceller))
    return None


def _driven(awaited: Any, status: object) -> object:
    """
    Return the generator that Twisted drives with what a Deferred fires with.
    """
    for _, args in callbacks_of(awaited):
        if [arg for arg in args if arg is status]:
            for arg in args:
                if _is_kind(arg):
                    return arg
    return None


def callbacks_of(deferred: Any) -> list[tuple[object, tuple[object, ...]]]:
    """
    Return what a Deferred is to call with a value, and with which further arguments.
    """
    name = "_callbacks" if hasattr(deferred, "_callbacks") else "callbacks"  # up to 24.10
    return [(pair[0][0], pair[0][1] or ()) for pair in list(getattr(deferred, name, ()))]


def is_calling_back(deferred: Any) -> bool:
    """
    Tell whether a Deferred is in the middle of a callback.
    """
    return bool(deferred._runningCallbacks)


def _down(waiting: object, found: list[Place] | None) -> None:
    """
    Note where a generator or coroutine waits, and those that it waits on.
    """
    while found is not None and len(found) < _STEPS:
        while type(waiting).__name__ in _WRAPPERS:
            waiting = next(filter(_is_kind, gc.get_referents(waiting)), None)
        for frame, code, awaited in _KINDS:
            if _has(waiting, frame):
                _note(waiting, frame, getattr(waiting, code), found)
                waiting = getattr(waiting, awaited)
                break
        else:
            return


def _is_kind(thing: object) -> bool:
    return type(thing).__name__ in _WRAPPERS or bool([k for k in _KINDS if _has(thing, k[0])])


def _has(thing: object, name: str) -> bool:
    return hasattr(type(thing), name)


def _note(waiting: object, frame: str, code: CodeType, found: list[Place]) -> None:
    if _is_common(code):
        return  # Deferred.__await__() and its like, and what drives a stream
    name = getattr(waiting, "__qualname__", code.co_name).rpartition("<locals>.")[2]
    line = getattr(getattr(waiting, frame), "f_lineno", None) or code.co_firstlineno
    found.append(Place(name, code.co_filename, line))


def _contents(function: object) -> list[Any]:
    """
    Return what a function is a closure over.
    """
    contents: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            continue  # not assigned yet
    return contents


# A frame, as Twisted notes where a Deferred was made while ``setDebugging(True)`` holds.
_FRAME = re.compile(r' *File "(.+)", line (\d+), in (.+)')


def _end(deferred: Any, canceller: object) -> Deferral:
    creator = getattr(getattr(deferred, "_debugInfo", None), "creator", None)
    if creator:
        frames = [found for found in map(_FRAME.match, reversed(creator)) if found]
        lines = worth_telling(tuple(Place(each[3], each[1], int(each[2])) for each in frames))
        if lines:
            return Made(*lines[0])
    # Of the callbacks, those that are Twisted's own or ours are there for every operation.
    callbacks = [callback for callback, _ in callbacks_of(deferred)]
    for thing in (canceller, *callbacks):
        function = getattr(thing, "__func__", thing)
        if isinstance(function, FunctionType):
            code = function.__code__
            if thing is canceller or not _is_common(code):
                # The name of a lambda or of an inner function says little without the outer one's.
                name = function.__qualname__.replace("<locals>.", "")
                return Deferral(name, code.co_filename, code.co_firstlineno)
    return Deferral("", "", 0)


def _is_common(code: CodeType) -> bool:
    return code.co_filename == defer.__file__ or is_ours(code.co_filename)
