"""
The English of the documentation, and the script that looks at it.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "prose.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prose", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module  # for its NamedTuple
    spec.loader.exec_module(module)
    return module


prose = _script()


def test_of_all_pages_and_public_docstrings_is_plain() -> None:
    """
    What is found is printed, with the page, the line and an advice.
    """
    for package in ("proselint", "codespell_lib"):
        pytest.importorskip(package, reason="reading the prose needs it")
    result = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is handed to whoever waits.", ["whoever"]),
        ("one\n\ntwo, which the caller is told\n", ["is told"]),
        ("The operation was told to cancel.", []),
        ("The thread does his work, for ever.", ["his", "for ever"]),
        ("It is no number. There is no number.", ["is no number"]),
    ],
)
def test_with_an_odd_word_is_found(text: str, found: list[str]) -> None:
    """
    By our own list.
    """
    faults = [*prose.faults_by_words("page", prose.prose_of(text))]
    assert sorted(fault.text for fault in faults) == sorted(found)


def test_is_found_on_its_line() -> None:
    """
    Also after a block, of which nothing else is looked at.
    """
    text = "# Page\n\n```python\nwhoever = 1\n```\n\nName it to `whoever`, or to whoever waits.\n"
    (fault,) = prose.faults_by_words("page", prose.prose_of(text))
    assert fault.line == 7


def test_that_proselint_knows_is_found() -> None:
    """
    With its place, which proselint counts from a line that it puts before the text.
    """
    pytest.importorskip("proselint", reason="reading the prose needs it")
    (fault,) = prose.faults_by_proselint("page", "One.\n\nIt waits for ever and ever.\n")
    assert (fault.line, fault.text.split()[:2]) == (3, ["for", "ever"])
