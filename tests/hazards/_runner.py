"""
Runs hazard programs, each in a process of its own, and tabulates what they say.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

# What questions can be put to, see _bridges.py. Of the first is the API that the others ask about.
BRIDGES = ("crochet", "asyncio.run", "asyncio", "anyio", "asgiref", "synchronicity")

# With which a verdict begins.
KINDS = ("ok ", "BREACH ", "hangs ", "n/a ")


class Verdict(NamedTuple):
    """
    What a hazard program has said.
    """

    # "ok", "BREACH", "hangs", or "n/a".
    kind: str
    text: str
    # All its output, for whoever has to find out why.
    output: str

    @property
    def is_fine(self) -> bool:
        """
        Tell whether what must hold did, as far as it can be told here.
        """
        return self.kind in ("ok", "n/a")

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


# Of a column that a question about crochet's functions cannot be put to.
NOT_ASKED = Verdict("n/a", "is about functions of crochet's", "")


class Column(NamedTuple):
    """
    What is asked: a bridge, and the interpreter that has it.
    """

    bridge: str
    python: str
    environment: Mapping[str, str]

    @property
    def title(self) -> str:
        """
        Return the bridge's name and version.
        """
        return subprocess.run(
            [self.python, str(HERE / "_bridges.py")],
            env={**self.environment, "HAZARD_BRIDGE": self.bridge},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def can_be_asked(self, name: str) -> bool:
        """
        Tell whether a hazard is about what all bridges do, or about functions that this one has.
        """
        return is_for_any(name) or self.bridge == BRIDGES[0]


def own_column() -> Column:
    """
    Return the column of the crochet that is imported here.
    """
    return Column(BRIDGES[0], sys.executable, own_environment())


def foreign_column(text: str) -> Column:
    """
    Return the column that is asked for by ``PYTHON`` or ``BRIDGE=PYTHON``.
    """
    bridge, equals, python = text.partition("=")
    if not equals:
        bridge, python = BRIDGES[0], text
    if bridge not in BRIDGES:
        raise ValueError(f"there is no bridge {bridge}, only {', '.join(BRIDGES)}")
    return Column(bridge, python, foreign_environment())


def is_for_any(name: str) -> bool:
    """
    Tell whether a hazard can be put to any bridge.
    """
    return name.startswith("any_")


def all_names() -> list[str]:
    """
    Return the names of all hazards, sorted.
    """
    return sorted(path.stem for path in HERE.glob("[a-z]*.py"))


def describe(name: str) -> str:
    """
    Return what must hold: the first line of a program's docstring.
    """
    text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"the hazard {name} has no docstring to say what must hold")
    return text.splitlines()[0]


def run(name: str, column: Column, bound: float) -> Verdict:
    """
    Run a hazard program. Blocks up to *bound* seconds, and a few more.
    """
    # Apart, or the verdict may come in the middle of a line of something else.
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        process = subprocess.Popen(
            [column.python, str(HERE / f"{name}.py")],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env={
                **column.environment,
                "HAZARD_BOUND": f"{bound:g}",
                "HAZARD_BRIDGE": column.bridge,
            },
            start_new_session=True,
        )
        try:
            # The program itself shows its stacks when its time is over.
            stdout, _ = process.communicate(timeout=bound + 10)
            has_hung = False
        except subprocess.TimeoutExpired:
            has_hung = True
        _kill_all(process)  # children, too, that a breach has left behind
        if has_hung:
            stdout, _ = process.communicate()
        stderr.seek(0)
        said = stderr.read()
    has_hung = has_hung or "Timeout (" in said
    return _judge(stdout, said, process.returncode, bound, has_hung=has_hung)


def _kill_all(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _judge(stdout: str, stderr: str, status: int, bound: float, *, has_hung: bool) -> Verdict:
    output = stdout + stderr
    lines = [line for line in stdout.splitlines() if line.startswith(KINDS)]
    kind, text = lines[-1].split(" ", 1) if lines else ("", "")
    if kind in ("ok", "n/a") and (has_hung or status != 0):
        end = "did not end" if has_hung else f"ended with status {status}"
        return Verdict("BREACH", f"{text}; then the process {end}", output)
    if kind:
        return Verdict(kind, text, output)
    if has_hung:
        return Verdict("hangs", f"no verdict within {bound:g} s", output)
    return Verdict("BREACH", f"no verdict, status {status}", output)


def own_environment() -> dict[str, str]:
    """
    Return this process's environment, for programs that run in other folders.
    """
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    absolute = os.pathsep.join(os.path.abspath(folder) for folder in folders if folder)
    # Without coverage's tracer: its steps would be among those that the hazards interrupt.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return {**kept, **({"PYTHONPATH": absolute} if absolute else {})}


def foreign_environment() -> dict[str, str]:
    """
    Return the environment in which another interpreter finds what is installed for it.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _as_cell(text: str, width: int) -> str:
    # Neither folders nor addresses of the machine are of interest to anybody else.
    text = re.sub(r"(?:/[\w.+-]+)+/", "", text)
    text = re.sub(r"(?: at)? 0x[0-9a-f]+", "", text)
    text = textwrap.shorten(text, width)
    for character in "|<[*_":
        text = text.replace(character, "&lt;" if character == "<" else "\\" + character)
    return text


def _as_few_words(verdict: Verdict) -> str:
    if verdict.kind == "BREACH":
        return f"breach: {_as_cell(verdict.text, 60)}"
    return {"hangs": "hang"}.get(verdict.kind, verdict.kind)


def _as_words(verdict: Verdict) -> str:
    return f"**{verdict.kind}** {_as_cell(verdict.text, 160)}"


Rows = Mapping[str, Sequence[Verdict]]


def _as_table(titles: Sequence[str], rows: Rows, as_cell: Callable[[Verdict], str]) -> str:
    lines = [f"| what must hold | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    lines += [
        f"| {describe(name)} (`{name}`) | {' | '.join(map(as_cell, verdicts))} |"
        for name, verdicts in rows.items()
    ]
    kinds = [[each[column].kind for each in rows.values()] for column in range(len(titles))]
    counts = [f"{each.count('ok')} of {len(each) - each.count('n/a')}" for each in kinds]
    lines.append(f"| ok, of those that apply | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def as_markdown(columns: Sequence[Column], titles: Sequence[str], rows: Rows) -> str:
    """
    Return two tables: what all were asked, and what was asked about functions of crochet's alone.
    """
    of_all = {name: each for name, each in rows.items() if is_for_any(name)}
    own = [number for number, column in enumerate(columns) if column.bridge == BRIDGES[0]]
    of_own = {
        name: [each[number] for number in own]
        for name, each in rows.items()
        if not is_for_any(name)
    }
    parts = []
    if of_all:
        parts += ["## What can be asked of any bridge\n", _as_table(titles, of_all, _as_few_words)]
    if of_own:
        heads = [titles[number] for number in own]
        parts += ["## What is asked about Crochet's functions\n"]
        parts += [_as_table(heads, of_own, _as_words)]
    return "\n".join(parts)
