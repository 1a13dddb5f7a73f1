"""
The decorators: how a function comes to run in the reactor thread.

A wrapper is a plain closure. It is faster than a callable object, it is a method where it is put
into a class, and it is pickled by its name like any function.

What must always hold when a wait ends, by an answer, for lack of time or by an exception that a
signal handler raised anywhere in here: the operation has ended, or it was told to; one that had
not started never will. The wait and everything after it stand in one ``try``; what leaves it goes
through ``_result.abandon()``, which sees to that and is itself guarded against a second signal.
"""

from __future__ import annotations

import inspect
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial, update_wrapper
from typing import Concatenate, NoReturn, ParamSpec, Protocol, TypeVar, cast, overload

from twisted.internet.defer import Deferred

from . import _errors, _result
from ._bridge import Bridge
from ._faults import Fault
from ._result import EventualResult
from ._timeouts import LONGEST, Seconds, acquire, seconds

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
W_co = TypeVar("W_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

# What `async def ... -> T` returns.
Coro = Coroutine[object, NoReturn, T]


# mypy takes the overloads below for an invariant use of the two; pyright sees that it is not.
class Wrapper(Protocol[P, W_co, R_co]):  # type: ignore[misc]
    """
    A decorated function: it takes what the function takes, and is a method where that is one.
    """

    @property
    def __wrapped__(self) -> Callable[P, W_co]:
        """
        The undecorated function, for unit tests and for code in the reactor thread.
        """
        ...

    @property
    def wrapped_function(self) -> Callable[P, W_co]:
        """
        The same, by its older name.
        """
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """
        Have the function run in the reactor thread.
        """
        ...

    # Access through a class or an instance, for type checkers. They do not tell here whether a
    # method is a static or class method, so the first parameter has to: one that takes the
    # instance, or its class, is given it. What is looked up on the class itself is left as it is,
    # which is wrong for class methods only.
    @overload
    def __get__(self, instance: None, owner: type[object], /) -> Wrapper[P, W_co, R_co]: ...
    @overload
    def __get__(
        self: Wrapper[Concatenate[S, Q], W_co, R_co], instance: S, owner: type[object], /
    ) -> Callable[Q, R_co]: ...
    @overload
    def __get__(
        self: Wrapper[Concatenate[type[S], Q], W_co, R_co], instance: S, owner: type[object], /
    ) -> Callable[Q, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[object], /) -> Wrapper[P, W_co, R_co]: ...


class RunInReactor(Protocol):
    """
    The type of :func:`run_in_reactor`.
    """

    @overload
    def __call__(
        self, function: Callable[P, Coro[T]]
    ) -> Wrapper[P, Coro[T], EventualResult[T]]: ...
    @overload
    def __call__(
        self, function: Callable[P, Deferred[T]]
    ) -> Wrapper[P, Deferred[T], EventualResult[T]]: ...
    @overload
    def __call__(self, function: Callable[P, T]) -> Wrapper[P, T, EventualResult[T]]: ...


class WaitFor(Protocol):
    """
    The type of :func:`wait_for`.
    """

    def __call__(self, timeout: Seconds) -> Waiting:
        """
        Make a decorator.
        """
        ...


class Waiting(Protocol):
    """
    What ``wait_for(timeout)`` returns: the decorator itself.
    """

    @overload
    def __call__(self, function: Callable[P, Coro[T]]) -> Wrapper[P, Coro[T], T]: ...
    @overload
    def __call__(self, function: Callable[P, Deferred[T]]) -> Wrapper[P, Deferred[T], T]: ...
    @overload
    def __call__(self, function: Callable[P, T]) -> Wrapper[P, T, T]: ...


class Decorators:
    """
    The two decorators, for the functions whose calls one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def run_in_reactor(self, function: object) -> object:
        """
        Make a function that runs in the reactor thread and returns an EventualResult at once.

        The function may return a value, a Deferred or a coroutine. It runs with the caller's
        context variables. Calls made by one thread start in the order made.

        Call the decorated function from any thread, the reactor's included. Blocks never.

        Raises:
            TypeError: *function* is a generator function, or nothing that can be called.

        The decorated function raises:
            RuntimeError: :func:`setup` has not been called.
            ReactorStopped: the reactor has stopped; nothing was started.
        """
        return _decorated(function, self._in_background)

    def wait_for(self, timeout: Seconds) -> Waiting:
        """
        Make a decorator for functions that run in the reactor thread and are waited for.

        Calling ``wait_for(timeout)(f)(x)`` is like calling ``run_in_reactor(f)(x).wait(timeout)``,
        but that a wait that ends for lack of time, by Ctrl-C or by any other exception cancels
        the operation, gives it a second to clean up behind itself, and only then raises.

        Call the decorated function from any thread but the reactor's.
        Blocks up to *timeout* seconds, and for the cleanup one second more.

        Args:
            timeout: seconds, from zero up; ``None`` and infinity stand for no limit.

        Raises:
            TypeError: *timeout* is no number, or missing; or what is decorated is a generator
                function, or nothing that can be called.
            ValueError: *timeout* is negative or NaN.

        The decorated function raises:
            TimeoutError: the operation has not answered in time; it was cancelled.
            DeadlockError: this is the reactor thread. The function was not run.
            RuntimeError: :func:`setup` has not been called.
            ReactorStopped: the reactor stopped before it answered.
            BaseException: whatever the function raised.
        """
        limit = _limit(timeout)
        return cast("Waiting", partial(_decorated, wrap=partial(self._waited_for, limit)))

    def _in_background(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        bridge = self._bridge
        submit = bridge.submit

        def run_in_reactor(*args: object, **kwargs: object) -> object:
            result: EventualResult[object] = EventualResult(
                bridge, name, (function, args, kwargs, copy_context()), []
            )
            try:
                submit(result)
            except BaseException:
                try:
                    _result.abandon(result)
                except BaseException:
                    _result.abandon(result)  # interrupted before it had begun to guard itself
                    raise
                raise
            return result

        return run_in_reactor

    def _waited_for(
        self, limit: float, name: str, function: Callable[..., object]
    ) -> Callable[..., object]:
        bridge = self._bridge
        submit = bridge.submit
        first = min(limit, LONGEST)
        rest = limit - first

        def wait_for_reactor(*args: object, **kwargs: object) -> object:
            if get_ident() == bridge.reactor_thread:
                raise _errors.in_reactor_thread(name)
            gate = allocate_lock()
            gate.acquire()
            result: EventualResult[object] = EventualResult(
                bridge, name, (function, args, kwargs, copy_context()), [gate.release]
            )
            error = None
            try:
                submit(result)
                if not (gate.acquire(True, first) or (rest and acquire(gate, rest))):
                    error = _result.give_up(result, gate, limit)
                elif bridge.errands:
                    _result.run_errands(result)
            except BaseException:
                try:
                    _result.abandon(result, gate)
                except BaseException:
                    _result.abandon(result, gate)  # interrupted before it had begun to guard itself
                    raise
                raise
            if error is not None:
                try:
                    raise error
                finally:
                    # Its traceback holds this frame.
                    del error, result
            outcome = _result.outcome_of(result)
            if type(outcome) is not Fault:
                return outcome
            try:
                outcome.throw(is_last=True)
            finally:
                # The traceback holds this frame; do not let it hold the fault as well.
                del outcome, result

        return wait_for_reactor


def _limit(timeout: Seconds) -> float:
    if callable(timeout):
        raise TypeError(
            "wait_for() needs a timeout before it is given a function: write "
            "@wait_for(timeout=5.0), with parentheses and a number of seconds"
        )
    limit = seconds(timeout)
    if limit < 0:
        raise ValueError(
            f"wait_for() cannot wait for {limit:g} s: give a timeout from 0 seconds up, or None "
            "for no limit"
        )
    return limit


def _decorated(
    function: object, wrap: Callable[[str, Callable[..., object]], Callable[..., object]]
) -> object:
    if isinstance(function, (staticmethod, classmethod)):
        method = cast("staticmethod[..., object]", function)
        kind = cast("Callable[[object], object]", type(method))
        return kind(_decorated(method.__func__, wrap))
    if not callable(function):
        raise TypeError(f"only functions can be run in the reactor, not {function!r}")
    name = _name(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name}() is a generator function: calling it runs nothing, and its body would run in "
            "the thread that iterates. Decorate it with @inlineCallbacks first, make it an "
            "`async def` without yield, or return a list"
        )
    wrapper = wrap(name, function)
    wrapper.__name__ = wrapper.__qualname__ = name  # partial objects have no name to copy
    update_wrapper(wrapper, function)
    for mark in ("_is_coroutine_mark", "_is_coroutine_marker", "_is_coroutine"):
        # inspect.markcoroutinefunction() and asyncio leave these on the function: the wrapper's
        # calls need no await, whatever is said of the function's.
        vars(wrapper).pop(mark, None)
    vars(wrapper)["wrapped_function"] = function
    return wrapper


def _name(function: object) -> str:
    while isinstance(function, partial):
        function = cast("object", function.func)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    # Where a function was defined inside another is of no use in a message.
    return str(name).rpartition("<locals>.")[2]
