"""
The public functions, and the process's one lifecycle.

What must always hold:

1. Importing this has no effect: what is made below starts nothing and registers nothing. Python's
   own import lock sees to it that there is one lifecycle, and ``%reload_ext crochet``, which runs
   ``__init__.py`` again, leaves this module alone.
2. After setup() nothing of ours is imported any more by calls, waits and their ends, in the reactor
   thread, in a signal handler, at exit or in a forked child. An import there could wait for ever
   for the lock of a module that another thread is importing, which waits for this one; it needs a
   file descriptor, and the process may have none left; and it fails while the interpreter shuts
   down. So all of it is imported here, by ``import crochet``.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, ParamSpec, SupportsIndex, TextIO, TypeVar, cast, overload

from twisted.internet.defer import Deferred

from . import _errors
from ._core import run_in_caller as _caller
from ._core.bridge import Bridge
from ._core.result import EventualResult
from ._core.stash import Stash
from ._diagnostics import dump as _dump
from ._diagnostics import guards as _guards
from ._diagnostics.dump import Writable
from ._diagnostics.status import Status
from ._interactive.ipython import Extension, Shell
from ._lifecycle.fork import at_fork
from ._lifecycle.lifecycle import EventLoop
from ._logs.observer import LogBridge
from ._reactor.asyncio_loop import LoopFactory
from ._reactor.choice import ReactorChoice
from ._reactor.reactor import import_reactor
from ._stash.memory import MemoryStash
from ._stash.names import named
from ._streams import progress as _progress
from ._streams import together as _together
from ._streams.context import Contexting as _Contexting
from ._streams.iterating import Iterating as _Iterating
from ._streams.objects import Objects as _Objects
from ._streams.proxy import unwrap as _unwrap
from ._threads.threads import start_thread
from ._threads.timeouts import DRAIN, EXIT_PATIENCE, MAX_QUEUED, STALL_WARNING, Seconds

if TYPE_CHECKING:
    from asyncio import Future

    from typing_extensions import Unpack
    from typing_extensions import deprecated as deprecated

    from ._core.types import (
        Coro,
        D,
        GeneratorFunction,
        Generators,
        R,
        S,
        StartedCoroutine,
        StartedDeferred,
        StartedFuture,
        StartedValue,
        Waiting,
        WaitingOrLate,
    )
    from ._lifecycle.lifecycle import SetupOptions
    from ._streams.types import Blocking, Contexting, Iterating
else:

    def deprecated(text):
        """
        Leave an overload as it is. The typing_extensions that Twisted brings may not have this yet.
        """
        return lambda function: function


P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")

lifecycle = EventLoop(
    import_reactor=import_reactor,
    start_thread=start_thread,
    at_exit=atexit.register,
    at_fork=at_fork,
    logs=LogBridge(start_thread=start_thread),
    bridge=Bridge(_errors.not_set_up, MemoryStash()),
    birthplace=os.getpid(),
)
_iterating = _Iterating(lifecycle.bridge)
_contexting = _Contexting(lifecycle.bridge)
_objects = _Objects(lifecycle.bridge)
# What ``crochet._extension`` is: the code of a notebook's cells finds it there.
extension = Extension(lifecycle, __package__ or "", "_extension")
# What ``crochet._main`` is. MAAS sets this to None, for setup() to leave logs alone.
main = SimpleNamespace(_startLoggingWithObserver=True)


def setup(
    *,
    logging: bool = True,
    stall_warning: Seconds = STALL_WARNING,
    exit_patience: Seconds = EXIT_PATIENCE,
    max_queued: float | None = MAX_QUEUED,
    reactor: ReactorChoice | None = None,
    loop_factory: LoopFactory | None = None,
    stash: Stash | str | None = None,
    drain: Seconds = DRAIN,
) -> None:
    """
    Start the reactor in a thread of its own, unless it runs.

    Call it from any thread, as often as you like: while the reactor runs, or after
    :func:`no_setup`, it is a cheap no-op. Once the reactor has ended, by :func:`shutdown` or
    otherwise, it starts it again. Blocks while another thread is starting the reactor, and up to
    5 s while one that was told to stop ends.

    Args:
        logging: hand Twisted's log events to the logger named ``twisted``, and have a
            thread of ours write them. False leaves logs alone.
        stall_warning: seconds that the reactor thread may be busy with one thing, while calls
            wait, before that is logged; ``None`` and infinity for never. If given, it
            holds from now on, even if the reactor already runs, and also after ``no_setup()``.
        exit_patience: seconds that the interpreter's exit may wait for the reactor to stop, for
            work that was given to ``deferToThread()``, for callbacks of futures and for logs to
            be written, all together; ``None`` and infinity for as long as they take. What is
            not done by then is cut off, and reported on stderr. If given, it holds from now on,
            too.
        max_queued: how many calls may wait for the reactor thread. A call beyond that is
            refused at once, with ReactorBusy; ``None`` and infinity for any number. If given,
            it holds from now on, too.
        reactor: which one it is to be: ``"asyncio"``, ``"epoll"``, ``"poll"``, ``"select"``,
            ``"default"`` or the one that is installed. None accepts any.
        loop_factory: makes the event loop of the asyncio reactor, such as
            ``uvloop.new_event_loop``. None is for asyncio's own.
        stash: where results are kept that are stashed from now on: a :class:`LocalStash` or a
            :class:`RedisStash`, which processes share; or ``"local:NAME"``, or a URL of Redis' with
            the key in ``CROCHET_STASH_KEY``. Without one, in this process. It can be given once.
        drain: seconds that the interpreter's exit waits for stashed operations that are pending,
            before it cancels them. If given, it holds from now on.

    Raises:
        RuntimeError: the reactor runs already, or cannot be run here; it is not the one asked
            for, or that is not available; no thread can be started; or another stash was given
            before. Nothing was changed, and setup() may be called again.
        OSError: no file descriptor is left for the reactor. Likewise.
        TimeoutError: the last one has not come to its end. Likewise.
        TypeError: *stall_warning*, *exit_patience* or *max_queued* is not a number, *reactor* is
            not a reactor, or *loop_factory* makes no event loops.
        ValueError: *stall_warning* is not above zero, *exit_patience* is below zero, or
            *max_queued* below one or not a whole number; there is no reactor of that name, or it
            runs on no event loop.

    Example:
        >>> setup(reactor="asyncio")  # as often as you like
        >>> status().state
        'running'
    """
    lifecycle.setup(
        logging=logging and main._startLoggingWithObserver is not None,
        stall_warning=stall_warning,
        exit_patience=exit_patience,
        max_queued=max_queued,
        reactor=reactor,
        loop_factory=loop_factory,
        stash=named(stash) if isinstance(stash, str) else stash,
        drain=drain,
    )


def no_setup() -> None:
    """
    Leave the reactor to the program, which runs it itself; later :func:`setup` calls do
    nothing.

    Call it from any thread, before anything calls ``setup()``. Never blocks. Installs the
    default reactor unless another is installed. In a process that was forked while the
    reactor ran, call it again, and then run the reactor there.

    Raises:
        RuntimeError: ``setup()`` has started the reactor already.

    Example:
        In a program that runs the reactor itself::

            crochet.no_setup()
            reactor.callInThread(serve)  # serve() calls decorated functions
            reactor.run()
    """
    lifecycle.no_setup()


def shutdown(timeout: Seconds = 10.0) -> None:
    """
    Stop the reactor and give back everything that :func:`setup` took.

    New calls are refused, pending operations are cancelled and have *timeout* seconds to clean
    up, every waiter gets ReactorStopped, what was logged is written, and our threads have
    ended when this returns. ``setup()`` may be called again, any number of times. Without a
    running reactor of ours there is nothing to do.

    Call it from any thread but the reactor's. Blocks up to *timeout* seconds.

    Args:
        timeout: seconds, ``None`` and infinity stand for no limit.

    Raises:
        TimeoutError: the reactor thread, or a log handler, was not done in time. No calls are
            accepted any more; call shutdown() again to go on waiting.
        DeadlockError: this is the reactor thread.
        RuntimeError: the program runs the reactor itself, after :func:`no_setup`; or a signal
            handler called this in the middle of ``setup()``.

    Example:
        >>> shutdown()
        >>> status().state
        'shut down'
        >>> setup()
    """
    lifecycle.shutdown(timeout)


def running(
    *, timeout: Seconds = 10.0, **options: Unpack[SetupOptions]
) -> AbstractContextManager[None]:
    """
    Have the reactor run for the length of a ``with`` block, for scripts and tests.

    The same as :func:`setup` before the block and :func:`shutdown` after it.

    Call it from any thread but the reactor's. Blocks up to *timeout* seconds at the end.

    Args:
        timeout: as for ``shutdown()``.
        options: as for ``setup()``, any of them.

    Raises:
        Exception: what ``setup()`` and ``shutdown()`` raise.

    Example:
        >>> shutdown()  # what setup() has started
        >>> with running():
        ...     print(status().state)
        running
        >>> setup()
    """
    return lifecycle.running(partial(setup, **options), timeout)


def status() -> Status:
    """
    Return a snapshot of the bridge to the reactor thread: its state, and every call in flight.

    ``print(crochet.status())`` shows it. It takes less than a millisecond with a thousand calls
    in flight.

    Call it from any thread, the reactor's included, and from a signal handler. Never blocks.

    Example:
        >>> pending = run_in_reactor(asyncio.sleep)(60.0)
        >>> [call.function for call in status().calls]
        ['sleep']
        >>> pending.cancel()
    """
    return lifecycle.status()


@overload
def run_in_reactor(function: Callable[P, Coro[T]]) -> StartedCoroutine[P, T]: ...
@overload
def run_in_reactor(function: Callable[P, Deferred[T]]) -> StartedDeferred[P, T]: ...
@overload
def run_in_reactor(function: Callable[P, Future[T]]) -> StartedFuture[P, T]: ...
@overload
@deprecated("the body of a generator function would run in the thread that iterates")
def run_in_reactor(  # type: ignore[overload-overlap]
    function: Callable[P, Generators[T, S, R]],
) -> GeneratorFunction: ...
@overload
def run_in_reactor(function: Callable[P, T]) -> StartedValue[P, T]: ...  # pyright: ignore[reportOverlappingOverload]
def run_in_reactor(function: object) -> object:
    """
    Make a function that runs in the reactor thread and returns an EventualResult at once.

    The function may return a value, a Deferred or a coroutine. It runs with the caller's
    context variables. Calls made by one thread start in the order made.

    Call the decorated function from any thread, the reactor's included. Never blocks.

    Raises:
        TypeError: *function* is an async generator function, or cannot be called. A
            generator function gets a DeprecationWarning: the answer is a generator, whose body
            runs in the thread that iterates.

    The decorated function raises:
        RuntimeError: :func:`setup` has not been called.
        ReactorStopped: the reactor has stopped; nothing was started.

    Example:
        >>> @run_in_reactor
        ... async def double(number):
        ...     await asyncio.sleep(0.01)
        ...     return 2 * number
        >>> result = double(21)
        >>> result.wait(timeout=5.0)
        42
    """
    return lifecycle.calls.run_in_reactor(function, warns_at=4)


@overload
def wait_for(
    timeout: Seconds, *, grace: Seconds = 1.0, on_late: Callable[[object], object] | None = None
) -> Waiting: ...
@overload
def wait_for(
    timeout: Seconds, *, grace: Seconds = 1.0, on_late: Callable[[T], object]
) -> WaitingOrLate[T]: ...
def wait_for(
    timeout: Seconds, *, grace: Seconds = 1.0, on_late: Callable[..., object] | None = None
) -> object:
    """
    Make a decorator for functions that run in the reactor thread and are waited for.

    Calling ``wait_for(timeout)(f)(x)`` is like calling ``run_in_reactor(f)(x).wait(timeout)``,
    except that a wait that ends for lack of time, by Ctrl-C or by any other exception cancels
    the operation, gives it *grace* seconds to clean up behind itself, and only then raises.
    A second Ctrl-C raises at once. The TimeoutError's ``ended`` says whether its
    Deferred had fired by then, and so does a note on any other exception (from Python 3.11 on).

    ``f.with_timeout(2.0)(x)`` is ``f(x)`` with another timeout, for this call, and
    ``client.fetch.with_timeout(2.0)(x)`` is ``client.fetch(x)``. For a bound over several
    calls there is :class:`deadline`. ``f.with_progress(show)(x)`` is ``f(x)``, and has this thread
    call ``show()`` with a :class:`Progress` for what the function reports by
    :func:`report_progress`: the newest ten times a second at most, and the last. What it raises
    ends the wait.

    Call the decorated function from any thread but the reactor's.
    Blocks up to *timeout* seconds, and for the cleanup up to *grace* seconds more; or 20 ms,
    if the reactor thread is too busy to cancel anything.

    Args:
        timeout: seconds, from zero up; ``None`` and infinity stand for no limit.
        grace: seconds, from zero up, that a cancelled operation has for its cleanup.
        on_late: is called with a value that comes after the wait was given up, to close a
            connection that opened too late, say. It is called in the reactor thread, once at
            most, and what it raises is logged. Without it such a value is dropped. A late error
            is logged, unless it says that the operation was cancelled.

    Raises:
        TypeError: *timeout* or *grace* is not a number, *timeout* is missing, *on_late* cannot be
            called; or what is decorated is a generator function, or cannot be called.
        ValueError: *timeout* or *grace* is negative or NaN.

    The decorated function raises:
        TimeoutError: the operation has not answered in time and was cancelled. Or a
            deadline was over before it began; it was not started.
        DeadlockError: this is the reactor thread. The function was not run.
        RuntimeError: :func:`setup` has not been called.
        ReactorStopped: the reactor stopped before it answered.
        BaseException: whatever the function raised.

    Example:
        >>> @wait_for(timeout=5.0)
        ... async def double(number):
        ...     await asyncio.sleep(0.01)
        ...     return 2 * number
        >>> double(21)
        42
    """
    return lifecycle.calls.wait_for(timeout, grace=grace, on_late=on_late)


def iterate_in_reactor(
    timeout: Seconds, *, buffersize: SupportsIndex = 0, grace: Seconds = 1.0
) -> Iterating:
    """
    Make a decorator for async generator functions, which run in the reactor thread while their
    items are iterated over in another.

    What is decorated may also return an async iterable or a :class:`Channel`, or a coroutine or
    Deferred of one. Calling it returns a :class:`Stream`::

        @iterate_in_reactor(timeout=5.0)
        async def events(url):
            async with connect(url) as connection:
                async for event in connection:
                    yield event

        with events(url) as stream:
            for event in stream:
                print(event)

    The whole body runs in one task, with the caller's context variables. With a *buffersize* of 0
    it runs only while an item is waited for. It ends, ``finally`` blocks and all, when the stream
    does: at its end, when it is closed or dropped, when a wait for an item times out or is ended by
    Ctrl-C, when the reactor stops, at exit.

    ``f.with_timeout(2.0)(x)`` is ``f(x)`` with another timeout, for this call. With
    ``f.with_progress(show)(x)`` a thread that waits for an item calls ``show()`` meanwhile, as for
    :func:`wait_for`.

    Call the decorated function from any thread. Never blocks.

    Args:
        timeout: seconds that each wait for an item may take, from zero up; ``None`` and infinity
            stand for no limit.
        buffersize: how many items the body may be ahead of those that were taken. A number above
            zero makes a fast source faster by far.
        grace: seconds for the body's cleanup, when the stream is closed before its end.

    Raises:
        TypeError: *timeout* or *grace* is not a number, *buffersize* is not an integer, *timeout*
            is missing; or what is decorated is a generator function, or cannot be called.
        ValueError: one of them is negative, or NaN.

    The decorated function raises:
        RuntimeError: :func:`setup` has not been called.
        ReactorStopped: the reactor has stopped; nothing was started.
    """
    decorate = _iterating.iterate_in_reactor(timeout, buffersize=buffersize, grace=grace)
    return cast("Iterating", decorate)


def report_progress(done: float, total: float | None = None, message: str | None = None) -> None:
    """
    Tell how far the operation is that this is called in: for ``result.progress``,
    ``result.watch()``, ``result.wait(progress=...)`` and :func:`progress_bar`, and for the text of
    a timeout.

    It takes less than a microsecond, and what nobody looks at costs no more: call it as often as
    there is something to tell. In a coroutine and an ``inlineCallbacks`` function it is known for
    its whole life which operation that is, and so it is in threads that have a copy of the context,
    as ``asyncio.to_thread()`` gives them. Any other function has to have called it once before such
    a copy is made. Where there is no operation, it does nothing.

    Call it from any thread. Never blocks.

    Args:
        done: what is done, in any unit, from zero up.
        total: all there is to do; None if that is not known.
        message: what the operation is at, in words.

    Raises:
        TypeError: *done* or *total* is not a number.
        ValueError: one of them is below zero, or NaN.

    Example:
        >>> @run_in_reactor
        ... async def download(pages):
        ...     for number in range(pages):
        ...         await asyncio.sleep(0.01)
        ...         report_progress(number + 1, pages)
        >>> result = download(3)
        >>> result.wait(timeout=5.0)
        >>> result.progress.fraction
        1.0
    """
    _progress.report(lifecycle.bridge, done, total, message)


def progress_bar(file: TextIO | None = None) -> AbstractContextManager[None]:
    """
    Show the progress of what is waited for in a ``with`` block, as a bar::

        with crochet.progress_bar():
            download(url)

    That is what :func:`wait_for` functions, ``EventualResult.wait()`` and an ``await`` of a result
    wait for in this thread for longer than a tenth of a second, and what reports progress. It is
    tqdm's bar, in a terminal or a notebook; where several results are awaited at once, one for
    each. Where there is no terminal, as in a cron job's log, it is a line, every five seconds at
    most. A function given to ``wait(progress=...)`` or ``with_progress()`` is called instead. It
    needs ``pip install crochet[progress]``.

    Call it from any thread. Never blocks.

    Args:
        file: where it is shown, ``sys.stderr`` by default.

    Raises:
        ImportError: tqdm is not installed. (In the ``with`` statement.)
    """
    return _progress.progress_bar(file)


def context_in_reactor(timeout: Seconds, *, grace: Seconds = 1.0) -> Contexting:
    """
    Make a decorator for ``@asynccontextmanager`` functions, which become context managers for
    blocking code.

    What is decorated may also be a class of async context managers, or return one, or a coroutine
    or Deferred of one. Calling it returns a context manager, for one ``with`` block::

        @context_in_reactor(timeout=5.0)
        @asynccontextmanager
        async def connect(url):
            async with client(url) as session:
                yield session

        with connect(url) as session:
            fetch(session)

    Enter, the time of the block, and exit are in one task, with the context variables of the thread
    that enters: task groups, cancel scopes, timeouts and tokens work. An error of the block goes
    through the exit, which may suppress it, and comes out as it was. If the context ends while the
    block is running, the next wait in the block raises RuntimeError, once, and what has ended the
    context is raised at the end of the block.

    The exit runs once: at the end of the block; or as the context is cancelled, when its object is
    dropped, when the enter or the exit is interrupted or takes too long, when the reactor stops, at
    exit. In a forked child leaving the block does nothing: the context is the parent's.

    ``f.with_timeout(2.0)(x)`` is ``f(x)`` with another timeout, for this call, and
    ``f.with_progress(show)(x)`` has what the enter and the exit report shown, as for
    :func:`wait_for`.

    Call the decorated function from any thread; the ``with`` statement, from any but the reactor's.
    The call never blocks; the statement does, at either end, up to *timeout* seconds, and for the
    cleanup up to *grace* seconds more. A :class:`deadline` bounds both, but leaves the exit *grace*
    seconds.

    Args:
        timeout: seconds that the enter may take, and the exit, from zero up; ``None`` and infinity
            stand for no limit.
        grace: seconds that each of them waits for its cleanup after it was cancelled.

    Raises:
        TypeError: *timeout* or *grace* is not a number, *timeout* is missing; or what is decorated
            is a generator function, also an async one, or cannot be called.
        ValueError: one of them is negative, or NaN.

    The with statement raises:
        TimeoutError: the enter, or the exit, has taken too long and was told to cancel.
        DeadlockError: this is the reactor thread. Nothing was run.
        RuntimeError: :func:`setup` has not been called, or the context was entered before.
        ReactorStopped: the reactor stopped.
        BaseException: whatever the enter or the exit raised.
    """
    return cast("Contexting", _contexting.context_in_reactor(timeout, grace=grace))


if TYPE_CHECKING:
    blocking: Blocking
else:  # to type checkers it is more than a function

    def blocking(
        target: object,
        *,
        timeout: Seconds,
        as_: type | None = None,
        timeouts: Mapping[str, Seconds] | None = None,
        wrap: Iterable[type] = (),
    ) -> object:
        """
        Return a proxy for blocking code of an object that lives in the reactor thread.

        For an async library whose objects you would otherwise have to wrap method by method::

            with blocking(httpx.AsyncClient, timeout=5.0)(base_url=url) as client:
                print(client.get("/").text)

        Of a class, or of a function that returns an object or has one awaited, it returns a
        function: that is called in the reactor thread, and returns a proxy of what comes of it.

        All that the object does, it does in the reactor thread. With a proxy,

        - what a method returns is waited for, if it can be: a coroutine, a Deferred, a future;
        - an async generator, or another async iterator, is a :class:`Stream`, with no items ahead;
          so is a generator;
        - an async context manager that a method returns, even one that could be awaited, is for one
          ``with`` block, as of :func:`context_in_reactor`;
        - of what had to be awaited first, an async generator is a :class:`Stream`, too, as is an
          async iterator that has nothing else; and an async context manager that has nothing else,
          as those of ``@asynccontextmanager``, is for one ``with`` block;
        - attributes are read, set and deleted; one that is a coroutine is waited for;
        - an object that is an async context manager is one for ``with``, any number of times; one
          that is iterable, async or not, is for ``for``;
        - ``len()``, ``bool()``, ``in``, ``[]`` and calls are the object's, where its class has
          them. Two proxies are equal if they are of the same object, and hash alike. There is no
          arithmetic and no order;
        - all else that a method returns or yields, or that is entered, is handed out as it is,
          unless its class is in *wrap*: then as a proxy, on the same terms.

        Methods have ``with_timeout()`` and ``with_progress()``, as those of :func:`wait_for` do.
        Arguments are handed on as they are: ``blocking.unwrap(proxy)`` is the object itself. A
        proxy is not pickled or copied, and in a forked child it raises ReactorStopped.

        Call it from any thread; proxies, from any but the reactor's. Never blocks, but where *as_*
        says what only the object's ``__getattr__`` can know of. What it returns does, up to
        *timeout* seconds a call, an item, or an end of a context, and up to one more for cleanup.

        Args:
            target: an object, a class, or a function or method.
            timeout: seconds, from zero up; ``None`` and infinity stand for no limit.
            as_: a class derived from ``typing.Protocol`` which says what of the object is used, as
                blocking code uses it: plain methods, with plain results. To type checkers, the
                result is that.
            timeouts: other timeouts, by the names of methods and attributes, ``__aenter__`` and
                ``__aiter__`` among them, of the object and of what is in *wrap*.
            wrap: classes whose objects become proxies, too.

        Raises:
            TypeError: the object lacks something that is in *as_*, or takes it with other
                arguments, all of which is listed; *as_* is not a Protocol; *timeouts* has a name
                that nothing here has; or an argument is of the wrong type.
            ValueError: a timeout is negative, or NaN.

        What a proxy does raises what :func:`wait_for` raises.
        """
        return _objects.blocking(target, timeout=timeout, as_=as_, timeouts=timeouts, wrap=wrap)

    blocking.unwrap = _unwrap


def gather(
    *results: EventualResult[T], timeout: Seconds = None, return_exceptions: bool = False
) -> list[T]:
    """
    Wait for several results, and return the list of their values, in the order given.

    The first error, whichever it is of, is raised at once, and the others are cancelled. A wait
    that times out, or is ended by a signal's exception, leaves all operations as they are. A
    :class:`deadline` around it can make the time shorter.

    Call it from any thread but the reactor's. Blocks up to *timeout* seconds.

    Args:
        results: of :func:`run_in_reactor` functions.
        timeout: seconds to wait for all of them; ``None`` and infinity stand for no limit.
        return_exceptions: put errors into the list, instead of raising the first.

    Raises:
        TimeoutError: not all answers were there in time.
        DeadlockError: this is the reactor thread, and one of the answers is not there.
        ReactorStopped: the reactor ended before it answered.
        BaseException: whatever an operation raised.

    Example:
        >>> sleep = run_in_reactor(asyncio.sleep)
        >>> gather(sleep(0.02, "tea"), sleep(0.01, "cake"), timeout=5.0)
        ['tea', 'cake']
    """
    return _together.gather(results, timeout, return_exceptions)


def as_completed(
    results: Iterable[EventualResult[T]], timeout: Seconds = None
) -> Iterator[EventualResult[T]]:
    """
    Return an iterator over the results themselves, in the order in which they are answered.

    Like ``concurrent.futures.as_completed``, and without a thread for each. An operation that fails
    is one that is answered: ``wait()`` of its result raises the error.

    Call it from any thread but the reactor's. Never blocks; the iterator does, up to *timeout*
    seconds in all.

    Args:
        results: of :func:`run_in_reactor` functions.
        timeout: seconds from the first item asked for to the last; ``None`` and infinity stand for
            no limit.

    Raises:
        TimeoutError: the next answer was not there in time. The operations go on.
        DeadlockError: this is the reactor thread, and the answer is not there.

    Example:
        >>> sleep = run_in_reactor(asyncio.sleep)
        >>> for result in as_completed([sleep(0.2, "tea"), sleep(0.01, "cake")], timeout=5.0):
        ...     print(result.wait())
        cake
        tea
    """
    return _together.as_completed(results, timeout)


def retrieve_result(result_id: int | str) -> EventualResult[D]:
    """
    Take out the result with that number. Of all threads and processes, one gets it.

    Call it from any thread. Never blocks, except with a stash that processes share: until that
    has answered, 10 s at most. In the reactor thread it never blocks: there, such a stash
    returns a pending result, which may fail with KeyError.

    Args:
        result_id: what ``stash()`` has returned; or that in decimal digits.

    Raises:
        KeyError: there is none, or no more. Its text is the same for all numbers.
        OSError: the stash cannot be reached.
        TimeoutError: the stash is too slow, or a deadline is over. Nothing was taken, as with any
            other exception.
        ReactorStopped: another process has the result, which is pending, and no reactor is here to
            wait for it.

    Example:
        >>> number = run_in_reactor(asyncio.sleep)(0.01, "tea").stash()
        >>> retrieve_result(number).wait(timeout=5.0)
        'tea'
    """
    return lifecycle.bridge.stash.take(result_id)


def peek_result(result_id: int | str) -> EventualResult[D]:
    """
    Return the result with that number and leave it there, any number of times, until it is taken.

    Call it from any thread. Blocks as :func:`retrieve_result` does.

    Args:
        result_id: as for ``retrieve_result()``.

    Raises:
        Exception: as for ``retrieve_result()``.

    Example:
        >>> number = run_in_reactor(asyncio.sleep)(0.01, "tea").stash()
        >>> peek_result(number).wait(timeout=5.0), retrieve_result(number).wait(timeout=5.0)
        ('tea', 'tea')
    """
    return lifecycle.bridge.stash.peek(result_id)


def run_in_caller(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
    """
    Run a function in the thread that waits for this call, and return a Deferred for its value.

    In the body of a call, for the whole life of a coroutine or an ``inlineCallbacks``
    function, it has the waiting thread run *function*, and wait on: for what needs that
    thread itself, as a database session, a progress bar, a GUI or ``pdb`` do. If several wait for
    the same EventualResult, one of them does it. The function may call Crochet functions and wait
    for them, whose bodies may use ``run_in_caller()`` in turn. The waiter's timeout goes on
    meanwhile, but ends the wait only when the function has returned.

    Call it from the reactor thread. Never blocks.

    Args:
        function: what is to be called, in the waiting thread and its context.
        args: its positional arguments.
        kwargs: its keyword arguments.

    Returns:
        A Deferred that fires with the function's value or error. KeyboardInterrupt and the
        like end the wait; the Deferred then fails with CancelledError. Cancelling it keeps a
        function that has not begun from being called. It fails with RuntimeError if no thread
        waits: the wait was given up, or has not begun, or is an ``await``.

    Raises:
        RuntimeError: this is not the reactor thread.

    Example:
        >>> @wait_for(timeout=5.0)
        ... async def thread_that_waits():
        ...     return await run_in_caller(threading.current_thread)
        >>> thread_that_waits() is threading.current_thread()
        True
    """
    work = partial(function, *args, **kwargs)
    return cast("Deferred[T]", _caller.run_in_caller(lifecycle.bridge, work))


# Not a ParamSpec: that would lose overloads, type variables and names of attributes, and that a
# method is static. What goes in comes out.
def reactor_only(function: F, /) -> F:
    """
    Make a function that raises unless it is called in the reactor thread.

    For functions that use Twisted and are called by other functions that do: a call from a
    blocking thread raises at once, instead of leaving a reactor that does nothing or data that
    is corrupted now and then. Nothing of the body runs in another thread. Of an
    ``async def``, the call makes the coroutine, and the error is raised where that is
    driven in another thread. ``__wrapped__`` is the unguarded function, for unit tests without a
    reactor.

    Call the decorated function from the reactor thread. Never blocks.

    Args:
        function: a function, a method, a static or class method, an ``async def``, a function
            under ``@inlineCallbacks``, or anything else that can be called. The result has its
            type, name and signature.

    Raises:
        TypeError: *function* is a generator function, or cannot be called.

    The decorated function raises:
        RuntimeError: this is another thread, or no reactor runs. The text has the names of
            both threads, and says how to call it.

    Example:
        >>> @reactor_only
        ... def listen():
        ...     return "listens"
        >>> wait_for(timeout=5.0)(listen)()
        'listens'
        >>> listen()
        Traceback (most recent call last):
          ...
        RuntimeError: listen() is for the reactor thread only, ...
    """
    return cast("F", _guards.guard(lifecycle.bridge, function))


def dump(file: Writable | int | None = None) -> None:
    """
    Write the calls in flight and the stacks of all threads, to show what hangs.

    First the state of the reactor and the calls in flight; then the stack
    of the reactor thread, of each thread that waits for a call, and of all others, the most
    recent call first. It goes to the descriptor of the file and not through its buffer; to a
    file that has none, by its ``write()``. What the descriptor does not take is dropped.

    Call it from any thread, and from a signal handler, at any time:
    ``signal.signal(signal.SIGUSR1, lambda *_: crochet.dump())``. Never blocks, except
    for half a second if the descriptor takes no more.

    Args:
        file: a file, or a descriptor. Without one, it is ``sys.stderr`` as it is then; if that
            is missing or closed, nothing is written.

    Raises:
        TypeError: *file* is not a file or a descriptor.
        Exception: what the ``write()`` of a file without descriptor raises.

    Example:
        >>> import signal
        >>> handler = signal.signal(signal.SIGUSR1, lambda *_: dump())
    """
    _dump.dump(lifecycle.bridge, file, sys._getframe(1))


def load_ipython_extension(ip: Shell) -> None:
    """
    Call :func:`setup`, and have IPython's top-level ``await`` accept Deferreds and results.

    This is what IPython calls for ``%load_ext crochet``. Loaded already, it does nothing but
    call ``setup()``.

    Call it from the thread that runs the cells. Blocks as ``setup()`` does.

    Args:
        ip: IPython's shell.

    Raises:
        RuntimeError: ``setup()`` has failed. Nothing was changed.

    Example:
        In a cell of a notebook::

            %load_ext crochet
            await crochet.run_in_reactor(fetch)("https://example.com")
    """
    extension.load(ip)


def unload_ipython_extension(ip: Shell) -> None:
    """
    Undo ``%load_ext crochet``; shut the reactor down if that has started it.

    This is what IPython calls for ``%unload_ext crochet``.

    Call it from the thread that runs the cells. Blocks as :func:`shutdown` does.

    Args:
        ip: IPython's shell.

    Raises:
        TimeoutError: the reactor thread has not ended in time. All else is undone.

    Example:
        In a cell of a notebook::

            %unload_ext crochet
    """
    extension.unload(ip)
