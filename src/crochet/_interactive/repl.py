"""
``python -m crochet``: type Python, with ``await`` on the reactor; or run a program that way.

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
import asyncio
import builtins
import codeop
import sys
from collections.abc import Callable
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Any, cast, get_args

from .. import _errors
from .._core.decorators import Decorators
from .._coroutines.follow import wants_asyncio
from .._reactor.choice import ReactorName
from .prompts import choose_prompt
from .reactor_proxy import Carried

_FUTURES: int = sum(
    getattr(__future__, name).compiler_flag for name in __future__.all_feature_names
)


class Repl:
    """
    Runs statements in a namespace.

    Args:
        calls: makes statements that await run in the reactor thread.
        namespace: what names in the statements mean.
        file: where they are from, for tracebacks.
    """

    def __init__(self, calls: Decorators, namespace: dict[str, Any], file: str = "<stdin>") -> None:
        self._in_reactor = calls.wait_for(None)(statement)
        self._namespace = namespace
        self._file = file
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
                code = self._compile("\n".join(lines), self._file, "single")
                if code is None:
                    continue  # there is more to come
                lines = []
                self.run(code)
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt")
                lines = []
            except Exception as error:
                self._show(error)
                lines = []

    def run_all(self, source: bytes) -> int:
        """
        Run a whole program, statement by statement. Blocks.

        Returns:
            The status that the process is to end with.

        Raises:
            KeyboardInterrupt: by Ctrl-C. It will be shown as it is of a program that Python runs.
        """
        flags: int = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        try:
            tree: ast.Module = compile(
                source, self._file, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True
            )
            # All of it, so that its errors are shown before any of it runs.
            whole = cast("CodeType", compile(tree, self._file, "exec", flags, dont_inherit=True))
            flags |= whole.co_flags & _FUTURES
            for node in tree.body:
                module = ast.Module([node], [])
                code = compile(module, self._file, "exec", flags, dont_inherit=True)
                self.run(cast("CodeType", code))
        except KeyboardInterrupt:
            # Left to Python, which ends the process as by the signal: shells look for that.
            hook = sys.excepthook

            def show(kind: Any, error: Any, traceback: TracebackType | None) -> None:
                traceback = self._in_statement(traceback)
                hook(kind, error.with_traceback(traceback), traceback)

            sys.excepthook = show
            raise
        except Exception as error:
            self._show(error)
            return 1
        return 0

    def _show(self, error: BaseException) -> None:
        """
        Print an error, from where it passed the statement on, and keep it for ``pdb.pm()``.
        """
        traceback = self._in_statement(error.__traceback__)
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)

    def _in_statement(self, traceback: TracebackType | None) -> TracebackType | None:
        while traceback is not None and traceback.tb_frame.f_code.co_filename != self._file:
            traceback = traceback.tb_next
        return traceback


async def statement(function: Callable[[], Any]) -> None:
    """
    Run a statement that awaits, in the reactor thread. Its name is in messages.
    """
    try:
        await function()
    except RuntimeError as error:
        if not wants_asyncio(error):
            raise
        better = _errors.statement_needs_asyncio(error).with_traceback(error.__traceback__)
        raise better from None


def _program(code: list[str] | None, script: list[str]) -> tuple[str, bytes | None]:
    """
    Return a name for the program asked for, and its text: None for a prompt. Set ``sys.argv``.

    Raises:
        OSError: it cannot be read.
    """
    if code:
        sys.argv = ["-c", *code[1:]]
        return "<string>", code[0].encode()
    if script and script[0] != "-":
        path = Path(script[0])
        source = path.read_bytes()
        sys.argv = script
        if not getattr(sys.flags, "safe_path", False):  # from Python 3.11 on
            sys.path[0] = str(path.absolute().parent)
        return str(path), source
    sys.argv = script or [""]
    return "<stdin>", sys.stdin.buffer.read() if script or not sys.stdin.isatty() else None


def main(crochet: Any) -> int:
    """
    Run ``python -m crochet``.

    Returns:
        The status that the process is to end with.
    """
    parser = argparse.ArgumentParser(
        prog="python -m crochet",
        usage="%(prog)s [-h] [--reactor NAME] [-c CODE ... | SCRIPT.py ... | -]",
        description="Type Python with top-level await, on asyncio's and Twisted's event loop; or "
        "run a program that way: a script, the text after -c, or standard input.",
    )
    names = get_args(ReactorName)
    parser.add_argument("--reactor", choices=names, help="asyncio if you do not choose one")
    # Both end the options, as Python's own do: what follows is the program's.
    rest = argparse.REMAINDER
    parser.add_argument("-c", dest="code", nargs=rest, help="a program, then its arguments")
    parser.add_argument("script", nargs=rest, help="a file, or -, then its arguments")
    options = parser.parse_args()
    if options.code == []:
        parser.error("-c needs a program")
    try:
        file, source = _program(options.code, options.script)
    except OSError as error:
        parser.error(f"cannot read {error.filename!r}: {error.strerror}")
    # An installed reactor, as by a sitecustomize, is kept.
    is_free = "twisted.internet.reactor" not in sys.modules
    crochet.setup(reactor=options.reactor or ("asyncio" if is_free else None))
    reactor = sys.modules["twisted.internet.reactor"]
    event_loop = crochet._event_loop
    carried = Carried(reactor, event_loop.bridge, event_loop.calls)
    carried.start()
    module = sys.modules["__main__"] = ModuleType("__main__")
    namespace = vars(module)
    namespace.update(__builtins__=builtins, asyncio=asyncio, crochet=crochet, reactor=reactor)
    if file[0] != "<":
        namespace["__file__"] = file
    repl = Repl(event_loop.calls, namespace, file)
    try:
        if source is not None:
            return repl.run_all(source)
        ask, advice = choose_prompt(namespace)
        print(f"Crochet {crochet.__version__}, Python {sys.version.split()[0]}")
        print("`await` anything; `asyncio`, `crochet` and `reactor` are imported. Ctrl-D ends.")
        if advice:
            print(advice)
        repl.interact(ask)
        return 0
    finally:
        carried.stop()
