"""
``%load_ext crochet``: IPython's top-level ``await``, for Deferreds.

A cell runs where IPython runs it, in the main thread: as a task of the kernel's own loop in
Jupyter, which goes on with its other tasks meanwhile, and in a loop that runs for that long at
IPython's prompt. Only what a cell awaits is changed (cells.py), into something that such a task
can await (await_in_task.py).

Interrupting: a Jupyter kernel cancels the cell's task, from a signal handler that does not wake the
loop (ipython/ipykernel#881); so here a signal wakes it. It is noted that there was one, for others
cancel the task, too: a timeout within the cell is not an interrupt. IPython's prompt does not
cancel: Ctrl-C leaves the loop, and the task in it stays to be gone on with by the next cell that
awaits. So there the runner is replaced by one that cancels it. Not so in Jupyter, which would take
another runner for one that cannot share its loop, and block that.

Threads: load and unload are called in the main one. IPython is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from .._lifecycle.lifecycle import EventLoop
from .._reactor.reactor import imported_reactor
from .._threads.primitives import discard
from .reactor_proxy import Carried

if TYPE_CHECKING:
    from .await_in_task import Awaiting


class Shell(Protocol):
    """
    As much of IPython's ``InteractiveShell`` as is used here.
    """

    ast_transformers: list[Any]
    events: Any
    loop_runner: Any
    autoawait: bool


class Extension:
    """
    What ``%load_ext crochet`` loads, and ``%unload_ext crochet`` undoes.

    Args:
        event_loop: the process's.
        package: the package that is loaded.
        attribute: where it has this object.
    """

    def __init__(self, event_loop: EventLoop, package: str, attribute: str) -> None:
        self._event_loop = event_loop
        self._path = (package, attribute)
        # What is to be undone, for each shell.
        self._loaded: dict[Shell, ExitStack] = {}

    def load(self, ip: Shell) -> None:
        """
        Call :func:`setup`, and have IPython's top-level ``await`` accept Deferreds and results.

        This is what IPython calls for ``%load_ext crochet``. Loaded already, it does nothing but
        call ``setup()``.

        Call it from the thread that runs the cells. Blocks as ``setup()`` does.

        Args:
            ip: IPython's shell.

        Raises:
            RuntimeError: ``setup()`` has failed. Nothing was changed.
        """
        was_up = self._event_loop.bridge.refusal is None
        self._event_loop.setup()
        if ip in self._loaded:
            return
        with ExitStack() as undo:
            if not was_up:
                undo.callback(self._event_loop.shutdown)
            carried = Carried(imported_reactor(), self._event_loop.bridge, self._event_loop.calls)
            undo.callback(carried.stop)
            carried.start()
            import asyncio  # and the rest: to import the package is to be cheap

            from .cells import Awaits

            awaits = Awaits(*self._path)
            ip.ast_transformers.append(awaits)
            undo.callback(discard, ip.ast_transformers, awaits)  # if IPython has not removed it
            undo.callback(setattr, ip, "autoawait", ip.autoawait)
            ip.autoawait = True
            if hasattr(ip, "kernel"):
                _have_signals_wake_the_loop(undo)
                self._note_interrupts(ip, undo)
                with suppress(RuntimeError):  # there is no loop, as where a test loads this
                    undo.enter_context(self._awaiting.accepting(asyncio.get_running_loop()))
            else:
                self._replace_runner(ip, undo)
            self._loaded[ip] = undo.pop_all()

    def unload(self, ip: Shell) -> None:
        """
        Undo ``%load_ext crochet``; shut the reactor down if that has started it.

        This is what IPython calls for ``%unload_ext crochet``.

        Call it from the thread that runs the cells. Blocks as :func:`shutdown` does.

        Args:
            ip: IPython's shell.

        Raises:
            TimeoutError: the reactor thread has not ended in time. All else is undone.
        """
        undo = self._loaded.pop(ip, None)
        if undo is not None:
            undo.close()

    def _replace_runner(self, ip: Shell, undo: ExitStack) -> None:
        from IPython.core import interactiveshell
        from IPython.core.async_helpers import get_asyncio_loop

        old: object = vars(interactiveshell).get("_asyncio_runner")
        if ip.loop_runner is not old:
            return

        get_loop: Callable[[], Any] = get_asyncio_loop

        def runner(cell: Coroutine[Any, Any, Any]) -> Any:
            with self._awaiting.accepting(get_loop()):
                return run_cell(get_loop, cell, self._note)

        ip.loop_runner = runner

        def put_back() -> None:
            if ip.loop_runner is runner:
                ip.loop_runner = old

        undo.callback(put_back)

    def _note(self, is_interrupted: bool) -> None:
        self._awaiting.is_interrupted = is_interrupted

    def _note_interrupts(self, ip: Shell, undo: ExitStack) -> None:
        """
        Have interrupts noted while a cell runs, and then handled as they would be.
        """
        import signal
        import threading

        before: list[Any] = []

        def begin() -> None:
            if threading.current_thread() is not threading.main_thread():
                return  # a subshell's, which is not interrupted
            self._note(False)
            handler = signal.getsignal(signal.SIGINT)
            # Python's own raises KeyboardInterrupt by itself, in cells that do not await.
            if not before and callable(handler) and handler is not signal.default_int_handler:
                before.append(handler)
                signal.signal(signal.SIGINT, note)

        def note(number: int, frame: Any) -> None:
            self._note(True)
            before[0](number, frame)

        def end() -> None:
            if before and threading.current_thread() is threading.main_thread():
                handler = before.pop()
                if signal.getsignal(signal.SIGINT) is note:
                    signal.signal(signal.SIGINT, handler)

        for event, function in (("pre_execute", begin), ("post_execute", end)):
            ip.events.register(event, function)
            undo.callback(ip.events.unregister, event, function)
        undo.callback(end)

    @cached_property
    def _awaiting(self) -> Awaiting:
        from .await_in_task import Awaiting  # which imports asyncio

        return Awaiting(self._event_loop.calls)

    def awaitable(self, value: Any) -> Any:
        """
        Return what a cell is to await for *value*. Cells call it.
        """
        return self._awaiting.in_cell(value)

    def iterable(self, value: Any) -> Any:
        """
        Return what a cell's ``async for`` is to iterate over. Cells call it.
        """
        return self._awaiting.iterable(value)

    def manager(self, value: Any) -> Any:
        """
        Return what a cell's ``async with`` is to enter. Cells call it.
        """
        return self._awaiting.manager(value)


def _have_signals_wake_the_loop(undo: ExitStack) -> None:
    """
    Have the kernel's loop wake when a signal comes, unless something is woken by them already.
    """
    import asyncio  # and the rest: to import the package is to be cheap
    import signal
    import socket

    with ExitStack() as failed:
        # There is no loop, this is not the main thread, or the loop reads no sockets.
        failed.enter_context(suppress(RuntimeError, ValueError, NotImplementedError))
        loop = asyncio.get_running_loop()
        reader, writer = (failed.enter_context(end) for end in socket.socketpair())
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        failed.callback(signal.set_wakeup_fd, before)
        if before == -1:
            loop.add_reader(reader, reader.recv, 4096)
            failed.callback(loop.remove_reader, reader)
            undo.push(failed.pop_all())


def run_cell(
    get_loop: Callable[[], Any], cell: Coroutine[Any, Any, Any], note: Callable[[bool], object]
) -> Any:
    """
    Run a cell at IPython's prompt to its end; cancel what it awaits on Ctrl-C.

    Args:
        get_loop: returns the loop.
        cell: its code.
        note: is called with whether the cell was interrupted.

    Returns:
        What IPython makes of the cell, which it has shown the errors of.
    """
    note(False)
    loop = get_loop()
    task = loop.create_task(cell)
    try:
        return loop.run_until_complete(task)
    except KeyboardInterrupt:
        if task.done():
            raise
        note(True)
        task.cancel("KeyboardInterrupt")
        return loop.run_until_complete(task)
