"""
The decorators: how a function comes to run in the reactor thread.

A wrapper is a plain closure. It is faster than a callable object, it is a method where it is put
into a class, and it is pickled by its name like any function. What ``wait_for`` makes passes for
one; see WaitedFunction.

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
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

from .. import _errors
from .._threads import clock, timeouts
from .._threads.timeouts import Seconds, seconds
from .bridge import Bridge
from .call import ABANDONED, AdoptedCall, Call, remember_call
from .deadline import end_of, get_bound, get_end, keep_in
from .progress import OnProgress
from .result import EventualResult
from .waiting import OnLate, WaitOptions, cancel_interrupted, run_and_wait

if TYPE_CHECKING:
    from .types import Waiting

# Given a name for texts, what it is to call and the function, makes a wrapper.
Wrap = Callable[[str, Callable[..., object], Callable[..., object]], Callable[..., object]]


class Decorators:
    """
    The two decorators, for the functions whose calls one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def run_in_reactor(self, function: object, warns_at: int = 3) -> object:
        """
        Decorate a function; see :func:`crochet.run_in_reactor`.

        Args:
            function: what to decorate.
            warns_at: the ``stacklevel`` of the program, to be warned of a generator function.
        """
        body, put_back = take_out(function, "run in the reactor")
        return put_back(decorated(self._bridge, body, self._in_background, warns_at))

    def wait_for(
        self, timeout: Seconds, *, grace: Seconds = 1.0, on_late: OnLate | None = None
    ) -> Waiting:
        """
        Make a decorator; see :func:`crochet.wait_for`.
        """
        if on_late is not None and not callable(on_late):
            raise TypeError(f"on_late is a function that takes the late value, not {on_late!r}")
        options = WaitOptions(limit_of(timeout), limit_of(grace, "a grace"), on_late)
        return cast("Waiting", self.waiting(options))

    def waiting(self, options: WaitOptions) -> Callable[[object], object]:
        """
        Make the decorator of functions that wait as *options* say.
        """
        wrap = partial(self._waited_for, options)

        def decorate(function: object) -> object:
            body, put_back = take_out(function, "run in the reactor")
            return put_back(WaitedFunction(decorated(self._bridge, body, wrap)))

        return decorate

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
                call.cancel_requested = True  # as in run_and_wait()
                try:
                    cancel_interrupted(call)
                except BaseException:
                    try:
                        cancel_interrupted(call)  # interrupted before it had begun to guard itself
                    finally:
                        call.cancel_requested = ABANDONED
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
        kind = Call if options.adopt is None else AdoptedCall

        def wait_for_reactor(*args: object, **kwargs: object) -> object:
            if get_ident() == bridge.reactor_thread and bridge.is_reactor_thread():
                raise _errors.in_reactor_thread(name)
            patience = first
            context = copy_context()
            if get_bound() is not None and (end := get_end()) != inf:
                left = end - clock.monotonic()
                if left <= 0:
                    raise _errors.past_deadline(name, -left)
                patience = min(first, left)
                keep_in(context, end)
            waiter = bridge.new_waiter()
            call = kind(bridge, name, (function, args, kwargs, context), {waiter: None})
            try:
                return run_and_wait(call, waiter, patience, options)
            finally:
                __tracebackhide__ = True  # from users of IPython and pytest
                del call, waiter  # an error's traceback holds this frame

        # No word of wait_for_reactor, which has these: it would keep itself alive.
        with_options = other_options(self._waited_for, options, name, function, undecorated)

        def with_timeout(timeout: Seconds) -> Callable[..., object]:
            return with_options(limit=limit_of(timeout))

        vars(wait_for_reactor).update(
            with_timeout=with_timeout, with_progress=progress_option(with_options)
        )
        return wait_for_reactor


def other_options(
    wrap: Callable[..., Callable[..., object]],
    options: Any,
    name: str,
    function: Callable[..., object],
    undecorated: Callable[..., object],
) -> Callable[..., Callable[..., object]]:
    """
    Return what makes a decorated function with some options changed, for one call of it.

    Args:
        wrap: makes wrappers: of the options, the name, the function, and what was decorated.
        options: the decorated function's, a named tuple.
        name: of the function, for messages.
        function: is called.
        undecorated: what the wrapper is to look like.
    """

    def with_options(**changed: object) -> Callable[..., object]:
        wrapper = wrap(options._replace(**changed), name, function, undecorated)
        return WaitedFunction(looking_like(undecorated, wrapper, name))

    return with_options


def progress_option(
    with_options: Callable[..., Callable[..., object]],
) -> Callable[[OnProgress], Callable[..., object]]:
    """
    Return what ``with_progress`` is, of a function that *with_options* changes.
    """

    def with_progress(progress: OnProgress) -> Callable[..., object]:
        if not callable(progress):
            raise TypeError(f"with_progress() takes a function, not {progress!r}")
        return with_options(progress=progress)

    return with_progress


def limit_of(timeout: Seconds, what: str = "a timeout", of: str = "wait_for") -> float:
    """
    Return a timeout or a grace in seconds; infinity stands for no limit.

    Args:
        timeout: what the program has given.
        what: it is.
        of: the decorator, for the texts of errors.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or NaN.
    """
    if callable(timeout):
        raise TypeError(
            f"{of}() needs a timeout before it is given a function: write "
            f"@{of}(timeout=5.0), with parentheses and a number of seconds"
        )
    limit = seconds(timeout, what)
    if limit < 0:
        raise ValueError(
            f"{of}() cannot wait for {limit:g} s: give {what} from 0 seconds up, or None for "
            "no limit"
        )
    return limit


