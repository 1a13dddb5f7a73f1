"""
The types of what the decorators make, for type checkers; nothing imports this at run time.

A decorated function is a class with ``__get__``, for ``with_timeout`` and ``__wrapped__`` need one
that has them. So checkers do not bind it as they do functions, and do not tell it whether it is
an ordinary, a class or a static method. The first parameter has to. What that gets wrong is a
static method whose first parameter would take the class, or the instance that it is looked up on.

The class has two arguments, the call and the function. mypy keeps the type variables of a generic
function where a ParamSpec is (in the Call), and compares parameters where a Callable is (the
function); in one argument it does not do both. pyright needs neither.

What an editor shows of a decorated function is the name of the alias that its decorator returns:
``WaitedCoroutine[(url: str), bytes]``.

If you change this, look at tests/typing/: there is a line for each form of use.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from typing import Concatenate, Generic, ParamSpec, Protocol, overload

from twisted.internet.defer import Deferred
from typing_extensions import Never, TypeVar, deprecated

from .._threads.timeouts import Seconds
from .progress import OnProgress
from .result import EventualResult

P = ParamSpec("P")
Q = ParamSpec("Q")
Z = ParamSpec("Z")
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")
# What a program says that it is, which nobody checks. If it says nothing, it is an object.
D = TypeVar("D", default=object)
F = TypeVar("F")
T_late = TypeVar("T_late")
R_co = TypeVar("R_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)
F_co = TypeVar("F_co", covariant=True)

# What `async def ... -> T` returns.
Coro = Coroutine[object, Never, T]

# Many an async generator function is said to return an AsyncIterator.
Generators = Generator[T, S, R] | AsyncGenerator[T, S] | AsyncIterator[T]

# A function by its first parameter. To mypy, the second is the same as the first, but that it
# also takes functions that use Self, for which it finds no T: Never.
Takes = Callable[Concatenate[T, Z], D]
Near = Callable[Concatenate[T, ...], object]

# What is returned by a function that is annotated as `-> Self`, if Self is Never.
Bare = Coro[Never] | Deferred[Never] | Future[Never]


class Call(Protocol[P, R_co]):
    """
    How something is called.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """
        Have the function run in the reactor thread.
        """
        ...


class WaitedMethod(Call[P, R_co], Protocol[P, R_co]):
    """
    A method made by :func:`wait_for`, of an instance.
    """

    def with_timeout(self, timeout: Seconds) -> WaitedMethod[P, R_co]:
        """
        Return the same method with another timeout, in seconds.
        """
        ...

    def with_progress(self, progress: OnProgress) -> WaitedMethod[P, R_co]:
        """
        Return the same method, with a function that is called in the waiting thread with progress.
        """
        ...


class Wrapper(Generic[C_co, F_co]):
    """
    A decorated function: it takes what the function takes, and is a method where that is one.
    """

    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> F_co:
        """
        The undecorated function, for unit tests and for code in the reactor thread.
        """
        raise NotImplementedError

    @property
    def wrapped_function(self) -> F_co:
        """
        The same, by its older name.
        """
        raise NotImplementedError

    # The second is for mypy, and what it has given up on: a Wrapper[Any, Any].
    @overload
    def __call__(self: Wrapper[Call[P, R], F], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(  # type: ignore[overload-cannot-match]
        self: Wrapper[Never, F], *args: object, **kwargs: object
    ) -> F: ...
    def __call__(self, *args: object, **kwargs: object) -> object:
        """
        Have the function run in the reactor thread.
        """
        raise NotImplementedError

    # In this order, by the function's first parameter:
    # 1. It takes any object: a static method.
    # 2. It takes the class, or a subclass of it: a class method.
    # 3. It takes another class: a static method.
    # 4. What is left of those that take a class uses Self, in mypy. It returns just that.
    # 5. It uses Self otherwise.
    # 6. The rest stays as it is when it is looked up on the class.
    # 7. to 10. As 2. to 5., with the instance.
    # 11. No first parameter: a static method.
    @overload
    def __get__(
        self: Wrapper[object, Takes[object, Z]], instance: object, owner: type[object], /
    ) -> Wrapper[C_co, F_co]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[T, Q], R], Near[type[S]]],
        instance: object,
        owner: type[S],
        /,
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(
        self: Wrapper[object, Takes[type[S], Z]], instance: object, owner: type[object], /
    ) -> Wrapper[C_co, F_co]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[type[S], Q], R], Takes[type[Never], Z, Bare]],
        instance: object,
        owner: type[S],
        /,
    ) -> Callable[Q, EventualResult[S]]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[type[S], Q], R], Takes[type[Never], Z]],
        instance: object,
        owner: type[S],
        /,
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type[object], /) -> Wrapper[C_co, F_co]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[T, Q], R], Near[S]], instance: S, owner: type[object], /
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(
        self: Wrapper[object, Takes[S, Z]], instance: object, owner: type[object], /
    ) -> Wrapper[C_co, F_co]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[S, Q], R], Takes[Never, Z, Bare]],
        instance: S,
        owner: type[object],
        /,
    ) -> Callable[Q, EventualResult[S]]: ...
    @overload
    def __get__(
        self: Wrapper[Call[Concatenate[S, Q], R], Takes[Never, Z]],
        instance: S,
        owner: type[object],
        /,
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[object], /) -> Wrapper[C_co, F_co]: ...
    def __get__(self, instance: object, owner: type[object], /) -> object:
        raise NotImplementedError


