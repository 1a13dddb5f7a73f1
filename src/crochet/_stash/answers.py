"""
Answers as bytes, and what comes of them in another process.

What must always hold:

1. There are bytes for every answer. One that cannot be taken along becomes an error that says why,
   for takers elsewhere, and is logged here.
2. An error comes back as the same type only if that is a class of the builtins, of Twisted's, of
   ours, or one that the program has listed, and an exception. It is looked up among those, and
   never imported. Otherwise it is a RemoteError.
3. An error that comes back shows, as its cause, the traceback of where it was raised.

Threads: any, but the reactor's only for what is small: the rest may take long.
"""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Iterable
from dataclasses import is_dataclass
from types import TracebackType
from typing import Any, cast

from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import _errors
from .._errors import set_cause
from .._threads.primitives import entries_of
from .numbers import State
from .serializer import JsonSerializer, Serializer, name_of_class

_log = Logger(namespace="crochet")

# Bytes of an answer, unless the program says otherwise.
MAX_SIZE = 8 * 2**20

# Characters of a text that travel: its beginning and its end. Two of them, at six bytes each.
_TEXT = 20_000
_LEAST = 12 * _TEXT + 1000

# Characters of a small value, and of an item of one.
_SMALL = 1000
_ITEM = 20


class Codec:
    """
    Makes bytes of answers, and answers of bytes.

    Args:
        serializer: for values; None is for tagged JSON.
        allow: classes that may be brought to life: exceptions, and dataclasses for tagged JSON.
        max_size: how many bytes an answer may take.

    Raises:
        TypeError: a class is neither, or *serializer* is a class.
        ValueError: *max_size* is too small for an error.
    """

    def __init__(
        self,
        serializer: Serializer | None = None,
        allow: Iterable[type] = (),
        max_size: int = MAX_SIZE,
    ) -> None:
        errors: dict[str, type[BaseException]] = {}
        data: list[type] = []
        kind: Any
        for kind in allow:
            if isinstance(kind, type) and issubclass(kind, BaseException):
                errors[name_of_class(kind)] = kind
            elif isinstance(kind, type) and is_dataclass(kind):
                data.append(kind)
            else:
                raise TypeError(f"allow= takes exception classes and dataclasses, not {kind!r}")
        if max_size < _LEAST:
            raise ValueError(f"max_size cannot be {max_size}: an error takes up to {_LEAST}")
        if isinstance(serializer, type):  # a likely slip
            raise TypeError(f"serializer= takes an object: {serializer.__name__}(), not the class")
        self._errors = errors
        self._plain = JsonSerializer(data)
        self._serializer = self._plain if serializer is None else serializer
        self.max_size = max_size

    def is_small(self, value: object) -> bool:
        """
        Tell whether to make bytes of a value takes microseconds, so that any thread may.
        """
        return self._serializer is self._plain and _room_beside(value, _SMALL) >= 0

    def pack(self, name: str, value: object) -> tuple[State, bytes]:
        """
        Make bytes of a value.

        Args:
            name: of the function that has returned it.
            value: the value.
        """
        try:
            data = self._serializer.dumps(value)
            if len(data) <= self.max_size:
                return "done", data
            error: Exception = _errors.too_large(name, type(value), len(data), self.max_size)
        except Exception as problem:
            error = _errors.not_serialized(name, type(value), problem)
        _log.error("{error}", error=error)
        return self.pack_error(error, None)

    def pack_error(
        self, error: BaseException, frames: TracebackType | None, *, is_cancelled: bool = False
    ) -> tuple[State, bytes]:
        """
        Make bytes of an error.

        Args:
            error: the error.
            frames: its traceback.
            is_cancelled: it is that the operation was cancelled, as it was asked to be.
        """
        state: State = "cancelled" if is_cancelled else "failed"
        name = name_of_class(type(error))
        texts = [
            _shortened("".join(traceback.format_exception_only(type(error), error))),
            _shortened("".join(traceback.format_exception(type(error), error, frames))),
        ]
        try:
            made_of = [_made_of(error), self._attributes(error)]
            data = self._plain.dumps([name, made_of, *texts])
        except Exception:
            # They are no plain values: takers get the text, which says what it was.
            data = b""
        if not data or len(data) > self.max_size:
            data = self._plain.dumps([name, None, *texts])
        return state, data

    def _attributes(self, error: BaseException) -> dict[str, object]:
        """
        Return what an error says of itself in attributes, as far as they are plain.
        """
        plain: dict[str, object] = {}
        for name, value in vars(error).items():
            try:
                self._plain.dumps(value)
            except Exception:
                # Takers do without; those that the class needs would have been in args.
                continue
            plain[name] = value
        return plain

    def unpack(self, state: str, data: bytes) -> tuple[object, BaseException | None]:
        """
        Return the value, or None and the error.
        """
        try:
            if state == "done":
                return self._serializer.loads(data), None
            name, made_of, text, frames = cast(
                "tuple[str, list[Any] | None, str, str]", self._plain.loads(data)
            )
            return None, self._rebuilt(name, made_of, text, frames)
        except Exception as problem:
            return None, _errors.not_readable(problem)

    def _rebuilt(
        self, name: str, made_of: list[Any] | None, text: str, frames: str
    ) -> BaseException:
        kind = self._found(name)
        error: BaseException | None = None
        if kind is not None and made_of is not None:
            args, attributes = made_of
            try:
                made = kind(*args)
                if not issubclass(kind, OSError):
                    made.args = tuple(args)  # whatever it was made with
                vars(made).update(attributes)
                error = made if type(made) is kind else None  # OSError() makes another of some
            except Exception:
                # It wants other arguments than its args.
                error = None
        if error is None:
            error = _errors.RemoteError(text.strip(), name.replace(":", "."))
        set_cause(error, _errors.RemoteTraceback(frames))
        return error

    def _found(self, name: str) -> type[BaseException] | None:
        """
        Look up a class of exceptions, among those that may be brought to life.
        """
        found = self._errors.get(name)
        if found is not None:
            return found
        module, _, attribute = name.partition(":")
        if module == "builtins":
            kind = vars(builtins).get(attribute)
        elif module == "crochet":
            kind = vars(_errors).get(attribute)
        elif module.startswith("twisted."):
            kind = getattr(sys.modules.get(module), attribute, None)
        else:
            return None
        if not isinstance(kind, type) or not issubclass(kind, BaseException) or kind is Failure:
            return None
        # By its own name: a module of Twisted's has others' classes, too.
        return kind if name_of_class(kind) == name else None


def _room_beside(value: Any, room: int) -> int:
    """
    Return how many of so many characters a value leaves, roughly; below zero if it may be more.
    """
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str or kind is bytes:
        return room - len(value)
    if kind in (dict, list, tuple) and len(value) <= room:
        for each in entries_of(value.items() if kind is dict else value):
            room = _room_beside(each, room - _ITEM)
        return room
    is_short = (kind is int and abs(value) < 2**64) or kind in (float, bool, type(None))
    return room if is_short else -1


def _made_of(error: BaseException) -> list[object]:
    # An OSError keeps the names of its files elsewhere than in its args.
    reduced: Any = error.__reduce__() if isinstance(error, OSError) else (None, error.args)
    return list(reduced[1])


def _shortened(text: str) -> str:
    if len(text) <= _TEXT:
        return text
    return f"{text[: _TEXT // 2]}\n[...]\n{text[-_TEXT // 2 :]}"
