"""
Every exception that Crochet raises, and the words it says.

Each text tells what happened, why that is refused or given up, and what to do. A text names
the function that was called and never its arguments: those may be secrets, and texts end up in
logs.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Self

# An exception's class may refuse to have attributes set, as a frozen dataclass does, or make its
# own of them. The interpreter itself gets and sets these all the same.
_slot = vars(BaseException)["__traceback__"]
traceback_of: Callable[[BaseException], TracebackType | None] = _slot.__get__
set_traceback: Callable[[BaseException, TracebackType | None], None] = _slot.__set__
set_context = vars(BaseException)["__context__"].__set__
set_cause = vars(BaseException)["__cause__"].__set__
set_suppress = vars(BaseException)["__suppress_context__"].__set__


class Place(NamedTuple):
    """
    A line of a function that is being carried out, or waits there.

    Attributes:
        function: its name, with its class's.
        file: the file's whole name.
        line: counted from 1.
    """

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        cell = _cell_of(self.file)
        line = f"{cell}, line {self.line}" if cell else f"{os.path.basename(self.file)}:{self.line}"
        is_top = self.function == "<module>" or self.function.startswith("<cell line")
        return line if is_top else f"{line} {self.function}()"


def _cell_of(file: str) -> str | None:
    """
    Return what IPython calls the code in a file of its, such as ``Cell In[17]``; else None.
    """
    module = sys.modules.get("IPython.core.getipython")
    shell = module.get_ipython() if module is not None else None
    # From IPython 8 on.
    name_cell = getattr(getattr(shell, "compile", None), "format_code_name", None)
    named = name_cell(file) if name_cell is not None else None
    return " ".join(named) if named else None


class TimeoutError(builtins.TimeoutError):
    """
    An operation has not answered in the time it was given.

    It is a builtin ``TimeoutError``, too, so ``except TimeoutError`` catches it with or
    without an import. Programs may subclass it and may raise it with texts of their own.

    Attributes:
        function: the name of the function called; ``None`` in an error that a program made.
        timeout: the seconds that the wait was given, a deadline counted in.
        state: why there was no answer, one of ``"waiting"``, ``"busy"``, ``"queued"``,
            ``"blocked"``, ``"not-running"``, ``"stopped"``, ``"crashed"`` or ``"past-deadline"``.
            Each has a page in the documentation, under "Why a wait timed out".
        reason: the same in a sentence or two, as it stands in the text.
        cancelled: whether the operation was cancelled, or withdrawn before it started. A timeout of
            ``EventualResult.wait()`` leaves it running.
        ended: whether its Deferred had fired when this was raised, or it will never start. That of
            a coroutine or of ``inlineCallbacks`` fires when the body has ended, ``finally`` blocks
            and all. Any other says nothing of the work behind it, which may go on.
        stack: where the reactor thread was, innermost first, if that is the cause; else empty.
        awaits: what the operation waited on, outermost first, if it had started; else empty.
    """

    function: str | None = None
    timeout: float | None = None
    state: str | None = None
    reason: str = ""
    cancelled: bool = False
    ended: bool = False
    stack: tuple[Place, ...] = ()
    awaits: tuple[Place, ...] = ()

    # An OSError takes its third argument for the name of a file and drops it from args, and keeps
    # none in a subclass with an __init__(). Here all that is given is kept, as in an Exception.
    def __new__(cls, *args: object, **kwargs: object) -> Self:
        error = super().__new__(cls, *args)  # which also finds errno, where there is one
        error.args = args
        return error

    # Subclasses may take keywords; this one does not.
    def __init__(self, *args: object) -> None:  # pyright: ignore[reportInconsistentConstructor]
        self.args = args

    def __str__(self) -> str:
        return Exception.__str__(self)


class ReactorStopped(Exception):
    """
    The reactor that should have answered has stopped, or will never run in this process.
    """


class ResultLost(ReactorStopped):
    """
    The process that ran a stashed operation has ended, or its reactor has, before there was an
    answer.

    Attributes:
        host: the name of its machine.
        pid: its process id.
        progress: the last that it reported; None if it has not.
    """

    host: str | None = None
    pid: int | None = None
    progress: object = None


class RemoteError(Exception):
    """
    A stashed operation has failed in another process, with an error that cannot be rebuilt here.

    The error's class is none of the builtins', Twisted's or Crochet's, and not in the stash's
    ``allow=``; or it was made with arguments that are not plain values.

    Attributes:
        type: the name of the class, with its module.
    """

    def __init__(self, text: str, type: str = "") -> None:
        super().__init__(text, type)
        self.type = type

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteTraceback(Exception):
    """
    The cause of an error that comes from another process: where it was raised there.
    """

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0].rstrip()}\n"""'


