"""
How lines are asked for: with prompt_toolkit, or with what Python has.
"""

from __future__ import annotations

import os
import rlcompleter
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.patch_stdout import patch_stdout

    class Names(Completer):
        def get_completions(self, document: Any, complete_event: Any) -> Any:
            word = document.get_word_before_cursor(WORD=True)
            word = word[start_of_name(word) :]
            for name in completions(namespace, word):
                yield Completion(name, start_position=-len(word))

    path = history_file()
    history: History = FileHistory(str(path)) if path else InMemoryHistory()
    session: PromptSession[str] = PromptSession(history=history, completer=Names())

    def ask(prompt: str) -> str:
        # What other threads print meanwhile appears above the line.
        with patch_stdout(raw=True):
            return session.prompt(prompt)

    return ask


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
    Return the file for the history, or None if none can be written.
    """
    path = Path(os.path.expanduser("~")) / ".crochet_history"
    try:
        path.open("a").close()
    except OSError:
        return None
    return path


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
