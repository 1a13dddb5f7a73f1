"""
Proxies of objects that live in the reactor thread, as blocking code uses them.
"""

# What is tested is a ``with`` statement, with what it raises around it and what is done in it.
# ruff: noqa: SIM117

from __future__ import annotations

import copy
import inspect
import os
import pickle
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Generator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks, succeed

import crochet
from crochet import DeadlockError, ReactorStopped, Stream, TimeoutError
from crochet._streams.objects import Objects
from crochet._streams.proxy import unwrap
from support.programs import run_python
from support.stepping import BOUND, wait_until

_colour: ContextVar[str] = ContextVar("colour", default="none")


def here() -> int:
    return threading.get_ident()


class Bare:
    """
    What can be awaited, and is nothing else.
    """

    def __await__(self) -> Iterator[Any]:
        yield from succeed(here()).__await__()
        return "awaited"


class Countdown(AsyncIterator[int]):
    """
    An async iterator, and nothing else.
    """

    def __init__(self, number: int) -> None:
        self._left = number + 1

    async def __anext__(self) -> int:
        self._left -= 1
        if not self._left:
            raise StopAsyncIteration
        return self._left


class Lease(Bare):
    """
    What can be awaited, or entered.
    """

    async def __aenter__(self) -> int:
        return here()

    async def __aexit__(self, *error: object) -> None: ...


class Request(Lease, Coroutine[Any, Any, Any]):
    """
    Likewise, and a coroutine to whoever asks, as those of aiohttp are.
    """

    send = throw = close = None  # type: ignore[assignment]


class Cursor:
    """
    An async iterator, which goes on where it was left.
    """

    def __init__(self, rows: int = 3) -> None:
        self.rows = rows
        self.taken = 0

    async def fetch(self) -> int:
        return here()

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> int:
        if self.taken == self.rows:
            raise StopAsyncIteration
        self.taken += 1
        return self.taken

    async def aclose(self) -> None:
        raise AssertionError("nobody has asked for that")


class Client:
    """
    A client, of all kinds of methods.
    """

    kind = "client"

    def __init__(self, url: str = "", *, notes: list[Any] | None = None) -> None:
        self.url = url
        self.made_in = here()
        self.notes = [] if notes is None else notes
        self.data: dict[str, Any] = {}
        self._hidden = 1

    async def get(self, path: str, *, times: int = 1) -> str:
        """
        Get something.
        """
        await succeed(None)
        self.notes.append(here())
        return (self.url + path) * times

    def plain(self, *args: object, **kwargs: object) -> tuple[int, object, object]:
        return here(), args, kwargs

    def deferred(self) -> Deferred[int]:
        return succeed(here())

    @inlineCallbacks
    def resumed(self) -> Generator[Deferred[Any], Any, int]:
        yield succeed(None)
        return here()

    def bare(self) -> Bare:
        return Bare()

    def lease(self) -> Lease:
        return Lease()

    def request(self) -> Request:
        return Request()

    def never(self) -> Deferred[None]:
        return Deferred()

    async def fail(self) -> None:
        raise KeyError("whole")

    async def items(self, number: int) -> AsyncGenerator[int, None]:
        """
        Give items.
        """
        token = _colour.set("items")
        try:
            for item in range(number):
                yield item
            if number > 2:
                await Deferred()
        finally:
            _colour.reset(token)
            self.notes.append("closed")

    def returned_items(self) -> AsyncIterator[int]:
        return self.items(2)

    async def awaited_items(self) -> AsyncIterator[int]:
        await succeed(None)
        return self.items(2)

    def deferred_items(self) -> Deferred[AsyncIterator[int]]:
        return succeed(self.items(2))

    async def awaited_iterator(self) -> AsyncIterator[int]:
        return Countdown(2)

    async def awaited_context(self) -> Any:
        return self.connect()

    async def awaited_client(self) -> Any:
        return Client()

    def drawn(self) -> Iterator[int]:
        try:
            while True:
                yield here()
        finally:
            self.notes.append(here())

    @asynccontextmanager
    async def connect(self, value: Any = None) -> AsyncIterator[Any]:
        token = _colour.set("connected")
        try:
            yield Cursor() if value is None else value
        except ValueError:
            self.notes.append("suppressed")
        finally:
            _colour.reset(token)
            self.notes.append("left")

    def cursor(self) -> Cursor:
        return Cursor()

    async def cursors(self) -> AsyncIterator[Cursor]:
        yield Cursor()

    def future(self) -> Awaitable[int]:
        return succeed(5)

    @property
    def thread(self) -> int:
        return here()

    @property
    def broken(self) -> int:
        raise AttributeError("it is broken")

    @property
    def lazily(self) -> Any:
        return self.get("lazily")

    @classmethod
    def of_class(cls, value: int) -> tuple[type, int]:
        return cls, value

    @staticmethod
    async def of_none(value: int) -> int:
        return value

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value, here()

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __contains__(self, key: object) -> bool:
        return key in self.data

    def __call__(self, value: int) -> int:
        return value * 2

    async def __aiter__(self) -> AsyncIterator[int]:  # type: ignore[misc]
        try:
            yield 1
            yield 2
        finally:
            self.notes.append("iterated")

    async def __aenter__(self) -> Any:
        self.notes.append("enter")
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> Any:
        self.notes.append("exit")
        return isinstance(error, ValueError)


