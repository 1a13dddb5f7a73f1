"""
The stashes that processes share, by their names. They are loaded when a program asks for one: most
do without, and one needs a package that is not there.
"""

from __future__ import annotations

from .._core.stash import Stash

# What is looked up in the package.
NAMES = frozenset({"LocalStash"})


def look_up(name: str, names: dict[str, object]) -> object:
    """
    Return what one of ``NAMES`` stands for, and enter it in the package.

    Args:
        name: what is looked up in the package and is not there.
        names: those of the package.
    """
    from .local import LocalStash

    return names.setdefault(name, LocalStash)


def named(text: str) -> Stash:
    """
    Make the stash that a text names: what a program has in an environment variable.

    Raises:
        ValueError: it names none.
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and rest:
        from .local import LocalStash

        return LocalStash(rest)
    raise ValueError(f'setup() knows no stash {text!r}: give "local:NAME", or an object')
