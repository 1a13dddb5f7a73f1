"""
The code of a notebook's cell.
"""

from __future__ import annotations

import ast

import pytest

from crochet._interactive.cells import Awaits


def through(cell: str) -> str:
    """
    Return a cell as it is run.
    """
    tree = Awaits("crochet", "_x").visit(ast.parse(cell))
    compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return ast.unparse(tree).replace("__import__('crochet')._x.", "")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("x = await f(await g())", "x = await awaitable(f(await awaitable(g())))"),
        ("if x:\n    await y", "if x:\n    await awaitable(y)"),
        ("async for x in y:\n    await x", "async for x in iterable(y):\n    await awaitable(x)"),
        ("[x async for x in y]", "[x async for x in iterable(y)]"),
        ("[await x for x in y]", "[await awaitable(x) for x in y]"),
        (
            "async with a as b, c:\n    pass",
            "async with manager(a) as b, manager(c):\n    pass",
        ),
    ],
)
def test_awaits_are_led_elsewhere(cell: str, expected: str) -> None:
    """
    All of them that are the cell's own.
    """
    assert through(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "f()",
        "for x in y:\n    pass",
        "async def f():\n    return await g()",
        "def f():\n\n    async def g():\n        async with x:\n            await y",
        "class A:\n\n    async def f(self):\n        await self",
    ],
)
def test_the_rest_is_left_as_it_is(cell: str) -> None:
    """
    Functions above all, which may run in the reactor thread.
    """
    assert through(cell) == cell


def test_lines_are_kept() -> None:
    """
    For tracebacks.
    """
    tree = Awaits("crochet", "_x").visit(ast.parse("\n\nawait (\n    f())"))
    lines = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.expr)}
    assert lines == {3, 4}