class ContextEnded(RuntimeError):
    """
    What a wait in a ``with`` block ends with whose context has ended before it.

    Attributes:
        block: that which it is about.
    """

    block: object = None


class DeadlockError(RuntimeError):
    """
    A wait that could never end was refused, or ended.
    """


class ReactorBusy(Exception):
    """
    A call was refused, for as many as ``setup(max_queued=...)`` allows wait for the reactor thread.
    """


class BlockingInLoopWarning(RuntimeWarning):
    """
    A wait has stopped the asyncio loop that runs in its thread.

    It is given once per line, and only if a wait there has lasted for 0.1 s. While
    ``CROCHET_DEBUG`` is set it is raised as an error.
    """


# Printed tracebacks name an exception by module: say the one that programs import from. Classes
# with methods keep theirs, for inspect.getsource() follows it.
for _class in (
    BlockingInLoopWarning,
    DeadlockError,
    ReactorBusy,
    ReactorStopped,
    ResultLost,
    TimeoutError,
):
    _class.__module__ = "crochet"
del _class


def not_set_up(name: str) -> RuntimeError:
    """
    Build the error of a call made before anything could have answered it.
    """
    return RuntimeError(
        f"{name}() was called before crochet.setup(), so no reactor is there to run it. Call "
        "crochet.setup() once when the program starts, or crochet.no_setup() if the program "
        "runs the reactor itself."
    )


def stopped(name: str) -> ReactorStopped:
    """
    Build the error of a call that the reactor's end overtook, or that came after it.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: the reactor has stopped. Call crochet.setup() to start it "
        "again, and if that was not meant to be, look for what called reactor.stop() or crash()."
    )


def crashed(name: str) -> ReactorStopped:
    """
    Build the error of a call that ``reactor.crash()`` overtook, or that came after it.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: the reactor has stopped, for something called "
        "reactor.crash(), or raised an exception through reactor.run(). Call crochet.setup() to "
        "start it again, and look for what did that."
    )


def ended_with(error: BaseException, name: str) -> ReactorStopped:
    """
    Build the error of a call that the reactor thread's failure overtook, or that came after it.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: the reactor thread has ended with "
        f"{type(error).__name__}: {error}. It was logged with its traceback. Call "
        "crochet.setup() to start the reactor again."
    )


def shut_down(name: str) -> ReactorStopped:
    """
    Build the error of a call that shutdown() overtook, or that came after it.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: crochet.shutdown() has stopped the reactor. Call "
        "crochet.setup() to start it again."
    )


def not_down(patience: float, whereabouts: str) -> TimeoutError:
    """
    Build the error of a shutdown() that waited in vain.
    """
    return TimeoutError(
        f"the reactor thread has not stopped in {patience:g} s. It takes no more calls, and "
        "shutdown() may be called again to go on waiting. It is here:\n"
        f"{whereabouts}"
    )


