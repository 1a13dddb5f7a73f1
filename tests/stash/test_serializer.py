"""
Values as bytes, and back.
"""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crochet._stash.serializer import JsonSerializer, PickleSerializer


@dataclasses.dataclass(frozen=True)
class Point:
    """
    May be brought to life.
    """

    x: Any
    y: Any = dataclasses.field(init=False, default=None)


@dataclasses.dataclass
class Unlisted:
    """
    May not.
    """

    x: int = 0


class Number(IntEnum):
    """
    Is an int, and would come back as one.
    """

    ONE = 1


_KEYS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.binary(),
    st.uuids(),
    st.floats(allow_nan=False),
    st.sampled_from(["~tuple", "~dict", "~"]),
)
_OFFSETS = st.one_of(
    st.none(), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
)
_SCALARS = st.one_of(
    _KEYS,
    st.decimals(allow_nan=False),
    st.datetimes(timezones=_OFFSETS),
    st.datetimes().map(lambda moment: moment.replace(fold=1)),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(_KEYS, inner),
        st.sets(_KEYS),
        inner.map(Point),
    ),
    max_leaves=20,
)


def _types(value: Any) -> Any:
    """
    Return the types of a value all the way down.
    """
    if isinstance(value, dict):
        return dict, [(_types(key), _types(each)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [_types(each) for each in value]
    if isinstance(value, set):
        return set, sorted(str(type(each)) for each in value)
    if isinstance(value, Point):
        return Point, _types(value.x)
    if isinstance(value, datetime):
        return datetime, value.fold, value.utcoffset()
    return type(value), str(value)


@given(_VALUES)
def test_values_come_out_as_they_went_in(value: Any) -> None:
    """
    Equal, and of the same types, all the way down.
    """
    serializer = JsonSerializer([Point])
    again = serializer.loads(serializer.dumps(value))
    assert again == value
    assert _types(again) == _types(value)


@pytest.mark.parametrize("text", ["\ud83d\ude00", "\ud800", "\U0001f600", "\0"])
def test_halves_of_characters_stay_halves(text: str) -> None:
    """
    Two side by side are not the character that they would make.
    """
    serializer = JsonSerializer()
    for value in (text, {text: [text]}, {1: text}):
        assert serializer.loads(serializer.dumps(value)) == value


def test_floats_that_are_no_numbers_come_out() -> None:
    """
    As Python's JSON has them.
    """
    serializer = JsonSerializer()
    assert serializer.loads(serializer.dumps(math.inf)) == math.inf
    assert math.isnan(serializer.loads(serializer.dumps(math.nan)))  # type: ignore[arg-type]


class _Zone(tzinfo):
    """
    A time zone of somebody's.
    """


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "builtins.object"),
        ([{"a": (Unlisted(),)}], "Unlisted"),
        (Number.ONE, "Number"),
        (frozenset(), "builtins.frozenset"),
        ({(1,): 2}, "builtins.tuple"),
        (datetime(2020, 1, 1, tzinfo=ZoneInfo("UTC")), "zoneinfo.ZoneInfo"),
        (datetime(2020, 1, 1, tzinfo=_Zone()), "_Zone"),
        (Point, "builtins.type"),
        (1j, "builtins.complex"),
    ],
)
def test_what_would_come_out_otherwise_is_refused(value: Any, named: str) -> None:
    """
    By the name of its type.
    """
    with pytest.raises(TypeError, match=named):
        JsonSerializer([Point]).dumps(value)


def test_what_holds_itself_is_refused() -> None:
    """
    And does not end the process.
    """
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        JsonSerializer().dumps(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b'{"~unknown":1}',
        b'{"~data":["tests:Unlisted",{"x":1}]}',
        b'{"~data":["os:system","ls"]}',
        b'{"~tuple":1}',
        b'{"~dict":["abc"]}',
        b'{"~set":[[]]}',
        b'{"~uuid":1}',
        b"[" * 100_000,
    ],
)
def test_other_bytes_bring_nothing_to_life(data: bytes) -> None:
    """
    Whatever they name.
    """
    with pytest.raises(Exception, match=r".*"):
        JsonSerializer([Point]).loads(data)


def test_a_dataclass_of_another_version_is_refused() -> None:
    """
    It has other fields there.
    """
    data = JsonSerializer([Point]).dumps(Point(1)).replace(b'"y"', b'"z"')
    with pytest.raises(ValueError, match="Point has other fields"):
        JsonSerializer([Point]).loads(data)


def test_the_bytes_are_json() -> None:
    """
    Plain values as anybody would write them.
    """
    data = JsonSerializer().dumps({"a": [1, 2.5, None, True, "ü"]})
    assert json.loads(data) == {"a": [1, 2.5, None, True, "ü"]}


def test_pickle_takes_any_value() -> None:
    """
    That pickle takes.
    """
    serializer = PickleSerializer()
    value = [Number.ONE, frozenset(), UUID(int=5), Decimal(1), 1j]
    assert serializer.loads(serializer.dumps(value)) == value
    assert "PickleSerializer(" in repr(serializer)
