"""
Async context managers for blocking code: the decorator, and what a ``with`` statement gets.

A context is one call, whose body enters, pauses for as long as the ``with`` block lasts, and exits.
Its thread waits for the one item that there is, which says that it was entered, and for the end, as
the consumer of a stream does: see consumer.py and pipe.py. What must always hold:

1. Enter, pause and exit are in one coroutine, and so in one context, and one task of asyncio's.
2. The exit runs once: when the block is left; or when the context is closed, which cancels the
   pause, because its object was dropped, the reactor ends, or Ctrl-C or a timeout ends a wait.
3. An error of the block is raised at the pause, and comes out of the ``with`` statement as it was,
   unless the exit suppresses it or raises another one.
4. Where the context ends first, the next wait that its thread begins or is in, is ended, once.

Of 4: the answer of the call leaves a note, then wakes the thread if it is listed in
``bridge.waits``; a wait is listed, then looks for the note, and does so before it begins anything.

Threads: any but the reactor's may enter, any may leave.
"""

from __future__ import annotations

import inspect
from _thread import get_ident
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from functools import partial
from math import inf
from types import CodeType, TracebackType
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, cast, final

from .. import _errors
from .._core.bridge import Bridge
from .._core.call import Work
from .._core.deadline import begin_block, end_block, end_of, get_bound, get_end, keep_in
from .._core.decorators import (
    WaitedFunction,
    decorated,
    limit_of,
    name_of_function,
    other_options,
    progress_option,
    take_out,
)
from .._core.failure import StoredError
from .._core.progress import OnProgress
from .._coroutines.cancellation import exceptions_of, is_cancellation
from .._errors import ContextEnded, ReactorStopped, Reason, set_context, set_traceback
from .._threads import clock
from .._threads.primitives import claim, discard, new_hold
from .._threads.timeouts import Seconds
from .call import StreamCall
from .consumer import Consumer, ItemWait
from .pipe import Pipe

T_co = TypeVar("T_co", covariant=True)


class ContextPipe(Pipe):
    """
    What a context's body and its thread share.
    """

    __slots__ = ("error", "is_entered", "is_left", "is_suppressed")

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(0, bridge)
        self.pauses.clear()  # it begins at once, and goes on when it is left; see leave()
        # Written by the thread that leaves, before is_left; the body takes it.
        self.error: BaseException | None = None
        self.is_left = False  # only ever set
        # Written by the body.
        self.is_entered = False
        self.is_suppressed = False  # before the answer; read only after

    @property
    def described(self) -> str:
        """
        How far it is.
        """
        if not self.is_entered:
            return "is being entered"
        return "is being exited" if self.is_left else "waits for its with block to end"

    def enter(self, value: object) -> None:
        """
        Tell that it was entered. Reactor thread only; blocks never.
        """
        self.is_entered = True
        self.items.append(value)
        self.release()


