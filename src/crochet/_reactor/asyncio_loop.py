"""
The event loop of asyncio's that an asyncio reactor runs on: made for it, run, and ended with it.

It belongs to the reactor thread. It is made without being set as any thread's, and set as that
one's when it runs there. Other reactors have none; for them nothing here does anything special.

asyncio lets SystemExit and KeyboardInterrupt out of its loop, whoever's task has raised them, and
that would be the end of the reactor. Twisted logs and drops them; so does ``run_in_thread()``, and
goes on. Bodies' own do not come here: they are answered (see _coroutines/task.py).
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

from twisted.logger import Logger

from .._coroutines.deferreds import accept_deferreds

_log = Logger(namespace="crochet")

# Makes the event loop for a reactor, as `asyncio.new_event_loop()` does.
LoopFactory = Callable[[], AbstractEventLoop]


def default_loop() -> AbstractEventLoop:
    """
    Make an event loop of a kind that a reactor can run on.
    """
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop()  # its proactor loop cannot watch descriptors
    return asyncio.new_event_loop()


def new_loop(factory: LoopFactory | None) -> AbstractEventLoop:
    """
    Make an event loop, and see that it is one that a reactor can have for itself.

    Raises:
        TypeError: the factory has returned something else.
        ValueError: it has returned a loop that runs, or is closed.
        Exception: what the factory raises.
    """
    loop = cast("object", (factory or default_loop)())
    if not isinstance(loop, AbstractEventLoop):
        raise TypeError(
            f"a loop_factory returns a new event loop of asyncio's, not {type(loop).__name__} "
            f"{loop!r}"
        )
    if loop.is_running() or loop.is_closed():
        state = "runs already" if loop.is_running() else "is closed"
        raise ValueError(
            f"the loop_factory has returned an event loop that {state}. The reactor needs one of "
            "its own, and a new one each time: give a factory such as asyncio.new_event_loop"
        )
    return loop


def loop_of(reactor: object) -> AbstractEventLoop | None:
    """
    Return the event loop that a reactor runs on, if it is an asyncio reactor.
    """
    return cast("AbstractEventLoop | None", getattr(reactor, "_asyncioEventloop", None))


def run_in_thread(reactor: Any) -> None:
    """
    Run a reactor in this thread, until it ends.
    """
    run: Callable[[], object] = partial(reactor.run, installSignalHandlers=False)
    loop = loop_of(reactor)
    if loop is None:
        run()
        return
    asyncio.set_event_loop(loop)
    accept_deferreds(loop)
    while True:
        try:
            run()
            return
        except (SystemExit, KeyboardInterrupt):
            if not reactor.running:
                raise
            _log.failure("A task in the reactor thread has raised an exception that ends programs")
            run = loop.run_forever


def end_tasks(reactor: object, grace: float) -> None:
    """
    Cancel what is left of a reactor's tasks, in its thread, once it has ended.

    Blocks until they have ended, up to *grace* seconds; likewise for asynchronous generators.
    """
    loop = loop_of(reactor)
    if loop is None or loop.is_closed() or loop.is_running():
        return
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _finish(loop, asyncio.wait(tasks, timeout=grace))
    # Given no time at all it would not begin, and be an error.
    _finish(loop, asyncio.wait_for(loop.shutdown_asyncgens(), max(grace, 0.001)))
    asyncio.set_event_loop(None)


def _finish(loop: AbstractEventLoop, coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        loop.run_until_complete(coroutine)
    except BaseException:
        _log.failure("Error while ending the tasks of the reactor's event loop")
