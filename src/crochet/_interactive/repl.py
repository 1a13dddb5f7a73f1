"""
``python -m crochet``: type Python, with ``await`` on the reactor.

Which thread a statement runs in, is decided statement by statement:

- One with an ``await`` runs in the reactor thread, as an ``async def`` with ``@wait_for(None)``
  does: it may use all of Twisted, and Ctrl-C cancels what it awaits.
- Any other runs in the main thread: it may block, so decorated functions can be called.

Why not all in the reactor thread, as ``python -m asyncio`` does with its loop? Each call of a
``@wait_for`` function would be refused as a deadlock, and whatever takes time would stop the
reactor. Why not all in the main thread? What a coroutine does between two awaits uses Twisted's
API, which is for the reactor thread alone.

The methods of the reactor itself can be called at the prompt, see _interactive/reactor_proxy.py.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import builtins
import codeop
import sys
from collections.abc import Callable
from inspect import CO_COROUTINE
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Any, cast

from .._core.decorators import Decorators
from .prompts import choose_prompt
from .reactor_proxy import Carried

_FILE = "<stdin>"
_FUTURES: int = sum(
    getattr(__future__, name).compiler_flag for name in __future__.all_feature_names
)


class Repl:
    """
    Runs statements in a namespace.

    Args:
        calls: makes statements that await run in the reactor thread.
        namespace: what names in the statements mean.
    """

    def __init__(self, calls: Decorators, namespace: dict[str, Any]) -> None:
        self._in_reactor = calls.wait_for(None)(statement)
        self._namespace = namespace
        self._compile = codeop.CommandCompiler()
        self._compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def run(self, code: CodeType) -> None:
        """
        Run a statement. Blocks until what it awaits has come; Ctrl-C cancels that.
        """
        if code.co_flags & CO_COROUTINE:
            self._in_reactor(FunctionType(code, self._namespace))
        else:
            exec(code, self._namespace)

    def interact(self, ask: Callable[[str], str]) -> None:
        """
        Run what is typed, statement by statement, until its end. Blocks.

        Args:
            ask: returns a line for a prompt; raises EOFError at the end, and KeyboardInterrupt to
                drop what was typed of a statement.
        """
        lines: list[str] = []
        while True:
            try:
                lines.append(ask("... " if lines else ">>> "))
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print("KeyboardInterrupt")
                lines = []
                continue
            try:
                code = self._compile("\n".join(lines), _FILE, "single")
                if code is None:
                    continue  # there is more to come
                lines = []
                self.run(code)
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt")
                lines = []
            except Exception as error:
                show(error)
                lines = []

    def run_all(self, source: bytes) -> int:
        """
        Run a whole program, statement by statement. Blocks.

        Returns:
            The status that the process is to end with.
        """
        flags: int = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        try:
            tree: ast.Module = compile(
                source, _FILE, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True
            )
            # All of it, for its errors are to be told before any of it runs.
            whole = cast("CodeType", compile(tree, _FILE, "exec", flags, dont_inherit=True))
            flags |= whole.co_flags & _FUTURES
            for node in tree.body:
                module = ast.Module([node], [])
                code = compile(module, _FILE, "exec", flags, dont_inherit=True)
                self.run(cast("CodeType", code))
        except Exception as error:
            show(error)
            return 1
        return 0


def statement(function: Callable[[], Any]) -> object:
    """
    Begin a statement that awaits, in the reactor thread. Its name is in messages.
    """
    return function()


def show(error: BaseException) -> None:
    """
    Print an error, from where it passed the statement on, and keep it for ``pdb.pm()``.
    """
    traceback = _in_statement(error.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)


def _in_statement(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_code.co_filename != _FILE:
        traceback = traceback.tb_next
    return traceback


def main(crochet: Any) -> int:
    """
    Run ``python -m crochet``.

    Returns:
        The status that the process is to end with.
    """
    argparse.ArgumentParser(
        prog="python -m crochet",
        description="Type Python with top-level await on Twisted's reactor; or give it a program "
        "on standard input.",
    ).parse_args()
    crochet.setup()
    reactor = sys.modules["twisted.internet.reactor"]
    event_loop = crochet._event_loop
    carried = Carried(reactor, event_loop.bridge, event_loop.calls)
    carried.start()
    module = sys.modules["__main__"] = ModuleType("__main__")
    namespace = vars(module)
    namespace.update(__builtins__=builtins, crochet=crochet, reactor=reactor)
    repl = Repl(event_loop.calls, namespace)
    try:
        if not sys.stdin.isatty():
            return repl.run_all(sys.stdin.buffer.read())
        ask, advice = choose_prompt(namespace)
        print(f"Crochet {crochet.__version__}, Python {sys.version.split()[0]}")
        print("`await` a Deferred or a coroutine; `crochet` and `reactor` are there. Ctrl-D ends.")
        if advice:
            print(advice)
        repl.interact(ask)
        return 0
    finally:
        carried.stop()