def exiting(name: str) -> ReactorStopped:
    """
    Build the error of a call made while the interpreter ends.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: the interpreter is exiting and the reactor has been "
        "stopped. Call it earlier, or from an atexit hook registered after crochet.setup()."
    )


def forked(name: str) -> ReactorStopped:
    """
    Build the error, in a forked child, of a call that was made in its parent.
    """
    return ReactorStopped(
        f"{name}() cannot be answered here: this process was forked while the call was under way, "
        "and the reactor thread that runs it is the parent's. Make the call again in this process."
    )


def interrupted_after_fork() -> RuntimeError:
    """
    Build the error of what was called while a forked child finds out that it is one.
    """
    return RuntimeError(
        "this process was forked a moment ago, and a signal handler or a garbage collection has "
        "called a function of Crochet's while another, in the same thread, was giving up what is "
        "the parent's. Call it when that has returned"
    )


def not_run_in_child(name: str) -> ReactorStopped:
    """
    Build the error, in a forked child, of a call that the program's own reactor would answer.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: this process was forked from one that called "
        "crochet.no_setup() and whose reactor was running, and a reactor does not run on in a "
        "child. Call crochet.no_setup() and then reactor.run() in this process, too."
    )


def too_many_queued(name: str, number: int, reason: Reason) -> ReactorBusy:
    """
    Build the error of a call that would have been one too many in the queue.
    """
    return ReactorBusy(
        f"{name}() was refused: {number} calls wait for the reactor thread already, as many as "
        f"setup(max_queued={number}) allows. {reason.text} Call it again later, or move what keeps "
        "the reactor thread busy to another thread, with deferToThread()."
    )


def in_reactor_thread(name: str) -> DeadlockError:
    """
    Build the error of a wait in the only thread that could have ended it.
    """
    return DeadlockError(
        f"waiting for {name}() in the reactor thread would stop the very thread that has to run "
        f"it. Use the Deferred or coroutine of the undecorated function, {name}.__wrapped__, "
        "or move the blocking code to a thread with deferToThread()."
    )


def next_in_reactor_thread(name: str) -> DeadlockError:
    """
    Build the error of a wait for an item in the only thread that could have made it.
    """
    return DeadlockError(
        f"waiting for the next item of {name}() in the reactor thread would stop the very thread "
        f"that has to make it. Write `async for item in {name}.__wrapped__(...)` there, or "
        "`async for item in stream.as_async()`; or move the blocking code to a thread with "
        "deferToThread()."
    )


def deadlock(name: str, why: str) -> DeadlockError:
    """
    Build the error that ends a wait for which the reactor thread waits.
    """
    return DeadlockError(f"waiting for {name}() would never end. {why}")


def blocking_in_loop(name: str, place: str) -> BlockingInLoopWarning:
    """
    Build the warning of a wait in a thread whose asyncio loop is running.
    """
    return BlockingInLoopWarning(
        f"a wait for {name}() in {place} has blocked this thread's asyncio loop for 0.1 s: nothing "
        "else in it runs. Await an EventualResult instead of waiting: `await "
        f"start(...)`, with start = crochet.run_in_reactor({name}.__wrapped__); or move the code "
        "that waits to a thread, with asyncio.to_thread()."
    )


def shutdown_in_reactor_thread() -> DeadlockError:
    """
    Build the error of a shutdown() that would wait for the thread that it was called in.
    """
    return DeadlockError(
        "shutdown() in the reactor thread would wait for that very thread to end. Call it from "
        "another thread, or call reactor.stop(), which does not wait"
    )


def shutdown_in_pool() -> DeadlockError:
    """
    Build the error of a shutdown() in a thread that the reactor, as it stops, waits for.
    """
    return DeadlockError(
        "shutdown() in a thread of the reactor's pool would wait for the reactor, which waits for "
        "the threads of its pool before it ends. Call it from another thread"
    )


def interrupted(inner: str, outer: str) -> RuntimeError:
    """
    Build the error of a function that was called in the middle of another, in the same thread.
    """
    return RuntimeError(
        f"{inner}() was called, by a signal handler or a garbage collection, in the middle of "
        f"{outer}() in the same thread. Call it when that has returned"
    )


