"""
Values as bytes, for another process.

What must always hold:

1. What comes out equals what went in, and has the same type, all the way down. What could not be
   brought back so is refused, and named, when it goes in.
2. Bytes bring nothing to life but values of the types below, and dataclasses that the program has
   listed. No name in them is ever imported. (Pickle does that, so it is there only for a program
   that asks for it.)

JSON has its own types for None, bool, int, float, str, list, and dict with str keys. Each other
type is an object with one key, its tag. A dict that could be taken for one has a tag itself.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

# What a key that is a tag begins with.
_MARK = "~"

# As they are in JSON. No subclasses: those would come back as something else.
_PLAIN = (type(None), bool, int, float, str)


class Serializer(Protocol):
    """
    Makes bytes of values, and values of those bytes.
    """

    def dumps(self, value: object) -> bytes:
        """
        Return a value as bytes. Whatever it raises becomes the result in other processes.
        """
        ...

    def loads(self, data: bytes) -> object:
        """
        Return the value again.
        """
        ...


class PickleSerializer:
    """
    Makes bytes by pickle, of nearly any value. Anyone who can write to the stash can run code in
    every process that reads it.

    Args:
        protocol: of pickle's.
    """

    def __init__(self, protocol: int = pickle.DEFAULT_PROTOCOL) -> None:
        self._protocol = protocol

    def __repr__(self) -> str:
        return f"PickleSerializer(protocol={self._protocol})"

    def dumps(self, value: object) -> bytes:
        """
        Return a value as bytes.

        Call it from any thread. Never blocks.
        """
        return pickle.dumps(value, self._protocol)

    def loads(self, data: bytes) -> object:
        """
        Return the value again. It runs what the bytes say.

        Call it from any thread. Never blocks.
        """
        return pickle.loads(data)


class JsonSerializer:
    """
    Makes bytes of plain values: tagged JSON.

    Args:
        dataclasses: those that may be brought to life.
    """

    def __init__(self, dataclasses: Iterable[type] = ()) -> None:
        self._dataclasses = {name_of_class(each): each for each in dataclasses}

    def dumps(self, value: object) -> bytes:
        """
        Return a value as bytes.

        Raises:
            TypeError: it is, or holds, something of another type, which the text names.
            ValueError: an int has too many digits for Python to write them.
            RecursionError: it holds itself, or is nested too deep.
        """
        text = json.dumps(self._packed(value), separators=(",", ":"), ensure_ascii=False)
        # As \uXXXX two lone surrogates side by side would come out as one character.
        return text.encode("utf-8", "surrogatepass")

    def loads(self, data: bytes) -> object:
        """
        Return the value again.

        Raises:
            ValueError: these are no such bytes.
        """
        return json.loads(data, object_hook=self._unpacked)

    def _packed(self, value: Any) -> object:
        kind = _type_of(value)
        if kind in _PLAIN:
            return value
        if kind is list:
            return [self._packed(each) for each in value]
        if kind is dict:
            return self._packed_dict(value)
        if kind is tuple or kind is set:
            return {f"{_MARK}{kind.__name__}": [self._packed(each) for each in value]}
        if kind in _SCALARS:
            tag, pack, _ = _SCALARS[kind]
            return {f"{_MARK}{tag}": pack(value)}
        name = name_of_class(kind)
        if self._dataclasses.get(name) is kind:
            fields = {
                field.name: self._packed(getattr(value, field.name))
                for field in dataclasses.fields(value)
            }
            return {f"{_MARK}data": [name, fields]}
        raise TypeError(f"{_printed(kind)} is no type that a stash takes to another process")

    def _packed_dict(self, value: dict[Any, Any]) -> object:
        if all(type(key) is str and key[:1] != _MARK for key in value):
            return {key: self._packed(each) for key, each in value.items()}
        for key in value:
            if type(key) not in _PLAIN and type(key) not in _SCALARS:
                name = _printed(_type_of(key))
                raise TypeError(f"a dict with a key of {name} is not taken to another process")
        return {f"{_MARK}dict": [[self._packed(k), self._packed(v)] for k, v in value.items()]}

    def _unpacked(self, found: dict[str, Any]) -> object:
        if len(found) != 1:
            return found
        ((tag, value),) = found.items()
        if tag[:1] != _MARK:
            return found
        tag = tag[1:]
        if tag in ("tuple", "set"):
            return tuple(value) if tag == "tuple" else set(value)
        if tag == "dict":
            return {key: each for key, each in value}  # noqa: C416  # not dict(): "ab" is no pair
        if tag == "data":
            name, fields = value
            return _brought_to_life(self._dataclasses[name], fields)
        return _UNPACK[tag](value)


def _brought_to_life(kind: Any, fields: dict[str, object]) -> object:
    # Like pickle and copy: __init__ may want other arguments, and a frozen one refuses setattr().
    value: Any = object.__new__(kind)
    if fields.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError(f"{kind.__name__} has other fields here than where it comes from")
    for name, each in fields.items():
        object.__setattr__(value, name, each)
    return value


def _packed_datetime(value: datetime) -> str:
    if value.tzinfo is not None and type(value.tzinfo) is not timezone:
        name = _printed(type(value.tzinfo))
        raise TypeError(
            f"a datetime with a time zone of {name} is not taken to another process, which would "
            "have its offset only; use astimezone(timezone.utc)"
        )
    # Not as part of the moment: fromisoformat() takes an offset below a second for none.
    away = value.utcoffset()
    offset = "" if away is None else str(away // timedelta(microseconds=1))
    return f"{value.replace(tzinfo=None).isoformat()}/{value.fold}/{offset}"


def _unpacked_datetime(text: str) -> datetime:
    moment, fold, offset = text.split("/")
    zone = timezone(timedelta(microseconds=int(offset))) if offset else None
    return datetime.fromisoformat(moment).replace(tzinfo=zone, fold=int(fold))


# By type: the tag, what makes JSON of a value, and what makes a value of that.
_SCALARS: dict[type, tuple[str, Callable[[Any], str], Callable[[str], object]]] = {
    bytes: ("bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    datetime: ("datetime", _packed_datetime, _unpacked_datetime),
    UUID: ("uuid", str, UUID),
    Decimal: ("decimal", str, Decimal),
}
_UNPACK = {tag: unpack for tag, _, unpack in _SCALARS.values()}


def _type_of(value: object) -> type[Any]:
    return type(value)


def _printed(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def name_of_class(kind: type[Any]) -> str:
    """
    Return what a class is called on the way.
    """
    return f"{kind.__module__}:{kind.__qualname__}"
