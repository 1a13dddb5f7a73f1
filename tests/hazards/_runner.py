"""
Runs hazard programs, each in a process of its own, and tabulates what they say.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


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


def run(name: str, python: str, environment: Mapping[str, str], bound: float) -> Verdict:
    """
    Run a hazard program with an interpreter. Blocks up to *bound* seconds, and a few more.
    """
    # Apart, or the verdict may come in the middle of a line of something else.
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        process = subprocess.Popen(
            [python, str(HERE / f"{name}.py")],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env={**environment, "HAZARD_BOUND": f"{bound:g}"},
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
    lines = [line for line in stdout.splitlines() if line.startswith(("ok ", "BREACH ", "n/a "))]
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
    return {**os.environ, **({"PYTHONPATH": absolute} if absolute else {})}


def foreign_environment() -> dict[str, str]:
    """
    Return the environment in which another interpreter finds what is installed for it.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def title(python: str, environment: Mapping[str, str]) -> str:
    """
    Return the name and version of what an interpreter imports as crochet.
    """
    source = "import crochet; print('crochet', crochet.__version__)"
    command = [python, "-c", source]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def _as_cell(text: str) -> str:
    # Neither folders nor addresses of the machine are of interest to anybody else.
    text = re.sub(r"(?:/[\w.+-]+)+/", "", text)
    text = re.sub(r"(?: at)? 0x[0-9a-f]+", "", text)
    text = textwrap.shorten(text, 160)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")


def as_markdown(titles: Sequence[str], rows: Mapping[str, Sequence[Verdict]]) -> str:
    """
    Return a table: a row for each hazard, a column for each implementation.
    """
    lines = [
        f"| what must hold | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for name, verdicts in rows.items():
        cells = [f"**{each.kind}** {_as_cell(each.text)}" for each in verdicts]
        lines.append(f"| {describe(name)} (`{name}`) | {' | '.join(cells)} |")
    counts = [
        f"{sum(each[column].kind == 'ok' for each in rows.values())} ok"
        for column in range(len(titles))
    ]
    lines.append(f"| of {len(rows)} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"