class Reason(NamedTuple):
    """
    Why a call has not been answered.

    Args:
        state: the cause in a word, a constant of ``_diagnostics/explain.py``.
        text: the cause in a sentence or two, which begin after one that names the function.
        stack: where the reactor thread is, innermost first, if that is the cause.
        awaits: what the operation waits on, outermost first, if it has started.
    """

    state: str
    text: str
    stack: tuple[Place, ...] = ()
    awaits: tuple[Place, ...] = ()


class Limit(NamedTuple):
    """
    The seconds that a wait was given, and whether a deadline made them fewer than its timeout.
    """

    seconds: float
    by_deadline: bool = False

    def __str__(self) -> str:
        text = f"in {max(self.seconds, 0.0):.4g} s"
        return f"{text}, all that deadline() left it" if self.by_deadline else text


def _timed_out(
    name: str, limit: Limit, reason: Reason, text: str, *, cancelled: bool, ended: bool
) -> TimeoutError:
    error = TimeoutError(text)
    error.function = name
    error.timeout = limit.seconds
    error.state, error.reason, error.stack, error.awaits = reason
    error.cancelled = cancelled
    error.ended = ended
    return error


def not_answered(name: str, limit: Limit, reason: Reason) -> TimeoutError:
    """
    Build the error of ``EventualResult.wait()``, which leaves the operation as it is.
    """
    text = f"{name}() has not answered {limit}. {reason.text} wait() again, or cancel() it."
    return _timed_out(name, limit, reason, text, cancelled=False, ended=False)


def gave_up(name: str, limit: Limit, reason: Reason, *, ended: bool) -> TimeoutError:
    """
    Build the error of ``wait_for`` when the operation had started.
    """
    end = "its Deferred was cancelled" if ended else "it was told to cancel but has not ended yet"
    text = f"{name}() has not answered {limit}; {end}. {reason.text}"
    return _timed_out(name, limit, reason, text, cancelled=True, ended=ended)


def never_started(name: str, limit: Limit, reason: Reason) -> TimeoutError:
    """
    Build the error of ``wait_for`` when the operation had not even started.
    """
    text = f"{name}() has not started {limit}; it was withdrawn and will not run. {reason.text}"
    return _timed_out(name, limit, reason, text, cancelled=True, ended=True)


def no_item(name: str, limit: Limit, reason: Reason, *, ended: bool) -> TimeoutError:
    """
    Build the error of a stream whose next item did not come.
    """
    end = "it was cancelled" if ended else "it was told to cancel but has not ended yet"
    text = f"{name}() has not given its next item {limit}; {end}. {reason.text}"
    return _timed_out(name, limit, reason, text, cancelled=True, ended=ended)


def context_too_late(
    name: str, limit: Limit, reason: Reason, *, is_exit: bool, ended: bool
) -> TimeoutError:
    """
    Build the error of a context whose enter or exit took too long.
    """
    what = "been exited" if is_exit else "been entered"
    end = "it was cancelled" if ended else "it was told to cancel but has not ended yet"
    text = f"the context of {name}() has not {what} {limit}; {end}. {reason.text}"
    return _timed_out(name, limit, reason, text, cancelled=True, ended=ended)


def past_deadline(name: str, overdue: float) -> TimeoutError:
    """
    Build the error of ``wait_for`` when a deadline left no time to start the operation.
    """
    reason = Reason("past-deadline", f"The deadline() around this call ended {overdue:.4g} s ago.")
    text = f"{name}() was not started. {reason.text} Give the block more time, or call it earlier."
    return _timed_out(name, Limit(0.0, True), reason, text, cancelled=True, ended=True)


def how_it_ended(name: str, *, started: bool, ended: bool) -> str:
    """
    Tell what became of an operation whose wait ended in an exception of somebody else's.
    """
    if not started:
        return f"{name}() had not started; it was withdrawn and will not run."
    if ended:
        return f"{name}() was told to cancel, and its Deferred was cancelled."
    return f"{name}() was told to cancel but has not ended yet."