@runtime_checkable
class Fetches(Protocol):
    """
    What of it is used.
    """

    url: str

    def get(self, path: str, *, times: int = 1) -> str: ...


T_co = TypeVar("T_co", covariant=True)


class Got(Protocol[T_co]):
    """
    A generic one.
    """

    def get(self, path: str) -> T_co: ...


@pytest.fixture
def client(either: Any) -> Any:
    """
    A proxy.
    """
    return either.blocking(Client, timeout=BOUND, wrap=(Cursor,))("http://", notes=[])


def reactor_thread(process: Any) -> int:
    ident: int = process.wait_for(BOUND)(here)()
    return ident


class TestCalls:
    """
    What a method returns.
    """

    def test_a_class_is_constructed_in_the_reactor_thread(self, either: Any, client: Any) -> None:
        """
        Its instance is wrapped.
        """
        assert client.made_in == reactor_thread(either)
        assert client.get("x", times=2) == "http://xhttp://x"
        assert unwrap(client).notes == [reactor_thread(either)]

    def test_all_that_can_be_awaited_is(self, either: Any, client: Any) -> None:
        """
        A Deferred, inlineCallbacks, an object that is no more than awaitable; and all runs there.
        """
        there = reactor_thread(either)
        assert client.deferred() == client.resumed() == there
        assert client.bare() == "awaited"
        assert client.plain(1, a=2) == (there, (1,), {"a": 2})
        assert client.of_class(1) == (Client, 1)
        assert client.of_none(2) == 2
        assert client(21) == 42

    def test_an_error_comes_whole(self, client: Any) -> None:
        """
        With the frames of both threads.
        """
        with pytest.raises(KeyError, match="whole") as raised:
            client.fail()
        assert [frame.name for frame in raised.traceback][-1] == "fail"

    def test_a_function_makes_one_too(self, either: Any) -> None:
        """
        Of what it returns, or has awaited; what can be awaited itself is not.
        """

        async def awaited(number: int) -> Cursor:
            return Cursor(number)

        for function in (awaited, lambda number: succeed(Cursor(number)), Cursor):
            proxy = either.blocking(function, timeout=BOUND)(2)
            assert type(unwrap(proxy)) is Cursor
            assert proxy.rows == 2
        with either.blocking(Lease, timeout=BOUND)() as thread:
            assert thread == reactor_thread(either)
        with either.blocking(lambda: Request(), timeout=BOUND)() as thread:
            assert thread == reactor_thread(either)
        assert isinstance(unwrap(either.blocking(Bare, timeout=BOUND)()), Bare)

    def test_timeouts_are_by_call_and_by_name(self, either: Any) -> None:
        """
        With the text of wait_for, and the name of the method.
        """
        proxy = either.blocking(Client(), timeout=BOUND, timeouts={"never": 0.2})
        with pytest.raises(TimeoutError, match=r"^Client\.never\(\) has not answered in 0\.2 s"):
            proxy.never()
        with pytest.raises(TimeoutError):
            either.blocking(Client(), timeout=0.2).never()
        with pytest.raises(TimeoutError):
            either.blocking(Client(), timeout=BOUND).never.with_timeout(0.2)()
        with either.blocking(Client(), timeout=0.2).items(3) as items:
            with pytest.raises(TimeoutError):
                list(items)

    def test_a_deadline_bounds_them(self, client: Any) -> None:
        """
        Calls, items, and contexts.
        """

        def enter() -> None:
            with client.connect(), client:
                client.never()

        for use in (client.never, enter, lambda: list(client.items(3))):
            with pytest.raises(TimeoutError, match="deadline"):
                with crochet.deadline(0.02):
                    use()

    def test_in_the_reactor_thread_it_is_refused(self, either: Any, client: Any) -> None:
        """
        As wait_for is, before anything is run.
        """
        for use in (
            lambda: client.get(""),
            lambda: client.url,
            lambda: setattr(client, "url", ""),
            lambda: len(client),
            lambda: client.__enter__(),
            lambda: next(client.items(1)),
        ):
            with pytest.raises(DeadlockError):
                either.wait_for(BOUND)(use)()

    def test_context_variables_are_the_callers(self, either: Any) -> None:
        """
        As for any call.
        """

        class Looks:
            def look(self) -> str:
                return _colour.get()

        token = _colour.set("mine")
        try:
            assert either.blocking(Looks(), timeout=BOUND).look() == "mine"
        finally:
            _colour.reset(token)


