"""
What ``wait_for`` makes: to a program it is a function, and knows the instance of a method.
"""

from __future__ import annotations

import abc
import asyncio
import copy
import doctest
import enum
import functools
import inspect
import pickle
import pydoc
import sys
import types
import typing
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from crochet._core import decorators as _decorators
from crochet._core.decorators import WaitedFunction
from support.programs import run_python


def with_limit(limit: float | None) -> Callable[..., Any]:
    """
    Return a function as the decorator makes it, which tells its limit.
    """

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return limit, body(*args, **kwargs)

    functools.update_wrapper(wrapper, body)
    wrapper.with_timeout = lambda timeout: WaitedFunction(with_limit(timeout))  # type: ignore[attr-defined]
    return wrapper


def body(self: object, number: int = 3) -> tuple[object, int]:
    """
    Return what it is given.

    >>> 1 + 1
    2
    """
    return self, number


class Told:
    """
    With a plain function in the place of one of ours: what tools are to find.
    """


class Own:
    """
    With one of ours.
    """


# Under the names by which they are pickled.
fetch = with_limit(None)
fetch.__qualname__ = "Told.fetch"
Told.fetch = fetch  # type: ignore[attr-defined]
function = WaitedFunction(with_limit(None))
function.__qualname__ = "Own.fetch"
Own.fetch = function  # type: ignore[attr-defined]


class TestWhatIsTold:
    """
    By a function of ours, and by the plain one in the same place.
    """

    @pytest.fixture(params=["of the class", "of an instance"])
    def both(self, request: pytest.FixtureRequest) -> tuple[Any, Any]:
        """
        The plain one, and ours.
        """
        if request.param == "of the class":
            return Told.fetch, Own.fetch  # type: ignore[attr-defined]
        return Told().fetch, Own().fetch  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "ask",
        [
            inspect.signature,
            lambda it: inspect.signature(it, follow_wrapped=False),
            inspect.getfullargspec,
            inspect.isfunction,
            inspect.ismethod,
            inspect.isroutine,
            inspect.iscoroutinefunction,
            asyncio.iscoroutinefunction if sys.version_info < (3, 14) else inspect.isawaitable,
            inspect.isgeneratorfunction,
            inspect.unwrap,
            inspect.getdoc,
            inspect.getsource,
            inspect.getmodule,
            typing.get_type_hints,
            lambda it: vars(it).keys(),
            dir,
            lambda it: it.__class__,
            lambda it: isinstance(it, types.FunctionType),
            lambda it: isinstance(it, types.MethodType),
            lambda it: (it.__name__, it.__module__, it.__doc__),
            lambda it: (it.__annotations__, it.__defaults__, it.__kwdefaults__),
            lambda it: (it.__code__, it.__globals__ is globals()),
            lambda it: it.__wrapped__,
            lambda it: hasattr(it, "__self__"),
            lambda it: hasattr(it, "nothing"),
            lambda it: repr(it).replace("Told", "Own").split(" at 0x")[0],
        ],
    )
    def test_is_the_same(self, both: tuple[Any, Any], ask: Callable[[Any], object]) -> None:
        """
        Whoever asks.
        """
        plain, own = both
        assert ask(own) == ask(plain)

    def test_help_is_the_same(self) -> None:
        """
        Of a class that has one.
        """
        told, own = (pydoc.plaintext.document(cls, "Name") for cls in (Told, Own))
        # Python 3.14 leaves out the quotation marks.
        assert "(self: object, number: int = 3)" in own.replace("'", "")
        told = told.replace("Told", "Own")
        assert own[own.index("Methods defined") :] == told[told.index("Methods defined") :]


class TestAFunction:
    """
    As an object.
    """

    def test_keeps_what_is_set(self) -> None:
        """
        As its function does, and lets go of it.
        """
        own: Any = WaitedFunction(with_limit(None))
        own.route = "/"
        own.__doc__ = "New."
        own.__name__ = "other"
        assert (own.route, own.__doc__, own.__name__) == ("/", "New.", "other")
        assert vars(own)["route"] == "/"
        assert own.func.__name__ == "other"
        del own.route
        with pytest.raises(AttributeError, match="'function' object has no attribute 'route'"):
            _ = own.route

    def test_is_pickled_by_its_name(self) -> None:
        """
        And copied as functions are, not at all.
        """
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.copy(function) is copy.deepcopy(function) is function

    def test_may_be_abstract(self) -> None:
        """
        Marked above it, or below.
        """
        above = abc.abstractmethod(WaitedFunction(with_limit(None)))
        under = WaitedFunction(abc.abstractmethod(with_limit(None)))
        base = abc.ABCMeta("Base", (), {"above": above, "under": under, "function": function})
        assert base.__abstractmethods__ == {"above", "under"}  # type: ignore[attr-defined]

    def test_lends_its_look(self) -> None:
        """
        To what wraps it, with its attributes.
        """

        @functools.wraps(function)
        def outer() -> None:
            pass

        assert outer.__name__ == "body"
        assert outer.__wrapped__ is function
        assert outer.with_timeout is function.with_timeout  # type: ignore[attr-defined]

    def test_its_examples_are_found(self) -> None:
        """
        By doctest.
        """
        finder = doctest.DocTestFinder()
        (found,) = (
            test for test in finder.find(Own, "Own", sys.modules[__name__]) if test.examples
        )
        assert found.name == "Own.fetch"