def wrong_thread(name: str, here: str, there: str) -> RuntimeError:
    """
    Build the error of a function that is the reactor thread's and was called in another.
    """
    return RuntimeError(
        f"{name}() is for the reactor thread only, {there}, and was called in {here}. Call it from "
        "a function decorated with @run_in_reactor or @wait_for(timeout), or with "
        f"reactor.callFromThread({name}, ...)."
    )


def no_reactor_thread(name: str, here: str) -> RuntimeError:
    """
    Build the error of a function that is the reactor thread's, while there is no such thread.
    """
    return RuntimeError(
        f"{name}() is for the reactor thread only, and was called in {here} while no reactor runs. "
        "Call crochet.setup() first, and then call it from a function decorated with "
        "@run_in_reactor or @wait_for(timeout); or, if the program runs the reactor itself, with "
        f"reactor.callWhenRunning({name}, ...)."
    )


def foreign_call(what: str, line: str, here: str, there: str) -> RuntimeError:
    """
    Build the error, under CROCHET_DEBUG, of a use of Twisted in another thread than the reactor's.
    """
    return RuntimeError(
        f"{what}() was called in {here}, {line}, and it is for the reactor thread only, {there}. "
        "Do this in a function decorated with @run_in_reactor or @wait_for(timeout), or hand it to "
        "reactor.callFromThread(). (CROCHET_DEBUG is set; without it this would raise nothing.)"
    )


def no_exception(name: str, value: object) -> TypeError:
    """
    Build the error of a body whose Deferred has failed with something that cannot be raised.
    """
    return TypeError(
        f"the Deferred of {name}() has failed with an object of {type(value).__name__!r}, which is "
        "no exception and cannot be raised. Give errback() an exception or a Failure"
    )


def not_handed_over(name: str, kind: type, problem: BaseException) -> RuntimeError:
    """
    Build the error that stands for one which could not be taken to its caller.
    """
    return RuntimeError(
        f"{name}() has failed with {kind.__name__}, and while that error was handed over, "
        f"{type(problem).__name__} was raised. Look whether the class of the error, or a signal "
        "handler, raises where it should not"
    )


def stranded(name: str) -> RuntimeError:
    """
    Build the error of an operation that will never be resumed.
    """
    return RuntimeError(
        f"{name}() cannot go on: what it waits for is there, but an exception that was thrown into "
        "the reactor thread, by a signal handler or for want of memory or stack, struck just as it "
        "was to be resumed. Keep signal handlers from raising there, and see the log"
    )


def item_awaited(name: str) -> ValueError:
    """
    Build the error of a second wait for the next item of a stream.
    """
    return ValueError(
        f"the next item of {name}() is being waited for already, by another thread or by what this "
        "one has interrupted. Give each thread a stream of its own, or have one thread take the "
        "items and put them into a queue.Queue"
    )


def overflown(number: int) -> OverflowError:
    """
    Build the error of a channel into which more was put than it can hold.
    """
    return OverflowError(
        f"a channel is full: {number} items wait to be taken, and its source, which cannot be "
        "paused, has put another. Take them faster, give Channel() a larger buffersize, have it "
        'drop items with overflow="drop_oldest", or register a producer, which can be paused'
    )


def put_in_other_thread() -> RuntimeError:
    """
    Build the error of an item that was put into a channel by a thread which may not.
    """
    return RuntimeError(
        "Channel.put() was called in another thread than the channel was made in, which is the "
        "reactor's. Call reactor.callFromThread(channel.put, item) there"
    )


def no_async_iterable(name: str, value: object) -> TypeError:
    """
    Build the error of a stream whose function has returned nothing to iterate over.
    """
    return TypeError(
        f"{name}() returned an object of {type(value).__name__!r}, which is no async iterable. "
        "What @iterate_in_reactor decorates is an async generator function, or returns an async "
        "iterable or a crochet.Channel, or a coroutine or Deferred of one. For anything else there "
        "is @wait_for(timeout)"
    )