class Waited(Wrapper[C_co, F_co], Generic[C_co, F_co]):
    """
    A function made by :func:`wait_for`.
    """

    def with_timeout(self, timeout: Seconds) -> Waited[C_co, F_co]:
        """
        Return the same function with another timeout, in seconds.
        """
        raise NotImplementedError

    def with_progress(self, progress: OnProgress) -> Waited[C_co, F_co]:
        """
        Return the same function, with one that is called in the waiting thread with progress.
        """
        raise NotImplementedError

    # As above. A class method is bound by Python, which knows nothing of with_timeout.
    @overload
    def __get__(
        self: Waited[object, Takes[object, Z]], instance: object, owner: type[object], /
    ) -> Waited[C_co, F_co]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[T, Q], R], Near[type[S]]], instance: object, owner: type[S], /
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(
        self: Waited[object, Takes[type[S], Z]], instance: object, owner: type[object], /
    ) -> Waited[C_co, F_co]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[type[S], Q], R], Takes[type[Never], Z, Bare]],
        instance: object,
        owner: type[S],
        /,
    ) -> Callable[Q, S]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[type[S], Q], R], Takes[type[Never], Z]],
        instance: object,
        owner: type[S],
        /,
    ) -> Callable[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type[object], /) -> Waited[C_co, F_co]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[T, Q], R], Near[S]], instance: S, owner: type[object], /
    ) -> WaitedMethod[Q, R]: ...
    @overload
    def __get__(
        self: Waited[object, Takes[S, Z]], instance: object, owner: type[object], /
    ) -> Waited[C_co, F_co]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[S, Q], R], Takes[Never, Z, Bare]],
        instance: S,
        owner: type[object],
        /,
    ) -> WaitedMethod[Q, S]: ...
    @overload
    def __get__(
        self: Waited[Call[Concatenate[S, Q], R], Takes[Never, Z]],
        instance: S,
        owner: type[object],
        /,
    ) -> WaitedMethod[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[object], /) -> Waited[C_co, F_co]: ...
    def __get__(self, instance: object, owner: type[object], /) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise NotImplementedError


class GeneratorFunction:
    """
    What the decorators make of a generator function: nothing that can be used.

    They refuse it at run time. Checkers have no way to refuse it, but they report what is marked
    as deprecated, and what is not callable.
    """


StartedCoroutine = Wrapper[Call[P, EventualResult[T]], Callable[P, Coro[T]]]
StartedDeferred = Wrapper[Call[P, EventualResult[T]], Callable[P, Deferred[T]]]
StartedFuture = Wrapper[Call[P, EventualResult[T]], Callable[P, Future[T]]]
StartedValue = Wrapper[Call[P, EventualResult[T]], Callable[P, T]]

WaitedCoroutine = Waited[Call[P, T], Callable[P, Coro[T]]]
WaitedDeferred = Waited[Call[P, T], Callable[P, Deferred[T]]]
WaitedFuture = Waited[Call[P, T], Callable[P, Future[T]]]
WaitedValue = Waited[Call[P, T], Callable[P, T]]


class Waiting(Protocol):
    """
    What ``wait_for(timeout)`` returns: the decorator itself.
    """

    @overload
    def __call__(self, function: Callable[P, Coro[T]]) -> WaitedCoroutine[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Deferred[T]]) -> WaitedDeferred[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Future[T]]) -> WaitedFuture[P, T]: ...
    @overload
    @deprecated("the body of a generator function would run in the thread that iterates")
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Generators[T, S, R]]
    ) -> GeneratorFunction: ...
    @overload
    def __call__(self, function: Callable[P, T]) -> WaitedValue[P, T]: ...  # pyright: ignore[reportOverlappingOverload]


class WaitingOrLate(Protocol[T_late]):
    """
    The same with an ``on_late`` that takes what the function answers.
    """

    @overload
    def __call__(self, function: Callable[P, Coro[T_late]]) -> WaitedCoroutine[P, T_late]: ...
    @overload
    def __call__(self, function: Callable[P, Deferred[T_late]]) -> WaitedDeferred[P, T_late]: ...
    @overload
    def __call__(self, function: Callable[P, Future[T_late]]) -> WaitedFuture[P, T_late]: ...
    @overload
    @deprecated("the body of a generator function would run in the thread that iterates")
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Generators[T, S, R]]
    ) -> GeneratorFunction: ...
    @overload
    def __call__(self, function: Callable[P, T_late]) -> WaitedValue[P, T_late]: ...
