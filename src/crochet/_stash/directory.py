"""
The directory in which the processes of one user on one machine find each other.

What must always hold: nobody else can put anything there, or read it. So it, and what lies in it,
belongs to this process's user and gives no rights to others, and is looked at without following
links: in a folder like /tmp anybody may have put a link, or a directory, of that name before.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

from .. import _errors

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def path_of(name: str | os.PathLike[str]) -> Path:
    """
    Return the directory that a name, or a path, stands for. Makes and opens nothing.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(name, str) or os.sep in name:
        return Path(os.path.abspath(name))
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"a LocalStash is not named {name!r}: a name has up to 64 letters, digits, dots, "
            "hyphens and underscores, and a path has a separator"
        )
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_private(runtime):
        return Path(runtime, "crochet", name)
    return Path(tempfile.gettempdir(), f"crochet-{os.geteuid()}", name)


def prepare(path: Path) -> None:
    """
    Make the directory, if it is not there, and check it.

    Raises:
        OSError: it cannot be made, or others have rights to it.
    """
    folders = [path]
    if path.parent.name.startswith("crochet"):
        folders.insert(0, path.parent)  # ours, too
    for folder in folders:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        if not _is_private(folder):
            raise _errors.not_private(str(folder))


def make_private_file(path: Path) -> None:
    """
    Make a file, if it is not there, and check it: nobody else may read or write it.

    Raises:
        OSError: it cannot be made, it is no file, or others have rights to it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not _is_ours(found):
            raise _errors.not_private(str(path))
    finally:
        os.close(descriptor)


def _is_private(path: str | Path) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and _is_ours(found)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077
