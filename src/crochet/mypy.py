"""
Lets an old ``plugins = crochet.mypy`` line in a mypy configuration load.

The plugin does nothing: Crochet's types need no help any more, and the line may go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy.plugin import Plugin


def plugin(version: str) -> type[Plugin]:
    """
    Return the plugin class, as mypy asks every plugin module for.
    """
    from mypy.plugin import Plugin

    return Plugin