def no_async_context(name: str, value: object) -> TypeError:
    """
    Build the error of a context whose function has returned nothing to enter.
    """
    return TypeError(
        f"{name}() returned an object of {type(value).__name__!r}, which is no async context "
        "manager. What @context_in_reactor decorates is an @asynccontextmanager function, or "
        "returns an async context manager, or a coroutine or Deferred of one. For anything else "
        "there is @wait_for(timeout)"
    )


def context_of_generator(name: str) -> TypeError:
    """
    Build the error of an async generator function that is to be a context, and is none.
    """
    return TypeError(
        f"{name}() is an async generator function, and no context manager: put "
        "@contextlib.asynccontextmanager between it and @context_in_reactor(timeout=...), or "
        "iterate over its items with @iterate_in_reactor(timeout=...)"
    )


def context_used(name: str) -> RuntimeError:
    """
    Build the error of a context that is entered a second time.
    """
    return RuntimeError(
        f"this context of {name}() has been entered before, and is for one `with` block. Write "
        f"`with {name}(...):` anew for each"
    )


def context_in_reactor_thread(name: str) -> DeadlockError:
    """
    Build the error of a context that is entered in the only thread that could have done it.
    """
    return DeadlockError(
        f"entering the context of {name}() in the reactor thread would stop the very thread that "
        f"has to do it. Write `async with {name}.__wrapped__(...)` there, or move the blocking "
        "code to a thread with deferToThread()."
    )


def context_ended(name: str) -> ContextEnded:
    """
    Build the error of a wait in a ``with`` block whose context has ended.
    """
    return ContextEnded(
        f"the context of {name}() has ended while the `with` block was running, so this wait was "
        "given up. Let this error end the block: what has ended the context is raised there"
    )


def proxy_in_child(name: str) -> ReactorStopped:
    """
    Build the error, in a forked child, of using a proxy of the parent's.
    """
    return ReactorStopped(
        f"this proxy of {name} was made before this process was forked, and what it stands for "
        "lives in the reactor thread of the parent. Make another one in this process"
    )


def proxy_copied(name: str) -> TypeError:
    """
    Build the error of a proxy that is copied or pickled.
    """
    return TypeError(
        f"a proxy of {name} cannot be copied or pickled: what it stands for lives in the reactor "
        "thread of this process. Hand on the proxy itself, or make one where it is needed"
    )


def not_left(name: str) -> RuntimeError:
    """
    Build the error of leaving what was not entered.
    """
    return RuntimeError(
        f"this proxy of {name} is not entered, and so cannot be exited: use it in a `with` "
        "statement"
    )


def no_protocol(given: object) -> TypeError:
    """
    Build the error of a proxy that is to be like something else than a Protocol.
    """
    return TypeError(
        f"as_ is a class derived from typing.Protocol, with the methods that the proxy is to "
        f"have, as blocking code calls them; not {given!r}"
    )


def does_not_fit(name: str, protocol: str, misfits: list[str]) -> TypeError:
    """
    Build the error of an object that is not as a Protocol says.
    """
    return TypeError(
        f"{name} does not fit {protocol}: {'; '.join(misfits)}. Change the Protocol, or give "
        "another object"
    )


def unknown_timeouts(name: str, unknown: list[str]) -> TypeError:
    """
    Build the error of timeouts for what an object does not have.
    """
    return TypeError(
        f"timeouts has {', '.join(map(repr, unknown))}, and neither {name} nor a class in wrap "
        "has anything of that name. Give names of their methods or attributes"
    )