class TestManyValues:
    """
    Streams and contexts.
    """

    def test_items_are_a_stream(self, client: Any) -> None:
        """
        Of an async generator function, of what returns a generator, of a plain generator.
        """
        for items in (client.items(2), client.returned_items()):
            assert type(items) is Stream
            assert list(items) == [0, 1]
        assert unwrap(client).notes == ["closed"] * 2

    def test_what_was_awaited_first_is_one_too(self, client: Any) -> None:
        """
        A generator, and an iterator or context that is nothing else; others are handed out.
        """
        for items in (client.awaited_items(), client.deferred_items()):
            assert type(items) is Stream
            assert list(items) == [0, 1]
        assert list(client.awaited_iterator()) == [2, 1]
        with client.awaited_context() as cursor:
            assert isinstance(unwrap(cursor), Cursor)
        assert unwrap(client).notes == ["closed", "closed", "left"]
        assert type(client.awaited_client()) is Client

    def test_a_stream_that_is_left_closes_its_generator(self, either: Any, client: Any) -> None:
        """
        In the reactor thread, with tokens and all.
        """
        with client.items(5) as items:
            assert next(items) == 0
        with client.drawn() as drawn:
            assert next(drawn) == reactor_thread(either)
        assert unwrap(client).notes == ["closed", reactor_thread(either)]

    def test_an_iterable_is_one_for_a_loop(self, either: Any, client: Any) -> None:
        """
        Also a plain one; and an async iterator goes on where it was left, and is not closed.
        """
        assert list(client) == [1, 2]
        assert unwrap(client).notes == ["iterated"]
        cursor = client.cursor()
        with iter(cursor) as rows:
            assert next(rows) == 1
        assert list(cursor) == [2, 3]
        assert list(either.blocking(range(3), timeout=BOUND)) == [0, 1, 2]

    def test_a_context_is_one_for_with(self, client: Any) -> None:
        """
        In one task, with the error of the block passing through.
        """
        notes = unwrap(client).notes
        with client.connect(1) as value:
            assert value == 1
        with client.connect(1):
            raise ValueError
        error = KeyError()
        with pytest.raises(KeyError) as raised, client.connect(1):
            raise error
        assert raised.value is error
        assert notes == ["left", "suppressed", "left", "left"]
        for method in (client.lease, client.request):  # which could be awaited, too
            with method() as thread:
                assert thread == client.thread

    def test_itself_is_a_context(self, client: Any) -> None:
        """
        Again and again, nested, and in several threads; entering gives the proxy.
        """
        notes = unwrap(client).notes
        with client as entered:
            assert entered is client
            with client:
                raise ValueError
        assert notes == ["enter", "enter", "exit", "exit"]
        with pytest.raises(RuntimeError, match="is not entered"):
            client.__exit__(None, None, None)

    def test_it_is_known_where_it_was_entered(self, either: Any, client: Any) -> None:
        """
        For status() and dump(): in the program, and not in code of ours.
        """
        with client:
            (call,) = either.bridge.calls_in_flight()
            assert call.caller is inspect.currentframe().f_code  # type: ignore[union-attr]

    def test_each_thread_leaves_what_it_has_entered(self, either: Any) -> None:
        """
        In whichever order they do; and another thread, what is left.
        """
        left: list[str] = []

        class Coloured:
            async def __aenter__(self) -> None: ...

            async def __aexit__(self, *error: object) -> None:
                left.append(_colour.get())

        proxy = either.blocking(Coloured(), timeout=BOUND)
        token = _colour.set("mine")
        try:
            with proxy:
                # This runs in another thread, which has a context of its own.
                thread = threading.Thread(target=proxy.__enter__)
                thread.start()
                thread.join(BOUND)
            assert left == ["mine"]
            proxy.__exit__(None, None, None)
            assert left == ["mine", "none"]
        finally:
            _colour.reset(token)

    def test_one_that_is_dropped_is_exited(self, either: Any) -> None:
        """
        Its task does not keep it.
        """
        target = Client()
        proxy = either.blocking(target, timeout=BOUND)
        proxy.__enter__()
        del proxy
        wait_until(lambda: target.notes == ["enter", "exit"], "it is not exited")

    def test_only_what_is_in_wrap_is_wrapped(self, either: Any, client: Any) -> None:
        """
        Also what is yielded, and what is entered; on the same terms.
        """
        assert client.cursor().fetch() == reactor_thread(either)
        (cursor,) = client.cursors()
        assert cursor.fetch() == reactor_thread(either)
        with client.connect() as cursor:
            assert cursor.fetch() == reactor_thread(either)
        proxy = either.blocking(Client(), timeout=BOUND)
        assert type(proxy.cursor()) is Stream
        assert [type(each) for each in proxy.cursors()] == [Cursor]
        with proxy.connect() as cursor:
            assert type(cursor) is Cursor


