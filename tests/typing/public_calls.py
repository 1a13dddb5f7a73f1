"""
Every public form of call, with the type it must have. Checked by mypy and pyright, never run.

``make lint`` checks it for the lowest and the highest Python that is supported.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from fractions import Fraction
from typing import NoReturn

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from typing_extensions import assert_type

import crochet
from crochet import (
    CallInFlight,
    DeadlockError,
    EventualResult,
    Lag,
    LocalStash,
    PickleSerializer,
    Place,
    ReactorStopped,
    Status,
    TimeoutError,
    deadline,
    dump,
    no_setup,
    peek_result,
    reactor_only,
    register,
    retrieve_result,
    run_in_caller,
    run_in_reactor,
    running,
    setup,
    shutdown,
    status,
    wait_for,
)
from crochet.testing import CrochetClock, CrochetReactor

assert_type(setup(), None)
assert_type(setup(logging=False), None)
assert_type(setup(stall_warning=0.5), None)
assert_type(setup(stall_warning=None), None)
assert_type(setup(exit_patience=8), None)
assert_type(setup(exit_patience=None), None)
assert_type(setup(reactor="asyncio"), None)
assert_type(setup(reactor="default", logging=False), None)
assert_type(setup(reactor="asyncio", loop_factory=asyncio.new_event_loop), None)
assert_type(setup(reactor=None, loop_factory=None), None)
assert_type(setup(reactor=installed), None)
assert_type(setup(reactor=SelectReactor()), None)
setup(reactor="asnycio")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
setup(reactor=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
setup(loop_factory=asyncio.run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(no_setup(), None)
assert_type(shutdown(), None)
assert_type(shutdown(5), None)
assert_type(shutdown(timeout=Fraction(1, 2)), None)
assert_type(shutdown(None), None)
shutdown("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

with running() as nothing:
    assert_type(nothing, None)
with running(logging=False, stall_warning=None, exit_patience=8.0, timeout=2.5):
    pass
with running(reactor="asyncio", loop_factory=asyncio.SelectorEventLoop):
    pass
running(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# What IPython calls, with its shell.
crochet.load_ipython_extension("shell")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
crochet.unload_ipython_extension(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@run_in_reactor
def plain(a: int, *, b: str = "") -> bytes:
    return b""


@run_in_reactor
def deferring(a: int) -> Deferred[str]:
    return Deferred()


@run_in_reactor
async def awaiting(a: int) -> list[int]:
    return [a]


@run_in_reactor
@inlineCallbacks
def generating(a: int) -> Generator[Deferred[int], int, float]:
    number = yield Deferred[int]()
    return float(number)


assert_type(plain(1, b="x"), EventualResult[bytes])
assert_type(deferring(1), EventualResult[str])
assert_type(awaiting(a=1), EventualResult[list[int]])
assert_type(generating(1), EventualResult[float])
plain("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
deferring()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
awaiting(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@wait_for(timeout=5)
def waited_plain(a: int) -> bytes:
    return b""


@wait_for(5.0)
def waited_deferring(a: int) -> Deferred[str]:
    return Deferred()


@wait_for(None)
async def waited_awaiting(a: int) -> list[int]:
    return [a]


@wait_for(Fraction(1, 2))
@inlineCallbacks
def waited_generating(a: int) -> Generator[Deferred[int], int, float]:
    number = yield Deferred[int]()
    return float(number)


assert_type(waited_plain(1), bytes)
assert_type(waited_deferring(a=1), str)
assert_type(waited_awaiting(1), list[int])
assert_type(waited_generating(1), float)
waited_deferring("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
wait_for("5")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

assert_type(wait_for(1)(lambda: 3)(), int)

# Futures, await, and the way back into the caller.
assert_type(run_in_reactor(lambda: "x")().as_future(), Future[str])
assert_type(run_in_caller(int, "3"), Deferred[int])
run_in_caller(len, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaits(result: EventualResult[bytes]) -> None:
    assert_type(await result, bytes)


# Deadlines, cleanup, and a timeout for one call.
with deadline(2.0) as nothing_either:
    assert_type(nothing_either, None)
assert_type(deadline(None).remaining(), float)
assert_type(deadline.remaining(), float)
deadline("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(waited_plain.with_timeout(2.0)(1), bytes)
assert_type(waited_awaiting.with_timeout(Fraction(1, 2))(a=1), list[int])
waited_plain.with_timeout(2.0)("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
waited_plain.with_timeout()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def close(connection: bytes) -> None:
    pass


@wait_for(5, grace=0.5, on_late=close)
def connecting(host: str) -> Deferred[bytes]:
    return Deferred()


@wait_for(5, on_late=close)
async def connecting_too(host: str) -> bytes:
    return b""


assert_type(connecting("localhost"), bytes)
assert_type(connecting_too("localhost"), bytes)
assert_type(wait_for(5, on_late=print)(lambda: 3)(), int)
wait_for(5, on_late=close)(waited_plain.with_timeout)  # type: ignore[arg-type]  # pyright: ignore
assert_type(run_in_reactor(lambda: "x")().wait(1), str)
assert_type(waited_deferring.__wrapped__(1), Deferred[str])
assert_type(deferring.wrapped_function(1), Deferred[str])
as_callback: Callable[[int], str] = waited_deferring


class Client:
    @wait_for(1)
    def fetch(self, a: int) -> Deferred[str]:
        return Deferred()

    @run_in_reactor
    async def start(self, a: int) -> str:
        return ""

    @staticmethod
    @wait_for(1)
    def static_below(a: int) -> Deferred[str]:
        return Deferred()

    @wait_for(1)
    @staticmethod
    def static_above(a: int) -> Deferred[str]:
        return Deferred()

    @run_in_reactor
    @staticmethod
    def static_later(a: int) -> Deferred[str]:
        return Deferred()

    @classmethod
    @wait_for(1)
    def class_below(cls, a: int) -> Deferred[str]:
        return Deferred()

    @wait_for(1)
    @classmethod
    def class_above(cls, a: int) -> Deferred[str]:
        return Deferred()

    @run_in_reactor
    @classmethod
    def class_later(cls, a: int) -> str:
        return ""


assert_type(Client().fetch(1), str)
assert_type(Client().start(a=1), EventualResult[str])
assert_type(Client.static_below(1), str)
assert_type(Client.static_above(1), str)
assert_type(Client.static_later(1), EventualResult[str])
assert_type(Client().class_below(1), str)
assert_type(Client().class_above(1), str)
assert_type(Client.fetch(Client(), 1), str)
assert_type(Client.fetch.__wrapped__(Client(), 1), Deferred[str])
assert_type(Client().class_later(1), EventualResult[str])
Client().fetch("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@reactor_only
def guarded(a: int, *, b: str = "") -> bytes:
    return b""


@reactor_only
async def guarded_awaiting(a: int) -> list[int]:
    return [a]


@wait_for(1)
@reactor_only
@inlineCallbacks
def guarded_generating(a: int) -> Generator[Deferred[int], int, float]:
    number = yield Deferred[int]()
    return float(number)


class Guarded:
    @reactor_only
    def own(self, a: int) -> Deferred[str]:
        return Deferred()

    @staticmethod
    @reactor_only
    def static(a: int) -> str:
        return ""

    @reactor_only
    @staticmethod
    def static_below(a: int) -> str:
        return ""

    @classmethod
    @reactor_only
    def of_class(cls, a: int) -> str:
        return ""

    @reactor_only
    @classmethod
    def class_below(cls, a: int) -> str:
        return ""


assert_type(guarded(1, b="x"), bytes)
assert_type(guarded_generating(1), float)
assert_type(wait_for(1)(guarded_awaiting)(1), list[int])
assert_type(Guarded().own(1), Deferred[str])
assert_type(Guarded.static(1), str)
assert_type(Guarded.static_below(1), str)
assert_type(Guarded.of_class(1), str)
assert_type(Guarded.class_below(1), str)
guarded("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(dump(), None)
assert_type(dump(2), None)
assert_type(dump(sys.stderr), None)
assert_type(dump(file=io.StringIO()), None)
dump("dump.txt")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

result = deferring(1)
assert_type(result.wait(), str)
assert_type(result.wait(timeout=1.5), str)
assert_type(result.cancel(), None)
assert_type(result.done(), bool)
assert_type(result.stash(), int)
assert_type(result.original_failure(), Failure | None)


def tell(result: EventualResult[str]) -> None: ...


assert_type(result.add_done_callback(tell), None)

# Covariant: a result of a str is a result of an object.
wider: EventualResult[object] = result
assert_type(retrieve_result(1), EventualResult[object])
retrieved = retrieve_result(result_id=1)
assert_type(retrieved, EventualResult[object])
retrieved_bytes: EventualResult[bytes] = retrieve_result(1)
assert_type(retrieved_bytes.wait(), bytes)
retrieved_text: EventualResult[bytes] = deferring(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
assert_type(retrieve_result("1"), EventualResult[object])
peeked_bytes: EventualResult[bytes] = peek_result("1")
retrieve_result(b"1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(result.stash(ttl=None), int)
setup(stash="local:shop", drain=5)
setup(stash=LocalStash("shop", serializer=PickleSerializer(), allow=[ValueError]))
setup(stash=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
register(print, "bye", sep="")
register(tell, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def fail(error: TimeoutError | ReactorStopped | DeadlockError) -> NoReturn:
    raise error


assert_type(status(), Status)
assert_type(status().lag, Lag | None)
assert_type(status().calls, tuple[CallInFlight, ...])
assert_type(status().calls[0].line, int | None)
assert_type(status().calls[0].waits_on, tuple[Place, ...])
assert_type(str(status()), str)
status().state = "running"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def use_fixtures(crochet_reactor: CrochetReactor, crochet_clock: CrochetClock) -> None:
    assert_type(crochet_reactor.logged_errors(), list[BaseException])
    assert_type(crochet_reactor.allow_leaks("readers", "errors"), None)
    crochet_reactor.allow_leaks(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(crochet_clock.advance(1), None)
    assert_type(crochet_clock.seconds(), float)
    assert_type(crochet_clock.allow_leaks(), None)
    assert_type(crochet_clock.logged_errors(), list[BaseException])


assert_type(crochet.__version__, str)
