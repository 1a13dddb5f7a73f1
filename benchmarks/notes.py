"""
Crochet without its notes on calls: what would a call cost, if nobody could ask about it?

The notes are when and where a call was made, and when the reactor thread came to it. ``status()``,
the lag, and the texts of errors are made from them. They are cut out of Crochet's own functions,
as they stand in the source, so that nothing here has to follow a change of theirs. A source in
which there is nothing to cut is an error.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

#: The names by which a statement is known as one that takes notes.
NOTES = {"monotonic", "looked_at", "_made", "_started", "_getframe"}


class _Cut(ast.NodeTransformer):
    """
    Leave out the statements that take notes, and those around them that are nothing without.
    """

    def __init__(self) -> None:
        self.number = 0

    def generic_visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Assign | ast.AnnAssign) and self._is_note(node):
            return None
        if isinstance(node, ast.If) and self._is_note(node.test):
            return None
        super().generic_visit(node)
        return None if isinstance(node, ast.Try) and not node.body else node

    def _is_note(self, node: ast.AST) -> bool:
        names = {getattr(part, "attr", getattr(part, "id", None)) for part in ast.walk(node)}
        is_note = not names.isdisjoint(NOTES)
        self.number += is_note
        return is_note


def without_notes(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return *function* without the statements that take notes.

    Raises:
        ValueError: it has none.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    cut = _Cut()
    cut.visit(tree)
    if not cut.number:
        raise ValueError(f"{function.__qualname__}() takes no notes; look at benchmarks/notes.py")
    made: dict[str, Any] = {}
    exec(compile(tree, "<without notes>", "exec"), function.__globals__, made)
    result: Callable[..., Any] = made[function.__name__]
    return result


def leave_out_notes() -> None:
    """
    Have this process's crochet take no notes. Call it before ``setup()``.
    """
    from crochet._core import bridge as _bridge
    from crochet._core import result as _result
    from crochet._core import call as _starting

    result: Any = _result.EventualResult
    bridge: Any = _bridge.Bridge
    result.__init__ = without_notes(result.__init__)
    bridge.drain_in_reactor = without_notes(bridge.drain_in_reactor)
    _starting.start_in_reactor = without_notes(_starting.start_in_reactor)
