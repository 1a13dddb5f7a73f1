"""
Programs that tests run in a new Python, and coroutines in a loop of their own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from typing import Any, NamedTuple

import pytest

from support.stepping import (
    BOUND,
)

REACTORS = ["epoll", "poll", "select", "asyncio"]
if not sys.platform.startswith("linux"):
    REACTORS = ["select"]


class Finished(NamedTuple):
    """
    How a program ended, and what it has written.
    """

    status: int
    stdout: str
    stderr: str


# On these two hardly a line runs that does not on the others; see _UNMEASURED in conftest.py.
_UNMEASURED = {"poll", "select"} & {*REACTORS[1:]}


def run_python(
    code: str,
    *args: str,
    status: int = 0,
    flags: tuple[str, ...] = ("-W", "error"),
    is_measured: bool = True,
) -> Finished:
    """
    Run a program in a new process; fail, with its output, if it ends otherwise than expected.

    The program finds BOUND in ``sys.argv[1]`` and *args* behind it. One that has not ended in twice
    that time shows what all of its threads do.

    Args:
        code: the program, indented as one likes.
        args: for the program.
        status: how it is to end; a negative one is a signal's.
        flags: of the interpreter's.
        is_measured: whether coverage, where it is on, sees the lines that it runs.
    """
    is_measured = is_measured and not _UNMEASURED & {*args}
    environ = {
        name: value
        for name, value in os.environ.items()
        if is_measured or not name.startswith("COVERAGE_")
    }
    command = [sys.executable, "-X", "faulthandler", *flags, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(
        [*command, str(BOUND), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        stdout, stderr = process.communicate(timeout=2 * BOUND)
        has_ended = True
    except subprocess.TimeoutExpired:
        has_ended = False
        process.send_signal(getattr(signal, "SIGABRT", signal.SIGTERM))
        stdout, stderr = process.communicate(timeout=BOUND)
    finally:
        process.kill()
        process.wait()
    if not has_ended or process.returncode != status:
        end = f"ended with status {process.returncode}" if has_ended else "has not ended"
        pytest.fail(
            f"the program {end}.\n--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}",
            pytrace=False,
        )
    return Finished(process.returncode, stdout, stderr)


def run_in_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """
    Run a coroutine in an asyncio loop in this thread. Bounded.
    """
    return asyncio.run(asyncio.wait_for(coroutine, BOUND))
