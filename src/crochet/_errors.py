"""
Every exception that Crochet raises, and the words it says.

Each text tells what happened, why that is refused or given up, and what to do. A text names
the function that was called and never its arguments: those may be secrets, and texts end up in
logs.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable


class TimeoutError(builtins.TimeoutError):
    """
    An operation has not answered in the time it was given.

    It is a builtin :class:`TimeoutError`, too, so ``except TimeoutError`` catches it with or
    without an import. Programs may subclass it and may raise it with texts of their own.
    """


class ReactorStopped(Exception):
    """
    The reactor that should have answered has stopped, or will never run in this process.
    """


class DeadlockError(RuntimeError):
    """
    A wait that could only have lasted for ever was refused.
    """


# Printed tracebacks name an exception by module: say the one that programs import from. Classes
# with methods keep theirs, for inspect.getsource() follows it.
for _class in (TimeoutError, ReactorStopped, DeadlockError):
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


def died(error: BaseException) -> Callable[[str], ReactorStopped]:
    """
    Build what builds the error of a call that the reactor thread's failure overtook.
    """

    def build(name: str) -> ReactorStopped:
        return ReactorStopped(
            f"{name}() cannot be answered: the reactor thread has ended with "
            f"{type(error).__name__}: {error}. It was logged with its traceback. Call "
            "crochet.setup() to start the reactor again."
        )

    return build


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


def not_run_in_child(name: str) -> ReactorStopped:
    """
    Build the error, in a forked child, of a call that the program's own reactor would answer.
    """
    return ReactorStopped(
        f"{name}() cannot be answered: this process was forked from one that called "
        "crochet.no_setup() and whose reactor was running, and a reactor does not run on in a "
        "child. Call crochet.no_setup() and then reactor.run() in this process, too."
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


def not_answered(name: str, timeout: float, *, is_running: bool) -> TimeoutError:
    """
    Build the error of ``EventualResult.wait()``, which leaves the operation as it is.
    """
    if is_running:
        state = "It goes on"
    else:
        state = "The reactor is not running yet; the program itself has to call reactor.run()"
    return TimeoutError(
        f"{name}() has not answered in {max(timeout, 0.0):g} s. {state}: wait() again, or cancel() "
        "it."
    )


def gave_up(name: str, timeout: float, *, ended: bool) -> TimeoutError:
    """
    Build the error of ``wait_for`` when the operation had started.
    """
    end = "it was cancelled" if ended else "it was told to cancel but has not ended yet"
    return TimeoutError(
        f"{name}() has not answered in {timeout:g} s; {end}. Give @wait_for a longer timeout if "
        "it only needs more time."
    )


def never_started(name: str, timeout: float, *, is_running: bool) -> TimeoutError:
    """
    Build the error of ``wait_for`` when the operation had not even started.
    """
    if is_running:
        cause = "the reactor thread has not come to it"
        remedy = "If that was time enough, look for blocking code in the reactor thread."
    else:
        cause = "the reactor is not running yet"
        remedy = "After crochet.no_setup() the program itself has to call reactor.run()."
    return TimeoutError(
        f"{name}() has not started in {timeout:g} s: {cause}. It was withdrawn and will not run. "
        f"{remedy}"
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


def future_of_other_loop() -> RuntimeError:
    """
    Build the error of a body that returned a future which does not belong to the reactor.
    """
    return RuntimeError(
        "the function returned a future of asyncio's that does not belong to the event loop of "
        'the reactor, so nothing here can await it. Call crochet.setup(reactor="asyncio") at the '
        "top of the program, and make the future in the reactor thread."
    )