async def _drive(
    pipe: ContextPipe,
    name: str,
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> None:
    """
    Call a function, and enter and exit what it returns.
    """
    own: BaseException | None = None
    manager: Any
    try:
        manager = function(*args, **kwargs)
        if not _is_manager(manager):
            manager = await _manager(name, manager)
        async with manager as value:
            pipe.enter(value)
            del value
            if not pipe.is_left:  # or else it may have been resumed before
                await pipe.pause()
            own = pipe.error
            # Here, for in a coroutine of its own StopIteration would become another error.
            if own is not None:
                raise own
        pipe.is_suppressed = own is not None
    except BaseException as error:
        is_told = pipe.is_ending and is_cancellation(error)  # whoever has closed this knows
        if not is_told and (own is None or not _is_only(error, own)):
            raise
    finally:
        own = pipe.error = None  # its traceback leads here


async def _manager(name: str, value: object) -> Any:
    """
    Return the context manager that a function has returned, once that is there.
    """
    while not hasattr(type(value), "__aenter__") and isinstance(value, Awaitable):
        value = await cast("Awaitable[object]", value)
    if not _is_manager(value):
        raise _errors.no_async_context(name, value)
    return value


def _is_manager(value: object) -> bool:
    return hasattr(type(value), "__aenter__") and hasattr(type(value), "__aexit__")


def _is_only(error: BaseException, own: BaseException) -> bool:
    """
    Tell whether an error is *own*, or a group of nothing else: a task group makes it one.
    """
    group = exceptions_of(error)
    return error is own or (bool(group) and all(_is_only(each, own) for each in group))


def _add_history(raised: BaseException, error: BaseException) -> None:
    """
    Have an error that comes instead of another tell of that, after all that came of the exit.
    """
    last, known = raised, {id(error)}
    while last.__context__ is not None and id(last) not in known:
        known.add(id(last))
        last = last.__context__
    if id(last) not in known:
        set_context(last, error)


def _interrupt(ended: list[None], ident: int, name: str) -> None:
    if ended and get_ident() == ident and discard(ended, None):
        error = _errors.context_ended(name)
        error.block = ended
        try:
            raise error
        finally:
            del error  # its traceback holds this frame


def _note_end(ended: list[None], call: StreamCall, ident: int) -> None:
    if cast("ContextPipe", call.pipe).is_left:
        return  # the thread has left the block, and waits for this, if for anything
    outcome = call.outcome
    if type(outcome) is StoredError and isinstance(outcome.error, ReactorStopped):
        return  # waits learn of it themselves
    ended.append(None)  # before looking who waits; see the head of this file
    waiter, _ = call.bridge.waits.by_thread().get(ident, (None, None))
    if waiter is not None:
        waiter.put(None)


class ContextConsumer(Consumer):
    """
    Enters and leaves one context, and waits for that.
    """

    __slots__ = ()

    pipe: ContextPipe  # pyright: ignore[reportIncompatibleVariableOverride]

    def too_late(
        self, wait: ItemWait, reason: Reason, *, has_begun: bool, has_ended: bool
    ) -> BaseException:
        if not has_begun:
            return super().too_late(wait, reason, has_begun=False, has_ended=has_ended)
        is_exit = self.pipe.is_left
        return _errors.context_too_late(
            self.name, wait.limit, reason, is_exit=is_exit, ended=has_ended
        )

    def leave(self, error: BaseException | None) -> bool:
        """
        Have the context exit, and tell whether it has suppressed the block's error.

        Blocks as ``take()`` does; in the reactor thread, never.
        """
        pipe, bridge = self.pipe, self.bridge
        bridge.notice_fork()
        if pipe.generation != bridge.generation:  # it is the parent's, and exits there
            return False
        pipe.error = error
        pipe.is_left = True  # before the ticket, which has the body resumed: see _drive()
        pipe.pauses.append(None)
        if get_ident() == bridge.reactor_thread:
            pipe.ask()
            self.finalizer.detach()  # only now: what has not been told yet would not be
            self.call.finalizer = None
            return False
        bound, context = get_bound(), None
        if bound is not None and end_of(bound) < (soonest := clock.monotonic() + self.grace):
            # A deadline that is over may have ended the block. The exit has what cleanup has.
            context = copy_context()
            keep_in(context, soonest)
        try:
            if context is None:
                self.take(self.limit)
            else:
                context.run(self.take, self.limit)
        except StopIteration:
            pass  # it has ended
        return pipe.is_suppressed


@final
class ReactorContext(Generic[T_co]):
    """
    An async context manager in the reactor thread, for one ``with`` block; made by
    :func:`context_in_reactor`.
    """

    __slots__ = ("__weakref__", "_bridge", "_consumer", "_ended", "_held", "_name", "_work")

    def __init__(
        self, bridge: Bridge, name: str, options: ContextOptions, body: tuple[Any, ...]
    ) -> None:
        self._bridge = bridge
        self._name = name
        self._work = options, body  # whoever takes it enters
        self._ended: list[None] = []  # holds a note once the context has
        # Locked in the block, whose waits are to end when the context does. No destructor opens it,
        # which would take a signal's exception for its own, and Python drops those: with this it is
        # gone, and so is the block.
        self._held = new_hold()

    def __repr__(self) -> str:
        return f"<context of {self._name}()>"

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be copied or pickled.
        """
        raise TypeError(
            f"a context of {self._name}() cannot be copied or pickled: it is for one `with` block. "
            "Call the function anew for each"
        )

    def __enter__(self) -> T_co:
        bridge, name = self._bridge, self._name
        if get_ident() == bridge.reactor_thread and bridge.is_reactor_thread():
            raise _errors.context_in_reactor_thread(name)
        work = getattr(self, "_work", None)
        if not claim(self, "_work") or work is None:
            raise _errors.context_used(name)
        (limit, grace, caller, progress), body = work
        context = copy_context()
        if get_bound() is not None and (end := get_end()) != inf:
            left = end - clock.monotonic()
            if left <= 0:
                raise _errors.past_deadline(name, -left)
            keep_in(context, end)
        pipe, waiter = ContextPipe(bridge), bridge.new_waiter()
        driven: Work = (_drive, (pipe, name, *body), {}, context)
        call = StreamCall(bridge, name, driven, {waiter: None})
        call.pipe = pipe
        if caller is not None:
            call.caller, call.offset = caller
        consumer = ContextConsumer(bridge, call, pipe, waiter, limit, grace, progress)
        self._consumer = consumer
        ended = self._ended
        try:
            consumer.begin(partial(_note_end, ended, call, get_ident()))
            value = consumer.take(limit)
            begin_block(self._held, partial(_interrupt, ended, get_ident(), name))
        except BaseException:
            # Before it ends by that: a signal's exception may have come when the block had begun.
            end_block(self._held)
            consumer.close_soon()
            raise
        finally:
            del call, consumer, pipe, self  # an error's traceback holds this frame
        return cast("T_co", value)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        end_block(self._held)
        consumer: ContextConsumer | None = getattr(self, "_consumer", None)
        if not claim(self, "_consumer") or consumer is None:
            return False
        try:
            is_suppressed = consumer.leave(error)
        except BaseException as raised:
            if error is None:
                raise
            if raised is not error and not isinstance(raised, ReactorStopped):
                _add_history(raised, error)
                raise
            is_suppressed = False
        if type(error) is ContextEnded and error.block is self._ended:
            return True  # it came of the context's end, of which that has nothing to tell
        if error is not None and not is_suppressed:
            set_traceback(error, traceback)  # without the frames of the reactor thread
        return is_suppressed


class ContextOptions(NamedTuple):
    """
    How a context goes.
    """

    limit: float  # seconds for its enter, and for its exit
    grace: float  # seconds for its cleanup, after it was cancelled
    caller: tuple[CodeType, int] | None = None  # the program's code, if it enters by other code
    progress: OnProgress | None = None  # what is called in the thread that waits


class Contexting:
    """
    The decorator, for the functions whose contexts one bridge carries.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def context_in_reactor(
        self, timeout: Seconds, *, grace: Seconds = 1.0
    ) -> Callable[[object], object]:
        """
        Make a decorator; see :func:`crochet.context_in_reactor`.
        """
        of = "context_in_reactor"
        options = ContextOptions(limit_of(timeout, of=of), limit_of(grace, "a grace", of))
        wrap = partial(self._context_of, options)

        def decorate(function: object) -> object:
            body, put_back = take_out(function, "run in the reactor")
            if inspect.isasyncgenfunction(body):
                raise _errors.context_of_generator(name_of_function(body))
            return put_back(WaitedFunction(decorated(self._bridge, body, wrap)))

        return decorate

    def _context_of(
        self,
        options: ContextOptions,
        name: str,
        function: Callable[..., object],
        undecorated: Callable[..., object],
    ) -> Callable[..., object]:
        bridge = self._bridge

        def context_in_reactor(*args: object, **kwargs: object) -> object:
            body = (function, args, kwargs)
            # Not ReactorContext[object](): that takes 1 us longer.
            context: ReactorContext[object] = ReactorContext(bridge, name, options, body)
            return context

        # No word of context_in_reactor, which has this: it would keep itself alive.
        with_options = other_options(self._context_of, options, name, function, undecorated)

        def with_timeout(timeout: Seconds) -> Callable[..., object]:
            return with_options(limit=limit_of(timeout, of="context_in_reactor"))

        vars(context_in_reactor).update(
            with_timeout=with_timeout, with_progress=progress_option(with_options)
        )
        return context_in_reactor