class TestAttributes:
    """
    What is no method.
    """

    def test_are_read_set_and_deleted_there(self, either: Any, client: Any) -> None:
        """
        Of the instance, of the class, properties, and those with an underscore.
        """
        assert (client.url, client.kind, client._hidden) == ("http://", "client", 1)
        assert client.thread == reactor_thread(either)
        client.url = "other"
        client.new = 5
        assert (unwrap(client).url, client.new) == ("other", 5)
        del client.new
        for name in ("new", "nothing"):
            with pytest.raises(AttributeError, match=name):
                getattr(client, name)
        with pytest.raises(AttributeError, match="it is broken"):
            client.broken  # noqa: B018
        assert client.lazily == "otherlazily"

    def test_a_function_found_there_blocks(self, either: Any, client: Any) -> None:
        """
        One that only ``__getattr__`` knows of, say; what is no function is handed out.
        """
        client.extra = partial(Client.of_none, 4)
        assert client.extra() == 4

        class Remote:
            def __getattr__(self, name: str) -> Any:
                if name.startswith("no"):
                    raise AttributeError(name)

                async def remote(value: int) -> tuple[str, int, int]:
                    return name, value, here()

                return remote

        remote = either.blocking(Remote(), timeout=BOUND)
        assert remote.anything(5) == ("anything", 5, reactor_thread(either))
        assert not hasattr(remote, "nothing")
        lease = Lease()
        client.held = lease
        assert client.held is lease

    def test_a_method_set_on_it_is_called(self, client: Any) -> None:
        """
        Also after the other was called.
        """
        assert client.of_none(1) == 1
        client.of_none = lambda value: value + 1
        assert client.of_none(1) == 2

    def test_operators_are_the_objects(self, either: Any, client: Any) -> None:
        """
        Where it has them.
        """
        assert len(client) == 0
        assert not client
        client["a"] = 1
        assert client["a"] == (1, reactor_thread(either))
        assert ("a" in client, bool(client)) == (True, True)
        del client["a"]
        with pytest.raises(KeyError):
            client["a"]
        bare = either.blocking(Bare(), timeout=BOUND)
        assert bare
        for operation in (len, iter, lambda it: it[0], lambda it: it(), lambda it: it.__enter__()):
            with pytest.raises((TypeError, AttributeError)):
                operation(bare)

    def test_equality_is_that_of_the_object(self, either: Any, client: Any) -> None:
        """
        By identity.
        """
        target = unwrap(client)
        other = either.blocking(target, timeout=1)
        assert client == other
        assert either.blocking(client, timeout=1) == client
        assert hash(client) == hash(other)
        assert client != either.blocking(Client(), timeout=1)
        assert client != target


