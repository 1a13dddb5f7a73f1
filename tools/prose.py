"""
Look at the English of the documentation, the public docstrings and the changelog.

    python tools/prose.py

Three lists: ours, of words that a reader stumbles over; those of proselint; and codespell's, of
misspelt words. Code, output and names in backquotes are left out. The status is 1 if any is found.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

#: What is not written here, and what is written instead.
WORDS = {
    r"whoever|whosoever|who waits": "name the thread, the process or the code",
    r"(is|are|was|were|be) told(?! to\b)": "say, describe, log or report",
    r"(he|his|him)(?! or she)": "a thread is `it`",
    r"for ever": "forever; or: hangs, never returns",
    r"be it": "whether",
    r"in (its|their) stead": "instead",
    r"dearest|aught|albeit|hence|thereof|thence|unto|betwixt|amidst": "a word of today",
    r"unnoticed": "silently",
    r"blocks never": "never blocks",
    r"(?<!there )is no (number|integer|error|sandbox|leak|terminal|reactor|value)": "is not a",
    r"so many seconds|in its own time|has the use of|for want of": "say it plainly",
    r"it be that|lest|ere": "say it plainly",
    r"is (none|nothing) of (its|theirs|ours|yours)": "say whose it is",
    r"makes? the acquaintance|are made acquainted": "say what is recorded",
    r"simply|obviously|of course|easily|utilize|leverage": "leave it out",
}
# Of proselint's: not about curly quotes, nor about words that have a meaning here.
CHECKS = (
    *("archaism", "cliches", "hedging", "malapropisms", "mixed_metaphors", "mondegreens"),
    *("needless_variants", "nonwords", "oxymorons", "redundancy", "social_awareness", "spelling"),
    "terms",
)
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
# Made from what the hazards say of themselves.
GENERATED = ("hazards-table.md",)


class Fault(NamedTuple):
    """
    A place that reads oddly.
    """

    where: str
    line: int
    text: str
    advice: str


def blank(match: re.Match[str]) -> str:
    """
    Put spaces in the place of what was found, with its lines.
    """
    return re.sub(r"[^\n]", " ", match[0])


def prose_of(text: str) -> str:
    """
    Return the words of a page, each where it stands, without code and output.
    """
    for pattern in (
        r"^(`{3,})[^\n]*\n.*?^\1$",  # blocks
        r"^ *>>>.*?(\n\s*\n|\Z)",  # examples of docstrings, with what they print
        r"::\n\n(?:[ ]{4,}[^\n]*\n|\n)+",
        r"<!--.*?-->",
        r"`+[^`]+`+",
        r"\]\([^)]*\)",
        r"^:\w+:.*?$",
        r"^> .*?$",  # what the library says
    ):
        text = re.sub(pattern, blank, text, flags=re.M | re.S)
    return text


def texts() -> Iterator[tuple[str, str]]:
    """
    Yield the name and the text of each page, and of each public docstring.
    """
    pages = [ROOT / name for name in PAGES]
    pages += sorted((ROOT / "docs").rglob("*.md"))
    for path in pages:
        if "_build" not in path.parts and path.name not in GENERATED:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
    for module in map(import_module, ("crochet", "crochet.scrapy", "crochet.testing")):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            yield f"{module.__name__}.{name}", inspect.getdoc(value) or ""
            members = vars(value).items() if isinstance(value, type) else ()
            for member, inner in members:
                if not member.startswith("_"):
                    yield f"{module.__name__}.{name}.{member}", inspect.getdoc(inner) or ""


def faults_by_words(where: str, text: str) -> Iterator[Fault]:
    """
    Find what is on our own list.
    """
    for pattern, advice in WORDS.items():
        for match in re.finditer(rf"\b(?:{pattern})\b", text, re.I):
            yield Fault(where, text.count("\n", 0, match.start()) + 1, match[0], advice)


def faults_by_proselint(where: str, text: str) -> Iterator[Fault]:
    """
    Find what is on proselint's.
    """
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    checks = {name: name in CHECKS for name in DEFAULT["checks"]}
    for result in LintFile(where, text).lint({**DEFAULT, "checks": checks}):
        found = result.check_result
        start, end = (
            max(place - 1, 0) for place in found.span
        )  # which has a line before the first
        yield Fault(where, text.count("\n", 0, start) + 1, text[start:end].strip(), found.message)


def faults() -> Iterator[Fault]:
    """
    Find all but misspelt words.
    """
    for where, text in texts():
        prose = prose_of(text)
        yield from faults_by_words(where, prose)
        if prose.strip():
            yield from faults_by_proselint(where, prose)


def main() -> int:
    """
    Print what is found.

    Returns:
        The status that the process is to end with.
    """
    found = [*faults()]
    for fault in found:
        print(f"{fault.where}:{fault.line}: {fault.text!r}: {fault.advice}")
    named = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "src"]
    command = [sys.executable, "-m", "codespell_lib", "--skip", "*/_build/*", *named]
    misspelt = subprocess.run(command, cwd=ROOT, check=False)
    return int(bool(found or misspelt.returncode))


if __name__ == "__main__":
    sys.exit(main())