def take_out(
    function: object, purpose: str
) -> tuple[Callable[..., object], Callable[[object], object]]:
    """
    Take a function out of the ``staticmethod`` or ``classmethod`` object it is in, if it is.

    Args:
        function: a function, or one in such objects.
        purpose: what it is taken out for, for the text of the error.

    Returns:
        The function, and what puts another into such an object.

    Raises:
        TypeError: it is nothing that can be called.
    """
    kinds: list[Callable[[object], object]] = []
    while isinstance(function, (staticmethod, classmethod)):
        method = cast("staticmethod[..., object]", function)
        kinds.insert(0, cast("Callable[[object], object]", type(method)))
        function = method.__func__
    if not callable(function):
        raise TypeError(f"only functions can be {purpose}, not {function!r}")

    def put_back(wrapper: object) -> object:
        for kind in kinds:
            wrapper = kind(wrapper)
        return wrapper

    return function, put_back


def decorated(
    bridge: Bridge,
    function: Callable[..., object],
    wrap: Wrap,
    warns_at: int | None = None,
    *,
    is_stream: bool = False,
) -> Callable[..., object]:
    """
    Decorate a function.

    Args:
        bridge: carries the calls.
        function: what to decorate.
        wrap: makes the wrapper.
        warns_at: the ``stacklevel`` of the program, to be warned of a generator function; None is
            for refusing that.
        is_stream: the items of an async generator are to be had one by one.
    """
    name = name_of_function(function)
    if inspect.isasyncgenfunction(function) and not is_stream:
        raise _errors.async_generator(name)
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
    return looking_like(function, wrapper, name)


def looking_like(
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


# No annotations in the classes: those would be looked up on each function.

_new = partial.__new__

# What a partial consists of.
_PARTS = {"func", "args", "keywords"}


class WaitedFunction(partial[object]):
    """
    What ``wait_for`` makes of a function: one that has ``with_timeout``, also as a method.

    A plain function cannot have that. Its bound method hands on its attributes as they are, so the
    ``with_timeout`` of ``client.fetch.with_timeout(2.0)`` would not know the client. So this is an
    object that holds the plain function and binds itself. What must hold:

    1. To a program it is that function: what is looked up on it or set, and is not defined here, is
       the function's, and ``isinstance()`` says function or method. Tools go by that: Celery,
       Sphinx, unittest.mock, inspect.
    2. A call costs at most a few percent more. A partial calls in C, with no frame in tracebacks; a
       ``__call__`` written here would be slower, and seen.
    """

    def __get__(self, instance: object, owner: type[object] | None = None) -> object:  # type: ignore[override, unused-ignore]
        if instance is None:
            return self
        if instance is owner:  # a classmethod asks, up to Python 3.12; then it does this itself
            return MethodType(self, instance)
        method = _new(WaitedMethod, self.func, instance)  # faster than WaitedMethod(self, instance)
        method.__func__ = self  # type: ignore[attr-defined]  # pyright: ignore
        return method

    __class__ = property(lambda self: FunctionType)  # pyright: ignore

    # An instance has these from its class, if it is not told here. All else comes by __getattr__.
    __dict__ = property(lambda self: vars(self.func))  # pyright: ignore
    __doc__ = property(lambda self: self.func.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.func.__module__)  # pyright: ignore[reportAssignmentType]

    def __getattr__(self, name: str) -> object:
        return getattr(self.func, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PARTS:  # a partial written in Python sets its own, PyPy's does
            super().__setattr__(name, value)
        else:
            setattr(self.func, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.func, name)

    def __reduce__(self) -> str:
        return self.func.__qualname__  # pickled by its name, and not copied

    def __repr__(self) -> str:
        return f"<function {self.func.__qualname__} at {id(self):#x}>"


class WaitedMethod(partial[object]):
    """
    Such a function, bound to an instance.
    """

    __slots__ = ("__func__",)

    def __new__(cls, function: WaitedFunction, instance: object) -> WaitedMethod:
        method = _new(cls, function.func, instance)
        method.__func__ = function  # type: ignore[attr-defined]  # pyright: ignore
        return method

    def with_timeout(self, timeout: Seconds) -> object:
        """
        Return the same method with another timeout, in seconds.
        """
        return vars(self.func)["with_timeout"](timeout).__get__(self.__self__)

    def with_progress(self, progress: OnProgress) -> object:
        """
        Return the same method, with a function that is called in the thread that waits.
        """
        return self.func.with_progress(progress).__get__(self.__self__)  # type: ignore[attr-defined]

    @property
    def __self__(self) -> object:
        return self.args[0]

    __class__ = property(lambda self: MethodType)  # pyright: ignore

    def __get__(self, instance: object, owner: type[object] | None = None) -> object:  # type: ignore[override, unused-ignore]
        return self

    __dict__ = property(lambda self: vars(self.func))  # pyright: ignore
    __doc__ = property(lambda self: self.func.__doc__)  # pyright: ignore[reportAssignmentType]
    __module__ = property(lambda self: self.func.__module__)  # pyright: ignore[reportAssignmentType]

    def __getattr__(self, name: str) -> object:
        return getattr(self.func, name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not WaitedMethod:
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__func__))

    def __reduce__(self) -> tuple[object, ...]:
        return getattr, (self.__self__, self.func.__name__)

    def __repr__(self) -> str:
        return f"<bound method {self.func.__qualname__} of {self.__self__!r}>"
