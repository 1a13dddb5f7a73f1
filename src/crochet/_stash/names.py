"""
The stashes that processes share, by their names. They are loaded when a program asks for one: most
do without, and one needs a package that is not there.
"""

from __future__ import annotations

import os

from .._core.stash import Stash

# What is looked up in the package.
NAMES = frozenset({"LocalStash", "RedisStash"})


def look_up(name: str, names: dict[str, object]) -> object:
    """
    Return what one of ``NAMES`` stands for, and enter it in the package.

    Args:
        name: what is looked up in the package and is not there.
        names: those of the package.
    """
    found: type[Stash]
    try:
        if name == "LocalStash":
            from .local import LocalStash as found
        else:
            from .redis import RedisStash as found
    except ImportError as error:
        # `from crochet import *` comes here, too, and most programs have no use for these: so what
        # is missing, redis-py or a Python's sqlite3, is said where one is made.
        return _missing(name, str(error))
    return names.setdefault(name, found)


def _missing(name: str, text: str) -> type:
    def refuse(self: object, *args: object, **kwargs: object) -> None:
        raise ImportError(text)

    return type(name, (), {"__init__": refuse, "__doc__": text})


def named(text: str) -> Stash:
    """
    Make the stash that a text names: what a program has in an environment variable.

    Raises:
        ImportError: redis-py is needed, and not there.
        ValueError: it names none, or there is no key for it.
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and rest:
        from .local import LocalStash

        return LocalStash(rest)
    if kind in ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel"):
        key = os.environ.get("CROCHET_STASH_KEY", "")
        if not key:
            raise ValueError(
                f"setup() has no key for the stash {kind}:...: put one in CROCHET_STASH_KEY, the "
                "same for all processes, or several with commas between"
            )
        from .redis import RedisStash

        return RedisStash(text, key=key.split(","))
    # No more of it: there may be a password in it.
    raise ValueError(f'setup() knows no stash {kind!r}: give "local:NAME", or a URL of Redis')