def async_generator(name: str) -> TypeError:
    """
    Build the error of an async generator function where there is to be one answer.
    """
    return TypeError(
        f"{name}() is an async generator function: it has no answer to wait for, but items. "
        "Decorate it with @iterate_in_reactor(timeout=...) and iterate over what it returns, or "
        "decorate an `async def` that collects them: "
        f"`return [item async for item in {name}(...)]`"
    )


def async_generator_returned(name: str) -> TypeError:
    """
    Build the error of a call that has answered with an async generator.
    """
    return TypeError(
        f"{name}() returned an async generator, which only the reactor thread can iterate over. "
        "Decorate the function with @iterate_in_reactor(timeout=...) instead, and iterate over "
        "what it returns"
    )


def needs_asyncio(name: str, error: BaseException) -> RuntimeError:
    """
    Build the error of a body that wanted asyncio's event loop, on a reactor that has none.
    """
    return RuntimeError(
        f"{name}() awaits something of asyncio's, and this process's reactor is not asyncio's "
        f'({error}). Call crochet.setup(reactor="asyncio") at the top of the program, before '
        "anything imports twisted.internet.reactor."
    )


def statement_needs_asyncio(error: BaseException) -> RuntimeError:
    """
    Build the same of ``python -m crochet``, where setup() was called before the program began.
    """
    return RuntimeError(
        f"this statement awaits something of asyncio's, and the reactor is not asyncio's ({error})."
        " Start again without --reactor, or with --reactor asyncio."
    )


def future_of_other_loop() -> RuntimeError:
    """
    Build the error of a body that returned a future which does not belong to the reactor.
    """
    return RuntimeError(
        "the function returned a future of asyncio's that does not belong to the event loop of "
        'the reactor, so nothing here can await it. Call crochet.setup(reactor="asyncio") at the '
        "top of the program, and make the future in the reactor thread."
    )


def no_result() -> KeyError:
    """
    Build the error of a number under which there is nothing. One text: visitors may see it.
    """
    return KeyError(
        "no result is stashed under this number: it was never given out, it was retrieved already, "
        "its time is over, or it was given out by a process with another stash; each stash() "
        "allows one retrieve_result()"
    )


def stash_full(number: int, why: str = "") -> RuntimeError:
    """
    Build the error of a result that would have been one too many.
    """
    reason = f", and {why}" if why else ""
    return RuntimeError(
        f"stash() was refused: {number} results are kept already, as many as max_results allows"
        f"{reason}. Collect them, give stash() a shorter ttl, or have the stash evict=True"
    )


def ttl_not_positive(ttl: float) -> ValueError:
    """
    Build the error of a result that would be gone before it could be collected.
    """
    return ValueError(
        f"stash() cannot keep a result for {ttl:g} s: give a ttl above zero seconds, or None to "
        "keep it until it is collected"
    )


def not_serialized(name: str, kind: type, problem: BaseException) -> TypeError:
    """
    Build the error of a value that only its own process can have.
    """
    return TypeError(
        f"what {name}() returned, an object of {kind.__module__}.{kind.__qualname__}, cannot be "
        f"taken to another process ({type(problem).__name__}: {problem}). Return plain values, "
        "list its dataclass in the stash's allow=, or give the stash a serializer="
    )


def too_large(name: str, kind: type, size: int, limit: int) -> ValueError:
    """
    Build the error of a value that takes too many bytes.
    """
    return ValueError(
        f"what {name}() returned, an object of {kind.__module__}.{kind.__qualname__}, takes {size} "
        f"bytes, and the stash's max_size is {limit}. Return where it can be found, or give the "
        "stash a larger max_size"
    )


def not_readable(problem: BaseException) -> RemoteError:
    """
    Build the error of an answer whose bytes this process cannot read.
    """
    return RemoteError(
        "the answer from another process cannot be read here "
        f"({type(problem).__name__}: {problem}). All that share a stash need the same serializer, "
        "allow= and versions"
    )


