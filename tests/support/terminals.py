"""
Programs at a terminal: what is typed, and what appears.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import NoReturn

import pytest

from support.stepping import BOUND

# Ctrl-C is for the foreground processes of the terminal that controls a session.
_IN_CONTROL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

CTRL_C = "\x03"
CTRL_D = "\x04"
TAB = "\t"

# Seconds after which nothing more is expected to appear.
_QUIET = 2.0


class Terminal:
    """
    A Python program with a terminal of its own. It is killed at the end of the ``with`` block.

    Args:
        arguments: the interpreter's.
        environment: what is added to this process's.
        shows_errors: whether stderr is the terminal, or kept for ``end()``.
    """

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], shows_errors: bool = False
    ) -> None:
        self._screen, terminal = os.openpty()
        self._shown = ""  # and not expected yet
        self._all = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_CONTROL, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal if shows_errors else self._errors,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
        )
        os.close(terminal)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        os.close(self._screen)
        self._process.kill()
        self._process.wait(BOUND)
        self._errors.close()

    def type(self, text: str) -> None:
        """
        Type something.
        """
        os.write(self._screen, text.encode())

    def expect(self, text: str) -> None:
        """
        Wait until a text appears, after the one that was expected last.
        """
        deadline = time.monotonic() + BOUND
        while text not in self._shown:
            if not select.select([self._screen], [], [], max(deadline - time.monotonic(), 0))[0]:
                self._give_up(f"{text!r} does not appear")
            try:
                self._read()
            except OSError:
                self._give_up(f"the program has ended before {text!r} appeared")
        self._shown = self._shown.partition(text)[2]

    def _read(self) -> None:
        """
        Take what has appeared. Raises OSError when the program has ended.
        """
        data = os.read(self._screen, 4096).decode(errors="replace")
        self._shown += data
        self._all += data

    def interrupt_prompt(self) -> None:
        """
        Type Ctrl-C at a prompt, and wait until it says so.

        When the prompt has appeared, and is just about to wait for keys, it may be lost (Python
        has looked for signals by then), so it is typed again while nothing comes of it.
        """
        for _ in range(int(BOUND / _QUIET)):
            self.type(CTRL_C)
            while select.select([self._screen], [], [], _QUIET)[0]:
                self._read()
                if "KeyboardInterrupt" in self._shown:
                    self.expect("KeyboardInterrupt")
                    return
        self._give_up("Ctrl-C does not come through")

    def end(self) -> tuple[int, str]:
        """
        Type Ctrl-D and wait for the program's end; return its status, and what it wrote to stderr.

        Between two prompts it may be lost, so it is typed again while nothing comes of it.
        """
        deadline = time.monotonic() + BOUND
        try:
            while time.monotonic() < deadline:
                self.type(CTRL_D)
                # The terminal would stop a program whose output nobody reads.
                while select.select([self._screen], [], [], _QUIET)[0]:
                    self._read()
        except OSError:
            pass  # the last to have it open has ended: what was waited for
        return self._process.wait(BOUND), self._written_errors()

    def _written_errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()

    def _give_up(self, why: str) -> NoReturn:
        errors = self._written_errors()
        pytest.fail(f"{why}\n--- terminal\n{self._all}\n--- stderr\n{errors}", pytrace=False)
