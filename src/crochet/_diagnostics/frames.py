"""
Places in code: where a call was made, where a coroutine waits, what a thread is doing.

A frame that is held keeps its locals alive, and one that is held while its function returns has
them die in the wrong thread. So frames are looked at and let go of in the same expression or loop,
and what is kept is a code object and an offset, or a name, a file and a line.
"""

from __future__ import annotations

import os
import re
import sys
from types import CodeType, FrameType

import twisted
import zope.interface  # type: ignore[import-untyped]

from .._errors import Place

# How many frames of a thread are looked at, innermost first.
_DEEPEST = 200

# How many lines of the program's a text names.
_TOLD = 3


def line_of(code: CodeType, offset: int) -> int:
    """
    Return the line of an instruction, given its ``f_lasti``.
    """
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


def place_of_frame(frame: FrameType) -> Place:
    """
    Return where a frame is, or the first line of its code while it is at none: its thread goes on,
    and not every instruction has a line.
    """
    code = frame.f_code
    # co_qualname is there from 3.11 on. The function in which one was defined is of no use in a
    # message.
    name = getattr(code, "co_qualname", code.co_name).rpartition("<locals>.")[2]
    # A module's code begins at line 0.
    return Place(name, code.co_filename, frame.f_lineno or code.co_firstlineno or 1)


def _folder_of(file: str | None) -> str:
    return os.path.join(os.path.dirname(file or ""), "")


_STDLIB = _folder_of(os.__file__)
# Where installed packages are, in or outside of a virtual environment.
_PACKAGES = re.compile(r"[\\/](?:site|dist)-packages[\\/]([^\\/.]+)")
_TWISTED = _folder_of(twisted.__file__)
_CROCHET = _folder_of(os.path.dirname(__file__))
_MACHINERY = (_TWISTED, _folder_of(zope.interface.__file__), _CROCHET)


def is_ours(file: str) -> bool:
    """
    Tell whether code is Crochet's.
    """
    return file.startswith(_CROCHET)


# Whose code it is, in the order in which a reader wants to be told of it.
OWN, LIBRARY, GENERATED, MACHINERY = range(4)

# What is not in a file, but typed by somebody.
_TYPED = ("<stdin", "<console", "<input", "<ipython-input", "<python-input", "<doctest")


def owner_of(file: str) -> int:
    """
    Tell whose code is in a file: the program's own, an installed package's, nobody's that could be
    read, or Python's, Twisted's and ours.
    """
    if file.startswith(_MACHINERY) or file.startswith("<frozen "):
        return MACHINERY
    if file.startswith("<"):
        is_typed = file.startswith(_TYPED) or (file == "<string>" and sys.argv[:1] == ["-c"])
        return OWN if is_typed else GENERATED
    if _PACKAGES.search(file):
        return LIBRARY
    return MACHINERY if file.startswith(_STDLIB) else OWN


def worth_telling(stack: tuple[Place, ...]) -> list[Place]:
    """
    Return the lines of a stack that a reader wants to be told of, innermost first: the program's
    own, or for want of such those of packages; none if no line would tell anything.
    """
    owners = [owner_of(place.file) for place in stack]
    best = min(owners, default=MACHINERY)
    if best == MACHINERY:
        return []
    return [place for place, owner in zip(stack, owners, strict=True) if owner == best]


def told(stack: tuple[Place, ...]) -> str:
    """
    Return the first of those lines, and the package that they have called, in a phrase.
    """
    lines = worth_telling(stack)
    if not lines:
        return ""
    texts = [str(place) for place in lines[:_TOLD]]
    called = [_PACKAGES.search(place.file) for place in stack[: stack.index(lines[0])]]
    packages = [found[1] for found in called if found and found[1] not in ("twisted", "crochet")]
    if packages and owner_of(lines[0].file) == OWN:
        texts[0] = f"{texts[0]} (inside {packages[-1]})"
    return ", called by ".join(texts)


# What runs a reactor's loop, or asyncio's, and where it is.
_LOOPS = {"run": _TWISTED, "_run_once": os.path.join(_STDLIB, "asyncio", "")}


def above_the_reactor(frame: FrameType | None) -> tuple[Place, ...]:
    """
    Return what the reactor has called, innermost first, given the innermost frame of its thread.

    Below that is what runs the reactor, which is the program's own main() after ``no_setup()``. Of
    a thread that runs none all is returned. The thread goes on meanwhile, so that what is seen may
    never have been at one moment; most threads worth looking at are stuck.
    """
    places: list[Place] = []
    end: int | None = None
    while frame is not None and len(places) < _DEEPEST:
        folder = _LOOPS.get(frame.f_code.co_name)
        if folder is not None and frame.f_code.co_filename.startswith(folder):
            end = len(places)
        places.append(place_of_frame(frame))
        frame = frame.f_back
    return tuple(places[:end])


# What a reactor does while there is nothing to do: the modules in which it then is.
_POLLING = (
    os.path.join(_TWISTED, "internet", ""),
    os.path.join(_STDLIB, "selectors.py"),
    os.path.join(_STDLIB, "asyncio", ""),
    _CROCHET,
)


def is_polling(called: tuple[Place, ...]) -> bool:
    """
    Tell whether the reactor waits for something to happen.

    It has called nothing of the program's then. What its own code does at the moment, between two
    waits, is none of the program's business, and soon over; nor is ours. (A function in C that is
    called there has no frame. Of what it has called itself the bridge knows.)

    Args:
        called: what the reactor has called, see ``above_the_reactor()``.
    """
    # (No generator: to drop one half-way runs code, and Python lets no signal out of that.)
    return not [place for place in called if not place.file.startswith(_POLLING)]
