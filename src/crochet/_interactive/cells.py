"""
The code of a notebook's cell: its awaits are led through an object of ours.

``await fetch()`` becomes ``await __import__("crochet")._extension.awaitable(fetch())``. The object
is looked up from the package each time rather than given a name in the notebook: ``%reset`` would
delete that, and completion would show it.

Only what a cell itself awaits is changed. The functions it defines stay as they are written: they
may be decorated and run in the reactor thread, or be driven by Twisted.
"""

from __future__ import annotations

import ast
from typing import TypeVar

_Function = TypeVar("_Function", ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


class Awaits(ast.NodeTransformer):
    """
    Leads the awaits at the top level of a cell through the methods of an object.

    Args:
        package: the package to be imported.
        attribute: its attribute with the methods ``awaitable``, ``iterable`` and ``manager``.
    """

    def __init__(self, package: str, attribute: str) -> None:
        self._package = package
        self._attribute = attribute

    def _through(self, method: str, value: ast.expr) -> ast.expr:
        source = f"__import__({self._package!r}).{self._attribute}.{method}()"
        call = ast.parse(source, mode="eval").body
        assert isinstance(call, ast.Call)
        for node in ast.walk(call):
            ast.copy_location(node, value)  # tracebacks show the cell
        call.args.append(value)
        return call

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        node.value = self._through("awaitable", node.value)
        return node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self.generic_visit(node)
        node.iter = self._through("iterable", node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if node.is_async:
            node.iter = self._through("iterable", node.iter)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = self._through("manager", item.context_expr)
        return node

    def _leave(self, node: _Function) -> _Function:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = _leave