def lost(name: str, host: str, pid: int, progress: object = None) -> ResultLost:
    """
    Build the error of a stashed result whose process has ended without an answer.
    """
    last = "" if progress is None else f" The last that it reported: {progress}."
    error = ResultLost(
        f"{name}() cannot be answered: process {pid} on {host}, which ran it, has ended, or its "
        f"reactor has.{last} Start it again; setup(drain=...) lets such operations end at an "
        "orderly exit."
    )
    error.host, error.pid, error.progress = host, pid, progress
    return error


def store_too_slow(stash: str, patience: float) -> TimeoutError:
    """
    Build the error of a stash whose store has not been reached in time.
    """
    return TimeoutError(
        f"{stash} has not been reached in {patience:.4g} s: what it was asked before has not "
        "ended. Nothing was taken. Try again, or look what blocks it"
    )


def another_stash(before: object, stash: object) -> RuntimeError:
    """
    Build the error of a setup() with a stash that is not the one in use.
    """
    return RuntimeError(
        f"setup() was given {stash!r}, and results are kept in {before!r} since an earlier "
        "setup(). Give it once, where the program starts"
    )


def not_private(path: str) -> PermissionError:
    """
    Build the error of a directory or file that others could read or change, or have put there.
    """
    return PermissionError(
        f"{path} is not used for stashed results: it has to belong to this process's user, without "
        "any rights for others (mode 0700, or 0600 for a file), and must not be a link. Delete it, "
        "or give LocalStash another path"
    )


def store_broken(path: str, error: BaseException) -> OSError:
    """
    Build the error of a file of stashed results that cannot be read or written.
    """
    return OSError(
        f"the stashed results in {path} cannot be read or written ({error}). If another process "
        "holds it locked, end that; if it is damaged or of another version, delete it"
    )


def no_redis() -> ImportError:
    """
    Build the error of a RedisStash without redis-py.
    """
    return ImportError("RedisStash needs redis-py: install crochet[redis]")


def no_tqdm() -> ImportError:
    """
    Build the error of a progress_bar() without tqdm.
    """
    return ImportError("progress_bar() needs tqdm: install crochet[progress]")


def no_spider(spider: object) -> TypeError:
    """
    Build the error of a crawl by what is not a spider's class.
    """
    text = f"an instance of {type(spider).__qualname__!r}"
    if isinstance(spider, type):
        text = f"{spider.__qualname__!r}, which is derived from no scrapy.Spider"
    return TypeError(
        "crawl() takes a class of spiders, or the name of one in the project that settings are of, "
        f"not {text}. Arguments for the spider come after it"
    )


def other_reactor_for_scrapy(wanted: str, running: str) -> RuntimeError:
    """
    Build the error of a crawl whose settings ask for a reactor that does not run.
    """
    how = (
        'call crochet.setup(reactor="asyncio") before anything imports twisted.internet.reactor'
        if wanted.endswith(".AsyncioSelectorReactor")
        else "have crochet.setup() run that one"
    )
    return RuntimeError(
        f"Scrapy's setting TWISTED_REACTOR asks for {wanted}, and the reactor that runs is "
        f"{running}. Either {how}, or set TWISTED_REACTOR to None: then the crawl does with any "
        "reactor. It may be set by the project, the spider or crawl(settings=...)"
    )


def server_away(stash: str, error: BaseException) -> ConnectionError:
    """
    Build the error of a stash whose server does not answer.
    """
    return ConnectionError(
        f"{stash} cannot be reached ({type(error).__name__}: {error}). Calls go on without it; try "
        "again when the server is there"
    )


def no_unix_sockets() -> RuntimeError:
    """
    Build the error of a LocalStash where there is none.
    """
    return RuntimeError(
        "LocalStash needs Unix sockets, which this system has not: use RedisStash, or run one "
        "process"
    )


def path_too_long(path: str, longest: int) -> ValueError:
    """
    Build the error of a directory in which a socket would have too long a name.
    """
    return ValueError(
        f"{path} is too long for the sockets in it: give LocalStash a path of up to {longest} bytes"
    )
