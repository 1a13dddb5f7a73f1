"""
The decorators: how a function comes to run in the reactor thread.

A wrapper is a plain closure. It is faster than a callable object, it is a method where it is put
into a class, and it is pickled by its name like any function. What ``wait_for`` makes is told to
be one; see _core/waited.py.

What must always hold when a wait ends, by an answer, for lack of time or by an exception that a
signal handler raised anywhere in here: the operation has ended, or it was told to; one that had
not started never will. The wait and everything after it stand in one ``try``; what leaves it goes
through ``cancel_interrupted()``, which sees to that and is itself guarded against a second signal.
"""

from __future__ import annotations

import inspect
import warnings
from _thread import get_ident
from collections.abc import Callable
from contextvars import copy_context
from functools import partial, update_wrapper
from math import inf
from typing import TYPE_CHECKING, cast

from .. import _errors
from .._threads import clock, timeouts
from .._threads.timeouts import Seconds, seconds
from .bridge import Bridge
from .call import Call, remember_call
from .deadline import end_of, get_bound, keep_in
from .result import EventualResult
from .waited import WaitedFunction
from .waiting import OnLate, WaitOptions, cancel_interrupted, run_and_wait

if TYPE_CHECKING:
    from .signatures import Waiting  # pyright: ignore[reportMissingModuleSource]


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
            TypeError: *function* is an async generator function, or nothing that can be called. A
                generator function gets a DeprecationWarning: the answer is a generator, whose body
                runs in the thread that iterates.

        The decorated function raises:
            RuntimeError: :func:`setup` has not been called.
            ReactorStopped: the reactor has stopped; nothing was started.
        """
        return _decorated(self._bridge, function, self._in_background, warns_at=3)

    def wait_for(
        self, timeout: Seconds, *, grace: Seconds = 1.0, on_late: OnLate | None = None
    ) -> Waiting:
        """
        Make a decorator for functions that run in the reactor thread and are waited for.

        Calling ``wait_for(timeout)(f)(x)`` is like calling ``run_in_reactor(f)(x).wait(timeout)``,
        but that a wait that ends for lack of time, by Ctrl-C or by any other exception cancels
        the operation, gives it *grace* seconds to clean up behind itself, and only then raises.
        A second Ctrl-C raises at once. Whether its Deferred had fired by then is said by the
        TimeoutError's ``ended``, and by a note on any other exception (from Python 3.11 on).

        ``f.with_timeout(2.0)(x)`` is ``f(x)`` with another timeout, for this call, and
        ``client.fetch.with_timeout(2.0)(x)`` is ``client.fetch(x)``. For a bound over several
        calls there is :class:`deadline`.

        Call the decorated function from any thread but the reactor's.
        Blocks up to *timeout* seconds, and for the cleanup up to *grace* seconds more; or 20 ms,
        if the reactor thread is too busy to cancel anything.

        Args:
            timeout: seconds, from zero up; ``None`` and infinity stand for no limit.
            grace: likewise.
            on_late: is called with a value that comes after the wait was given up, to close a
                connection that opened too late, say. It is called in the reactor thread, once at
                most, and what it raises is logged. Without it such a value is dropped. A late error
                is logged, unless it says that the operation was cancelled.

        Raises:
            TypeError: *timeout* or *grace* is no number, *timeout* is missing, *on_late* cannot be
                called; or what is decorated is a generator function, or nothing that can be called.
            ValueError: *timeout* or *grace* is negative or NaN.

        The decorated function raises:
            TimeoutError: the operation has not answered in time and was told to cancel. Or a
                deadline was over before it began; it was not started.
            DeadlockError: this is the reactor thread. The function was not run.
            RuntimeError: :func:`setup` has not been called.
            ReactorStopped: the reactor stopped before it answered.
            BaseException: whatever the function raised.
        """
        if on_late is not None and not callable(on_late):
            raise TypeError(f"on_late is a function that takes the late value, not {on_late!r}")
        options = WaitOptions(_limit(timeout), _limit(grace, "a grace"), on_late)
        wrap = partial(self._waited_for, options)
        return cast("Waiting", partial(_decorated, self._bridge, wrap=wrap, finish=WaitedFunction))

    def _in_background(
        self, name: str, function: Callable[..., object], undecorated: object
    ) -> Callable[..., object]:
        bridge = self._bridge
        submit = bridge.submit

        def run_in_reactor(*args: object, **kwargs: object) -> EventualResult[object]:
            context = copy_context()
            bound = get_bound()
            if bound is not None and (end := end_of(bound)) != inf:
                keep_in(context, end)
            call = Call(bridge, name, (function, args, kwargs, context), {})
            try:
                submit(call)
                return EventualResult(call)
            except BaseException:
                try:
                    cancel_interrupted(call)
                except BaseException:
                    cancel_interrupted(call)  # interrupted before it had begun to guard itself
                    raise
                raise

        return run_in_reactor

    def _waited_for(
        self,
        options: WaitOptions,
        name: str,
        function: Callable[..., object],
        undecorated: Callable[..., object],
    ) -> Callable[..., object]:
        bridge = self._bridge
        first = min(options.limit, timeouts.LONGEST)

        def wait_for_reactor(*args: object, **kwargs: object) -> object:
            if get_ident() == bridge.reactor_thread and bridge.is_reactor_thread():
                raise _errors.in_reactor_thread(name)
            patience = first
            context = copy_context()
            bound = get_bound()
            if bound is not None and (end := end_of(bound)) != inf:
                left = end - clock.monotonic()
                if left <= 0:
                    raise _errors.past_deadline(name, -left)
                patience = min(first, left)
                keep_in(context, end)
            waiter = bridge.new_waiter()
            call = Call(bridge, name, (function, args, kwargs, context), {waiter: None})
            try:
                return run_and_wait(call, waiter, patience, options)
            finally:
                del call, waiter  # an error's traceback holds this frame

        def with_timeout(timeout: Seconds) -> Callable[..., object]:
            # No word of wait_for_reactor, which has this: it would keep itself alive.
            other = options._replace(limit=_limit(timeout))
            wrapper = self._waited_for(other, name, function, undecorated)
            return WaitedFunction(_looking_like(undecorated, wrapper, name))

        vars(wait_for_reactor)["with_timeout"] = with_timeout
        return wait_for_reactor


def _limit(timeout: Seconds, what: str = "a timeout") -> float:
    if callable(timeout):
        raise TypeError(
            "wait_for() needs a timeout before it is given a function: write "
            "@wait_for(timeout=5.0), with parentheses and a number of seconds"
        )
    limit = seconds(timeout)
    if limit < 0:
        raise ValueError(
            f"wait_for() cannot wait for {limit:g} s: give {what} from 0 seconds up, or None for "
            "no limit"
        )
    return limit


def _decorated(
    bridge: Bridge,
    function: object,
    wrap: Callable[[str, Callable[..., object], Callable[..., object]], Callable[..., object]],
    warns_at: int | None = None,
    finish: Callable[[Callable[..., object]], object] | None = None,
) -> object:
    """
    Decorate a function, or what is in a method object.

    Args:
        bridge: carries the calls.
        function: what to decorate.
        wrap: makes the wrapper, given a name for texts, what it is to call, and the function.
        warns_at: the ``stacklevel`` of the program, to be warned of a generator function; None is
            for refusing that.
        finish: makes of the wrapper, when it looks like the function, what is returned.
    """
    if isinstance(function, (staticmethod, classmethod)):
        method = cast("staticmethod[..., object]", function)
        kind = cast("Callable[[object], object]", type(method))
        return kind(_decorated(bridge, method.__func__, wrap, warns_at and warns_at + 1, finish))
    if not callable(function):
        raise TypeError(f"only functions can be run in the reactor, not {function!r}")
    name = name_of_function(function)
    if inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name}() is an async generator function: calling it runs nothing, and there is "
            "nothing to wait for. Decorate an `async def` that collects its items in a list: "
            f"`return [item async for item in {name}(...)]`"
        )
    if inspect.isgeneratorfunction(function) and warns_at is not None:
        # Programs written for 2.1.1 decorate them, and then call the undecorated function only.
        warnings.warn(
            f"{name}() is a generator function: calling it runs nothing, and the generator's body "
            "runs in the thread that iterates. Decorate it with @inlineCallbacks first, or return "
            "a list",
            DeprecationWarning,
            stacklevel=warns_at,
        )
    elif inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{name}() is a generator function: calling it runs nothing, and its body would run in "
            "the thread that iterates. Decorate it with @inlineCallbacks first, make it an "
            "`async def` without yield, or return a list"
        )
    is_resumed = inspect.isgeneratorfunction(inspect.unwrap(function))  # by inlineCallbacks
    wrapper = wrap(name, _remembering(bridge, function) if is_resumed else function, function)
    wrapper = _looking_like(function, wrapper, name)
    return wrapper if finish is None else finish(wrapper)


def _looking_like(
    function: Callable[..., object], wrapper: Callable[..., object], name: str
) -> Callable[..., object]:
    """
    Have a wrapper look like the function that it wraps, to programs and tools.
    """
    wrapper.__name__ = wrapper.__qualname__ = name  # partial objects have no name to copy
    update_wrapper(wrapper, function)
    for mark in ("_is_coroutine_mark", "_is_coroutine_marker", "_is_coroutine"):
        # inspect.markcoroutinefunction() and asyncio leave these on the function: the wrapper's
        # calls need no await, whatever is said of the function's.
        vars(wrapper).pop(mark, None)
    vars(wrapper)["wrapped_function"] = function
    return wrapper


def _remembering(bridge: Bridge, function: Callable[..., object]) -> Callable[..., object]:
    def body(*args: object, **kwargs: object) -> object:
        remember_call(bridge)
        return function(*args, **kwargs)

    return body


def name_of_function(function: object) -> str:
    """
    Return what a function is called in texts.
    """
    while isinstance(function, partial):
        function = cast("object", function.func)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    # Where a function was defined inside another is of no use in a message.
    return str(name).rpartition("<locals>.")[2]
