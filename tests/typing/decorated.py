"""
Every form in which a function is decorated and used. Checked by mypy and pyright, never run.

A line with a mark is an error to the checker that the mark is for, and only to that one: what they
are to refuse has one for each. One alone is a limit of the other; "limit" stands there, and what
type it should be. A mark that is of no use any more is an error itself.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol, TypeVar

from twisted.internet.defer import Deferred, inlineCallbacks
from typing_extensions import Self, assert_type

from crochet import (
    EventualResult,
    in_reactor,
    run_in_caller,
    run_in_reactor,
    wait_for,
    wait_for_reactor,
)

T = TypeVar("T")
N = TypeVar("N", bound=int)
C = TypeVar("C", bound="Client")

# What a body returns.


@wait_for(5)
def plain(a: int, *, b: str = "") -> bytes:
    return b""


@wait_for(5)
def deferring(a: int) -> Deferred[str]:
    return Deferred()


@wait_for(5)
async def awaiting(a: int) -> list[int]:
    return [a]


@wait_for(5)
@inlineCallbacks
def resumed(a: int) -> Generator[Deferred[int], int, float]:
    number = yield Deferred[int]()
    return float(number)


@wait_for(5)
def tasking(a: int) -> asyncio.Task[int]:
    return asyncio.create_task(asyncio.sleep(0, a))


@run_in_reactor
def promising(a: int) -> asyncio.Future[int]:
    return asyncio.Future()


@wait_for(5)
def ending(a: int) -> NoReturn:
    raise SystemExit(a)


assert_type(plain(1, b=""), bytes)
assert_type(deferring(a=1), str)
assert_type(awaiting(1), list[int])
assert_type(resumed(1), float)
assert_type(tasking(1), int)
assert_type(promising(1), EventualResult[int])
assert_type(plain.__wrapped__(1), bytes)
assert_type(deferring.__wrapped__(1), Deferred[str])
assert_type(tasking.wrapped_function(1), "asyncio.Future[int]")
assert_type(promising.__wrapped__(1), "asyncio.Future[int]")
assert_type(plain.with_timeout(1)(1, b=""), bytes)
assert_type(plain.with_timeout(1).with_timeout(None)(1), bytes)
assert_type(plain.with_timeout(1).__wrapped__(1), bytes)
assert_type(plain.__name__, str)
plain("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain(1, c="")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
tasking()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
promising.with_timeout(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


# Generator functions are refused at run time. Checkers see that where they are used.


@wait_for(5)
def generating(a: int) -> Generator[int, None, None]:
    yield a


@wait_for(None)
async def generating_async(a: int) -> AsyncGenerator[int, None]:
    yield a


@run_in_reactor  # pyright: ignore[reportDeprecated]
def generating_later(a: int) -> Generator[int, None, None]:
    yield a


generating(1)  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
generating_async(1)  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
generating_later(1)  # type: ignore[operator]  # pyright: ignore[reportCallIssue]


# Any, in what it returns: mypy takes all of it for that.


@wait_for(5)
async def looking_up(a: int) -> dict[str, Any]:
    return {}


@wait_for(5)
def anything(a: int) -> Any:
    return a


looking_up(1)["x"].upper()
looking_up.with_timeout(1)(1)["x"].upper()
anything(1).upper()
looking_up("1")  # pyright: ignore[reportArgumentType]


# Generic functions.


@wait_for(5)
async def first(values: list[T]) -> T:
    return values[0]


@run_in_reactor
async def listed(value: T) -> list[T]:
    return [value]


@wait_for(5)
def same(value: T) -> T:
    return value


assert_type(first([1]), int)
assert_type(first.with_timeout(1)([1]), int)
assert_type(listed(1), EventualResult[list[int]])
assert_type(same(1), int)  # type: ignore[assert-type, arg-type]  # limit


# Handed on as functions.

as_callback: Callable[[int], str] = deferring
as_other: Callable[[str], str] = deferring  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
assert_type(functools.partial(deferring, 1)(), str)
assert_type(list(map(deferring, [1])), list[str])
assert_type(run_in_caller(deferring, 1), Deferred[str])
assert_type(ThreadPoolExecutor().submit(deferring, 1).result(), str)
assert_type(wait_for(5)(deferring)(1), str)
assert_type(wait_for(5)(lambda: 3)(), int)
assert_type(wait_for(5)(functools.partial(plain, 1))(), bytes)


@functools.wraps(deferring)
def wrapping(a: int) -> str:
    return deferring(a)


assert_type(wrapping(1), str)


# Methods.


class Client:
    @wait_for(5)
    def fetch(self, a: int) -> Deferred[str]:
        return Deferred()

    @run_in_reactor
    async def start(self, a: int) -> str:
        return ""

    @wait_for(5)
    async def itself(self, a: int) -> Self:
        return self

    @wait_for(5)
    def itself_plain(self) -> Self:
        return self

    @wait_for(5)
    def itself_deferred(self) -> Deferred[Self]:
        return Deferred()

    @run_in_reactor
    async def itself_later(self) -> Self:
        return self

    @wait_for(5)
    async def itself_of_old(self: C) -> C:
        return self

    @wait_for(5)
    async def itself_or_none(self) -> Self | None:
        return None

    @wait_for(5)
    async def like(self, other: Self) -> bool:
        return self is other

    @wait_for(5)
    async def client(self) -> Client:
        return self

    @wait_for(5)
    async def first(self, values: list[T]) -> T:
        return values[0]

    @wait_for(5)
    async def number(self, value: N) -> N:
        return value

    @wait_for(5)
    async def looking_up(self, a: int) -> dict[str, Any]:
        return {}

    @wait_for(5)
    async def ending(self) -> NoReturn:
        raise SystemExit

    @property
    @wait_for(5)
    def size(self) -> int:
        return 3

    @functools.cached_property
    @wait_for(5)
    def cached(self) -> int:
        return 3

    def uses(self) -> Self:
        assert_type(self.fetch(1), str)
        assert_type(self.itself_or_none(), Self | None)  # type: ignore[assert-type]  # limit
        return self.itself(1)


class Special(Client):
    def uses(self) -> Self:
        assert_type(super().fetch(1), str)
        assert_type(super().fetch.with_timeout(1)(1), str)
        return self.itself(1)


client = Client()
special = Special()
assert_type(client.fetch(1), str)
assert_type(special.fetch(a=1), str)
assert_type(client.fetch.with_timeout(0.1)(1), str)
assert_type(client.fetch.with_timeout(0.1).with_timeout(None)(1), str)
assert_type(Client.fetch(client, 1), str)
assert_type(Client.fetch.with_timeout(0.1)(client, 1), str)
assert_type(Client.fetch.__wrapped__(client, 1), Deferred[str])
assert_type(client.start(1), EventualResult[str])
assert_type(Client.start(client, 1), EventualResult[str])
assert_type(Client.start.__wrapped__(client, 1).close(), None)
client.fetch("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.fetch()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.fetch(client, 1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
client.fetch.with_timeout("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.fetch.with_timeout(1)("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.start.with_timeout(1)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
Client.fetch(1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]

assert_type(client.itself(1), Client)
assert_type(special.itself(1), Special)
assert_type(special.itself.with_timeout(1)(1), Special)
assert_type(Special.itself(special, 1), Special)
assert_type(special.itself_plain(), Special)
assert_type(special.itself_deferred(), Special)
assert_type(special.itself_later(), EventualResult[Special])
assert_type(special.itself_of_old(), Special)
assert_type(special.itself_or_none(), Special | None)
assert_type(special.like(special), bool)
assert_type(special.client(), Client)
assert_type(client.first([1]), int)
assert_type(client.first.with_timeout(1)([1]), int)
assert_type(client.number(True), bool)
client.looking_up(1)["x"].upper()
client.looking_up.with_timeout(1)(1)["x"].upper()
assert_type(client.size, int)
assert_type(client.cached, int)
special.itself("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
special.like(client)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Class and static methods, decorated above and below.


class Model:
    @classmethod
    @wait_for(5)
    async def below(cls, a: int) -> str:
        return ""

    @wait_for(5)
    @classmethod
    async def above(cls, a: int) -> str:
        return ""

    @run_in_reactor
    @classmethod
    async def later(cls, a: int) -> str:
        return ""

    @classmethod
    @run_in_reactor
    def later_below(cls, a: int) -> Deferred[str]:
        return Deferred()

    @classmethod
    @wait_for(5)
    async def make(cls, a: int) -> Self:
        return cls()

    @wait_for(5)
    @classmethod
    def make_plain(cls, a: int) -> Self:
        return cls()

    @run_in_reactor
    @classmethod
    async def make_later(cls) -> Self:
        return cls()

    @classmethod
    @wait_for(5)
    async def find(cls, a: int) -> Self | None:
        return None

    @classmethod
    @wait_for(5)
    async def all(cls) -> list[Self]:
        return []

    @staticmethod
    @wait_for(5)
    async def static_below(a: int, b: int) -> int:
        return a

    @wait_for(5)
    @staticmethod
    async def static_above(a: str) -> str:
        return a

    @run_in_reactor
    @staticmethod
    def static_later(a: int) -> int:
        return a

    @staticmethod
    @wait_for(5)
    async def static_of_object(a: object) -> str:
        return ""

    @staticmethod
    @wait_for(5)
    async def static_of_nothing() -> str:
        return ""

    @staticmethod
    @wait_for(5)
    async def static_of_many(*a: int, b: int = 0) -> str:
        return ""

    @staticmethod
    @wait_for(5)
    async def static_of_keywords(*, a: int) -> str:
        return ""

    @staticmethod
    @wait_for(5)
    async def static_of_class(a: type[int]) -> str:
        return ""

    @staticmethod
    @wait_for(5)
    async def static_first(values: list[T]) -> T:
        return values[0]

    @staticmethod
    @wait_for(5)
    async def static_same(value: T) -> T:
        return value

    @staticmethod
    @wait_for(5)
    async def static_made(kind: type[T]) -> T:
        return kind()

    @staticmethod
    @wait_for(5)
    async def static_of_model(model: Model | None) -> str:
        return ""

    @classmethod
    def uses(cls) -> Self:
        assert_type(cls.below(1), str)
        assert_type(cls.above(1), str)
        assert_type(cls.static_below(1, 2), int)
        return cls.make(1)


class SpecialModel(Model):
    pass


model = Model()
special_model = SpecialModel()
assert_type(Model.below(1), str)
assert_type(Model.above(a=1), str)
assert_type(Model.later(1), EventualResult[str])
assert_type(Model.later_below(1), EventualResult[str])
assert_type(model.below(1), str)
assert_type(model.above(1), str)
assert_type(model.later(1), EventualResult[str])
assert_type(model.later_below(1), EventualResult[str])
assert_type(SpecialModel.below(1), str)
assert_type(SpecialModel.make(1), SpecialModel)
assert_type(SpecialModel.make_plain(1), SpecialModel)
assert_type(SpecialModel.make_later(), EventualResult[SpecialModel])
assert_type(SpecialModel.find(1), SpecialModel | None)
assert_type(SpecialModel.all(), list[SpecialModel])
assert_type(special_model.make(1), SpecialModel)
assert_type(special_model.make_plain(1), SpecialModel)
assert_type(special_model.find(1), SpecialModel | None)
assert_type(special_model.all(), list[SpecialModel])
Model.below("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model.above()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Model.below(Model, 1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]

assert_type(Model.static_below(1, b=2), int)
assert_type(Model.static_above("x"), str)
assert_type(Model.static_later(1), EventualResult[int])
assert_type(Model.static_of_object(1), str)
assert_type(Model.static_of_nothing(), str)
assert_type(Model.static_of_many(1, 2, b=3), str)
assert_type(Model.static_of_keywords(a=1), str)
assert_type(Model.static_of_class(int), str)
assert_type(Model.static_first([1]), int)
assert_type(Model.static_same(1), int)  # pyright: ignore[reportAssertTypeFailure]  # limit
assert_type(Model.static_made(int), int)  # pyright: ignore  # limit
assert_type(Model.static_of_model(model), str)
assert_type(Model.static_below.with_timeout(1)(1, 2), int)
assert_type(model.static_below(1, b=2), int)
assert_type(model.static_above("x"), str)
assert_type(model.static_later(1), EventualResult[int])
assert_type(model.static_of_object(1), str)
assert_type(model.static_of_nothing(), str)
assert_type(model.static_of_many(1, 2, b=3), str)
assert_type(model.static_of_keywords(a=1), str)
assert_type(model.static_of_class(int), str)
assert_type(model.static_first([1]), int)
assert_type(model.static_below.with_timeout(1)(1, 2), int)
model.static_of_model(model)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # limit
Model.static_below("1", 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.static_below(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.static_above(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# In the place of others.


class Fetcher(Protocol):
    def fetch(self, a: int) -> str: ...


class Abstract(ABC):
    @abstractmethod
    @wait_for(5)
    def fetch(self, a: int) -> Deferred[str]: ...

    @wait_for(5)
    @abstractmethod
    def store(self, a: int) -> None: ...


class Concrete(Abstract):
    @wait_for(5)
    def fetch(self, a: int) -> Deferred[str]:  # pyright: ignore[reportIncompatibleVariableOverride]  # limit
        return Deferred()

    @wait_for(5)
    def store(self, a: int) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]  # limit
        pass


Abstract()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
assert_type(Concrete().fetch(1), str)
fetcher: Fetcher = client  # pyright: ignore[reportAssignmentType]  # limit


# The old names.


@wait_for_reactor
def of_old(a: int) -> Deferred[str]:
    return Deferred()


@in_reactor
def of_old_later(reactor: object, a: int) -> Deferred[str]:
    return Deferred()


assert_type(of_old(1), str)
assert_type(of_old_later(1), EventualResult[str])
