"""
How lines are asked for: with prompt_toolkit, or with what Python has.
"""

from __future__ import annotations

import os
import rlcompleter
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.lexers import Lexer

Ask = Callable[[str], str]

_ADVICE = "For completion while you type and a history to search: pip install 'crochet[repl]'"


def choose_prompt(namespace: dict[str, Any]) -> tuple[Ask, str | None]:
    """
    Return what asks for a line, with history and completion, and what to install for a better one.

    Args:
        namespace: whose names are completed.
    """
    try:
        return ask_by_toolkit(namespace), None
    except ImportError:
        return ask_by_readline(namespace), _ADVICE


def ask_by_toolkit(namespace: dict[str, Any]) -> Ask:
    """
    Return what asks by means of prompt_toolkit.

    Raises:
        ImportError: it is not installed.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion
    from prompt_toolkit.patch_stdout import patch_stdout

    class Names(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Any:
            word = document.get_word_before_cursor(WORD=True)
            word = word[start_of_name(word) :]
            for name in completions(namespace, word):
                yield Completion(name, start_position=-len(word))

    session: PromptSession[str] = PromptSession(
        history=private_history(), completer=Names(), lexer=highlighter()
    )

    def ask(prompt: str) -> str:
        # What other threads print meanwhile appears above the line.
        with patch_stdout(raw=True):
            return session.prompt(prompt)

    return ask


def highlighter() -> Lexer | None:
    """
    Return what colours Python, or None where Pygments is not installed.

    Raises:
        ImportError: prompt_toolkit is not installed.
    """
    from prompt_toolkit.lexers import PygmentsLexer

    try:
        python = import_module("pygments.lexers.python")  # which has no types
    except ImportError:
        return None
    return PygmentsLexer(python.PythonLexer)


def private_history() -> History:
    """
    Return where prompt_toolkit keeps what was typed: a file that nobody else can read, if possible.

    Raises:
        ImportError: it is not installed.
    """
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class PrivateHistory(FileHistory):
        def store_string(self, string: str) -> None:
            # It opens the file each time, and would make another one if that has been removed.
            if history_file() is not None:
                super().store_string(string)

    path = history_file()
    return PrivateHistory(str(path)) if path else InMemoryHistory()


def start_of_name(text: str) -> int:
    """
    Return where the dotted name begins that *text* ends in.
    """
    start = len(text)
    while start and (text[start - 1].isidentifier() or text[start - 1] in ".0123456789"):
        start -= 1
    return start


def completions(namespace: dict[str, Any], word: str) -> list[str]:
    """
    Return what *word* may become; nothing for an empty one.
    """
    completer = rlcompleter.Completer(namespace)
    found: list[str] = []
    with suppress(Exception):  # of a property of the program's, which nobody has asked for
        while word and (name := completer.complete(word, len(found))) is not None:
            found.append(name)
    return found


def history_file() -> Path | None:
    """
    Return the file for the history, which nobody else can read, or None if there can be none.
    """
    path = Path(os.path.expanduser("~")) / ".crochet_history"
    # What is typed may be a password. So it is private when it is made, not only after that; and a
    # link or a file of somebody else's, whose home this may be under sudo, leads to no other file.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would block
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError:
        return None
    try:
        return path if _is_private(descriptor) else None
    finally:
        os.close(descriptor)


def _is_private(descriptor: int) -> bool:
    """
    Tell whether a file is ours alone, after narrowing its permissions if need be.
    """
    if sys.platform == "win32":  # there are none
        return True
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return False
    if stat.S_IMODE(status.st_mode) & 0o077:
        try:
            os.fchmod(descriptor, 0o600)
        except OSError:
            return False  # on a file system that has other ideas
    return True


def ask_by_readline(namespace: dict[str, Any]) -> Ask:
    """
    Return what asks as Python's own prompt does, by means of readline where there is one.
    """
    with suppress(ImportError):
        import readline

        hook = getattr(sys, "__interactivehook__", None)
        if hook is not None:
            hook()  # has the tabulator complete, and keeps Python's history
        readline.set_completer(rlcompleter.Completer(namespace).complete)
    return input