class TestLooks:
    """
    What tools see.
    """

    def test_signatures_have_plain_results(self, client: Any) -> None:
        """
        And no self; what is awaited is told as what comes of it.
        """
        seen = {
            "get": "(path: str, *, times: int = 1) -> str",
            "plain": "(*args: object, **kwargs: object) -> tuple[int, object, object]",
            "deferred": "() -> int",
            "future": "() -> int",
            "of_class": "(value: int) -> tuple[type, int]",
            "of_none": "(value: int) -> int",
            "fail": "() -> None",
        }
        assert {name: str(inspect.signature(getattr(client, name))) for name in seen} == seen
        assert inspect.signature(client.items).return_annotation == Stream[int]
        assert inspect.signature(client.cursors).return_annotation == Stream[Cursor]
        connect = inspect.signature(client.connect)
        assert connect.return_annotation == AbstractContextManager[Any]
        assert not inspect.iscoroutinefunction(client.get)

    def test_docstrings_names_and_dir(self, either: Any, client: Any) -> None:
        """
        Are the object's.
        """
        assert inspect.getdoc(client.get) == "Get something."
        assert inspect.getdoc(client.items) == "Give items."
        assert inspect.getdoc(client) == "A client, of all kinds of methods."
        assert type(client).__name__ == "blocking[Client]"
        assert client.get.__qualname__ == "Client.get"
        assert {"url", "get", "items", "_hidden", "__len__"} <= {*dir(client)}
        assert repr(client) == f"<blocking {object.__repr__(unwrap(client))[1:-1]}>"
        assert repr(client) in repr(client.get)
        make = either.blocking(Client, timeout=1, as_=Fetches)
        assert make.__name__ == "Client"
        assert [*inspect.signature(make).parameters] == ["url", "notes"]
        assert inspect.signature(make).return_annotation is Fetches

    def test_it_is_what_the_protocol_says(self, either: Any, client: Any) -> None:
        """
        To isinstance(), by what the instance has, too.
        """
        assert isinstance(client, Fetches)
        assert isinstance(either.blocking(Client(), timeout=1, as_=Fetches), Fetches)
        assert not isinstance(client.cursor(), Fetches)

    def test_is_not_copied_or_pickled(self, client: Any) -> None:
        """
        It says so.
        """
        for use in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="a proxy of Client cannot be copied or pickled"):
                use(client)

    def test_leaves_no_cycle(self, either: Any) -> None:
        """
        What is dropped goes at once, also after it was used.
        """
        proxy = either.blocking(Client(), timeout=BOUND)
        assert proxy.get("") == ""
        assert proxy.url == ""
        dropped = weakref.ref(proxy)
        del proxy
        assert dropped() is None

    def test_unwrap_takes_proxies(self) -> None:
        """
        Nothing else.
        """
        with pytest.raises(TypeError, match="takes a proxy"):
            unwrap(5)