class TestAMethod:
    """
    Looked up on an instance.
    """

    def test_with_another_timeout(self) -> None:
        """
        Is still that of the instance, and may be given yet another.
        """
        own: Any = Own()
        quick = own.fetch.with_timeout(2)
        assert quick(7) == (2, (own, 7))
        assert quick.__self__ is own
        assert quick.with_timeout(5)(number=7) == (5, (own, 7))
        assert Own.fetch.with_timeout(2)(own, 7) == (2, (own, 7))  # type: ignore[attr-defined]

    def test_is_equal_to_another_of_the_same_instance(self) -> None:
        """
        And to nothing else. Its instance may be one that has no hash.
        """

        class Listed(list[int]):
            fetch = function
            other = WaitedFunction(with_limit(None))

        one, other = Listed(), Listed()
        assert one.fetch == one.fetch
        assert len({one.fetch, one.fetch, other.fetch}) == 2
        assert one.fetch != other.fetch
        assert one.fetch != one.other
        assert one.fetch != function
        assert one.fetch != 3

    def test_is_pickled_with_its_instance(self) -> None:
        """
        And copied.
        """
        client: Any = Told()
        client.fetch = Own().fetch  # type: ignore[attr-defined]
        function.__name__ = "fetch"
        try:
            again = pickle.loads(pickle.dumps(client.fetch))
            twin = copy.deepcopy(client.fetch)
        finally:
            function.__name__ = "body"
        for method in (again, twin):
            assert type(method.__self__) is Own
            assert method.__self__ is not client.fetch.__self__
            assert method() == (None, (method.__self__, 3))

    def test_is_referred_to_weakly(self) -> None:
        """
        As signal handlers of Django's are.
        """
        own: Any = Own()
        weak = weakref.WeakMethod(own.fetch)
        method = weak()
        assert method is not None
        assert method == own.fetch
        assert method.with_timeout(2)(7) == (2, (own, 7))
        del own, method
        assert weak() is None

    def test_is_bound_once(self) -> None:
        """
        Where it is put into another class, it stays that of its instance.
        """
        own: Any = Own()

        class Other:
            fetch = own.fetch

        assert Other().fetch(7) == (None, (own, 7))

    def test_of_a_superclass(self) -> None:
        """
        By super(), which binds it itself.
        """

        class Special(Own):
            def fetch(self) -> Any:
                return super().fetch(7), super().fetch.with_timeout(2)(7)  # type: ignore[misc]

        own = Special()
        assert own.fetch() == ((None, (own, 7)), (2, (own, 7)))

    def test_of_an_enumeration(self) -> None:
        """
        Where it is no member.
        """

        class Kind(enum.Enum):
            ONE = 1
            fetch = function

        assert [*Kind] == [Kind.ONE]
        assert Kind.ONE.fetch(7) == (None, (Kind.ONE, 7))

    def test_partly_given(self) -> None:
        """
        By functools.
        """

        class Client:
            fetch = functools.partialmethod(function, 7)

        client = Client()
        assert client.fetch() == (None, (client, 7))
        assert functools.partial(function, 5)(7) == (None, (5, 7))

    def test_of_a_class(self) -> None:
        """
        Is Python's own method, on each version, which has the attributes of the function.
        """

        class Client:
            fetch = classmethod(function)

        assert type(Client.fetch) is types.MethodType
        assert Client.fetch(7) == Client().fetch(7) == (None, (Client, 7))
        assert Client.fetch.with_timeout(2)(Client, 7) == (2, (Client, 7))  # type: ignore[attr-defined]

    def test_of_a_metaclass(self) -> None:
        """
        The instance is a class.
        """

        class Meta(type):
            fetch = function

        class Client(metaclass=Meta):
            pass

        assert Client.fetch.with_timeout(2)(7) == (2, (Client, 7))  # type: ignore[attr-defined]

    def test_mocked(self) -> None:
        """
        With the signature of the method, which the mock of a class has without the instance.
        """
        for cls in (Told, Own):
            mocked = mock.create_autospec(cls)
            for method in (mocked.fetch, mocked().fetch):
                method(7)
                method.assert_called_once_with(number=7)
                with pytest.raises(TypeError, match="too many positional arguments"):
                    method(1, 2)
        own: Any = Own()
        with mock.patch.object(Own, "fetch", autospec=True, return_value=5) as patched:
            assert own.fetch(7) == 5
        patched.assert_called_once_with(own, 7)


def test_a_call_is_not_seen_in_tracebacks() -> None:
    """
    There is the frame of the function, and none of ours.
    """

    def failing(*args: object) -> None:
        raise ZeroDivisionError

    class Client:
        fetch = WaitedFunction(failing)

    for call in (Client().fetch, lambda: Client.fetch()):
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "failing"
        assert Path(_decorators.__file__) not in {entry.path for entry in caught.traceback}


def test_where_partials_and_queues_are_written_in_python() -> None:
    """
    As PyPy's are: a partial sets its own attributes, and a queue refuses a timeout of zero.
    """
    finished = run_python(
        """
        import sys, types

        for name in ("functools", "queue"):
            sys.modules[f"_{name}"] = None
            sys.modules.pop(name, None)
        import functools, queue

        functools.partial.__class_getitem__ = classmethod(types.GenericAlias)  # which PyPy's has
        assert queue.SimpleQueue is queue._PySimpleQueue
        from crochet import running, wait_for

        class Shop:
            @wait_for(timeout=5.0)
            def price(self, item):
                return {"tea": 3}[item]

        Shop.price.note = "in the reactor"
        with running():
            assert Shop().price("tea") == Shop().price.with_timeout(5.0)("tea") == 3
        assert (Shop.price.note, vars(functools.partial).get("note")) == ("in the reactor", None)
        """,
        flags=(),
    )
    assert not finished.stderr  # where a thread that ends by an error says so
