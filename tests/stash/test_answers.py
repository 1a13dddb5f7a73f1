"""
Answers as bytes, and what comes of them elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.web.error import Error as WebError

from crochet import _errors
from crochet._stash.answers import Codec
from crochet._stash.serializer import PickleSerializer
from support.process import LoggedFailures


class Listed(Exception):
    """
    May be brought to life.
    """


class Unlisted(Exception):
    """
    May not.
    """


class Picky(Exception):
    """
    Wants other arguments than its args.
    """

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one + two)


@dataclasses.dataclass
class Point:
    """
    May be brought to life.
    """

    x: int


def there_and_back(codec: Codec, error: BaseException) -> Any:
    """
    Raise an error, and return what another process gets.
    """
    try:
        raise error
    except BaseException as raised:
        state, data = codec.pack_error(raised, raised.__traceback__)
    value, again = codec.unpack(state, data)
    assert value is None
    return again


@pytest.mark.parametrize(
    "error",
    [
        ValueError("of a body"),
        KeyError(("a", 1)),
        FileNotFoundError(2, "No such file"),
        FileNotFoundError(2, "No such file", "a.txt", None, "b.txt"),
        PermissionError("plain"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        SystemExit(3),
        TwistedRefused(111, "refused"),
        WebError(b"404", b"Not Found"),
        CancelledError("cancelled"),
        _errors.TimeoutError("late"),
        _errors.ReactorStopped("stopped"),
        Listed(1, [2], {"a": b"b"}),
    ],
)
def test_errors_are_rebuilt(error: BaseException) -> None:
    """
    Those of the builtins, of Twisted, of ours, and listed ones: type, args and text.
    """
    again = there_and_back(Codec(allow=[Listed]), error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert again.args == error.args
    assert str(again) == str(error)
    assert getattr(again, "filename2", None) == getattr(error, "filename2", None)


@pytest.mark.parametrize("error", [Unlisted("why"), ValueError(object()), Picky(1, 2)])
def test_other_errors_are_told(error: BaseException) -> None:
    """
    With their text, and the name of their class.
    """
    again = there_and_back(Codec(allow=[Picky]), error)
    assert type(again) is _errors.RemoteError
    assert str(error) in str(again)
    assert again.type == f"{type(error).__module__}.{type(error).__qualname__}"


@pytest.mark.parametrize("error", [Unlisted("why"), ValueError("why")])
def test_the_frames_of_the_owner_are_shown(error: BaseException) -> None:
    """
    In the traceback that the taker prints.
    """
    again = there_and_back(Codec(), error)
    shown = "".join(traceback.format_exception(type(again), again, None))
    assert "in there_and_back\n    raise error" in shown
    assert "was the direct cause of the following exception" in shown


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "builtins:int",
        "builtins:nothing",
        "antigravity:fly",
        "twisted.python.failure:Failure",
        "twisted.internet.error:os",
        "twisted.nothing:Error",
        "twisted.internet.defer:TimeoutError.mro",
        "crochet:NamedTuple",
        f"{__name__}:Unlisted",
    ],
)
def test_nothing_else_is_brought_to_life(name: str) -> None:
    """
    Or imported, whatever the bytes name.
    """
    before = set(sys.modules)
    data = json.dumps([name, [["true"], {}], "text", "frames"]).encode()
    _, error = Codec(allow=[Listed]).unpack("failed", data)
    assert type(error) is _errors.RemoteError
    assert set(sys.modules) == before


@pytest.mark.parametrize("data", [b"", b"[]", b"5", b'["a",1,2,3]', b'[1,2,"",""]', b"\xff"])
@pytest.mark.parametrize("state", ["failed", "cancelled", "unheard of"])
def test_bytes_that_are_no_answer_are_an_error(state: str, data: bytes) -> None:
    """
    That says so.
    """
    _, error = Codec().unpack(state, data)
    assert type(error) is _errors.RemoteError


def test_a_value_comes_back() -> None:
    """
    With its state.
    """
    codec = Codec(allow=[Point])
    state, data = codec.pack("f", {"a": Point(1)})
    assert (state, codec.unpack(state, data)) == ("done", ({"a": Point(1)}, None))
    assert there_and_back(codec, CancelledError()).args == ()
    assert codec.pack_error(CancelledError(), None, is_cancelled=True)[0] == "cancelled"
    assert codec.pack_error(CancelledError(), None)[0] == "failed"  # nobody has asked for it


@pytest.mark.parametrize(
    ("value", "is_small"),
    [
        (None, True),
        (-(2**63), True),
        (2.5, True),
        ("a" * 1000, True),
        ({"page": 3, "names": ["a", b"b"], "is": (True, None)}, True),
        ("a" * 1001, False),
        (b"a" * 1001, False),
        (2**64, False),
        ([0] * 51, False),
        ({str(i): i for i in range(20)}, False),
        ([["a" * 600], ["a" * 600]], False),
        ([["a" * 1001], []], False),
        ([0] * 1001, False),
        ({"key": object()}, False),
        (type("Text", (str,), {})("a"), False),
        (Point(1), False),
    ],
)
def test_a_small_value_takes_microseconds(value: object, is_small: bool) -> None:
    """
    One of few plain values; if the program has no serializer of its own, which might take longer.
    """
    assert Codec(allow=[Point]).is_small(value) == is_small
    assert not Codec(PickleSerializer()).is_small(value)


def test_what_holds_itself_is_not_small() -> None:
    """
    Nor is it looked at for ever.
    """
    value: list[Any] = []
    value += [value, value]
    assert not Codec().is_small(value)


def test_a_serializer_of_the_programs_own_is_used() -> None:
    """
    For values; errors go as they always do.
    """
    codec = Codec(PickleSerializer())
    state, data = codec.pack("f", 1j)
    assert codec.unpack(state, data) == (1j, None)
    assert json.loads(codec.pack_error(ValueError(1), None)[1])[:2] == [
        "builtins:ValueError",
        [[1], {}],
    ]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (object(), TypeError, r"fetch\(\) returned, an object of builtins.object"),
        ("x" * 300_000, ValueError, r"takes 300002 bytes, and the stash's max_size is 250000"),
        ([lambda: None], TypeError, "builtins.list.*builtins.function is no type that a stash"),
    ],
)
def test_what_cannot_be_taken_along_becomes_an_error(
    value: object, kind: type, text: str, logged: LoggedFailures
) -> None:
    """
    That names the type, and is logged here.
    """
    codec = Codec(max_size=250_000)
    state, data = codec.pack("fetch", value)
    _, error = codec.unpack(state, data)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error
    (event,) = logged.events
    assert str(event["error"]) == str(error)
    logged.take()


def test_a_long_error_is_made_shorter() -> None:
    """
    So that there always is one.
    """
    codec = Codec(max_size=250_000)
    again = there_and_back(codec, ValueError("\N{SNOWMAN}" * 1_000_000))
    assert type(again) is _errors.RemoteError
    assert len(str(again)) < 50_000


@pytest.mark.parametrize("wrong", [int, "ValueError", ValueError(), Point(1)])
def test_only_classes_that_it_could_bring_to_life_are_listed(wrong: Any) -> None:
    """
    Exceptions and dataclasses.
    """
    with pytest.raises(TypeError, match="exception classes and dataclasses"):
        Codec(allow=[wrong])


def test_a_serializer_is_an_object() -> None:
    """
    To forget its brackets is a likely slip.
    """
    with pytest.raises(TypeError, match=r"PickleSerializer\(\), not the class"):
        Codec(PickleSerializer)  # type: ignore[arg-type]


def test_there_is_room_for_an_error() -> None:
    """
    At least.
    """
    with pytest.raises(ValueError, match="max_size cannot be 100"):
        Codec(max_size=100)