@pytest.fixture
def blocking(process: Any) -> Any:
    """
    It, where no reactor runs.
    """
    return Objects(process.bridge).blocking


def misfit(blocking: Any, protocol: Any, target: Any) -> str:
    """
    Return what is said of a Protocol that does not fit.
    """
    with pytest.raises(TypeError) as raised:
        blocking(target, timeout=1, as_=protocol)
    return str(raised.value)


class TestFitting:
    """
    What is refused when it is wrapped.
    """

    def test_lists_all_that_does_not_fit(self, blocking: Any) -> None:
        """
        What is not there, and what is called otherwise.
        """

        class Wrong(Protocol):
            size: int

            def get(self, path: str, extra: int) -> str: ...
            def upload(self, data: bytes) -> None: ...
            def url(self) -> str: ...

        text = misfit(blocking, Wrong, Client())
        assert text.startswith("Client does not fit ")
        for part in (
            "get() takes (path, *, times=1), and not (path, extra): too many positional arguments",
            "it has no 'upload'",
            "it has no 'size'",
            "url() is no method",
        ):
            assert part in text
        text = misfit(blocking, Wrong, Client)  # before anything is constructed
        assert "it has no 'upload'" in text
        assert "size" not in text  # which __init__ may set

    @pytest.mark.parametrize(
        ("method", "fits"),
        [
            (lambda self, path, *, times=1: "", True),
            (lambda self, path: "", True),
            (lambda self, path, /: "", True),
            (lambda self, path="x": "", False),
            (lambda self, name: "", False),
            (lambda self, name, /: "", True),
            (lambda self, path, times: "", False),
            (lambda self, path, *, other=1: "", False),
            (lambda self, *args: "", False),
            (lambda self, path, **kwargs: "", False),
            (lambda self: "", False),
        ],
    )
    def test_arguments_are_compared(self, blocking: Any, method: Any, fits: bool) -> None:
        """
        Every call that the Protocol allows has to be possible.
        """
        protocol: Any = type("Fetches", (Protocol,), {"get": method})  # type: ignore[arg-type]
        if fits:
            blocking(Client(), timeout=1, as_=protocol)
        else:
            assert "get() " in misfit(blocking, protocol, Client())

    def test_what_gives_a_function_may_fit(self, blocking: Any) -> None:
        """
        A property, a function of the instance, a callable of the class.
        """

        class Methods:
            shared = partial(Client.of_none, 1)
            plain = 5

            def __init__(self) -> None:
                self.own = lambda path: path
                self.no = 5

            @property
            def given(self) -> Any:
                return self.own

        class Fits(Protocol):
            def shared(self) -> int: ...
            def own(self, path: str) -> str: ...
            def given(self, path: str) -> str: ...

        class FitsNot(Protocol):
            def shared(self, value: int) -> int: ...
            def own(self) -> str: ...
            def plain(self) -> str: ...
            def no(self) -> str: ...

        blocking(Methods(), timeout=1, as_=Fits)
        text = misfit(blocking, FitsNot, Methods())
        for part in ("shared() takes ()", "own() takes (path)", "plain() is no", "no() is no"):
            assert part in text

    def test_special_methods_are_compared(self, blocking: Any) -> None:
        """
        A context for ``with`` is an async one there.
        """

        class Entered(Fetches, Protocol):
            def __enter__(self) -> Any: ...
            def __exit__(self, *error: object) -> Any: ...
            def __iter__(self) -> Iterator[int]: ...
            def __len__(self) -> int: ...

        blocking(Client(), timeout=1, as_=Entered)
        text = misfit(blocking, Entered, Bare())
        for part in ("__aenter__", "__aexit__", "__aiter__ or __iter__", "__len__", "'get'"):
            assert f"it has no {part}" in text

    def test_what_only_getattr_knows_is_asked_for(self, either: Any) -> None:
        """
        In the reactor thread.
        """

        class Remote:
            def __getattr__(self, name: str) -> Any:
                if name == "get":
                    return Client("x").get
                raise AttributeError(name)

        class Get(Protocol):
            def get(self, path: str) -> str: ...

        proxy = either.blocking(Remote(), timeout=BOUND, as_=Get)
        assert proxy.get("y") == "xy"
        assert "it has no 'url'" in misfit(either.blocking, Fetches, Remote())

    def test_other_arguments_are_checked(self, blocking: Any) -> None:
        """
        Each with what to do.
        """
        for options, text in (
            ({"as_": Client}, "typing.Protocol"),
            ({"timeouts": {"gets": 1}}, "timeouts has 'gets'"),
            ({"wrap": (Cursor(),)}, "wrap has the classes"),
            ({"timeout": "5"}, "number"),
            ({"timeouts": {"get": "5"}}, "number"),
        ):
            for target in (Client(), Client):
                with pytest.raises(TypeError, match=text):
                    blocking(target, **{"timeout": 1, **options})
        with pytest.raises(ValueError, match="cannot wait for -1 s"):
            blocking(Client(), timeout=-1)
        generic: Any = Got[str]
        blocking(Client(), timeout=1, as_=generic)
        blocking(Client(), timeout=1, timeouts={"url": 1, "fetch": 2}, wrap=(Cursor,))
        with pytest.raises(TypeError, match="iterate_in_reactor"):
            blocking(Client.items, timeout=1)


def test_after_the_reactor_has_stopped(own: Any) -> None:
    """
    Each use says so.
    """
    proxy = own.blocking(Client(), timeout=BOUND)
    own.loop.shutdown()
    for use in (lambda: proxy.get(""), lambda: proxy.url, lambda: len(proxy), proxy.__enter__):
        with pytest.raises(ReactorStopped):
            use()


FORK = """
    import crochet, os

    class Client:
        async def get(self):
            return 1
        async def items(self):
            yield 1
        async def __aenter__(self):
            return self
        async def __aexit__(self, *error):
            print("exit", os.getpid() == parent, flush=True)

    parent = os.getpid()
    crochet.setup()
    proxy = crochet.blocking(Client(), timeout=30)
    proxy.__enter__()
    assert proxy.get() == 1
    pid = os.fork()
    if not pid:
        for again in range(2):
            for use in (proxy.get, lambda: proxy.x, lambda: next(proxy.items()), proxy.__enter__):
                try:
                    use()
                except crochet.ReactorStopped as error:
                    assert not again or "proxy of Client was made before" in str(error), error
                else:
                    raise AssertionError(use)
            crochet.setup()
        assert not proxy.__exit__(None, None, None)
        assert crochet.blocking(crochet.blocking.unwrap(proxy), timeout=30).get() == 1
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    proxy.__exit__(None, None, None)
    print(proxy.get())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_in_a_forked_child_it_says_so() -> None:
    """
    Also where a reactor runs in it; what the parent has entered is not exited there.
    """
    assert run_python(FORK).stdout.split() == ["7", "exit", "True", "1"]
