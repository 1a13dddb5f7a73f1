"""
Every program in hazards/ finds nothing amiss, each in a process of its own.
"""

from __future__ import annotations

import sys

import pytest

from hazards import _runner

# Seconds. Most take one; the longest, storms of signals, a dozen on a busy machine.
BOUND = 90.0


@pytest.fixture(autouse=True)
def logged() -> None:
    """
    Do not look for what a test has left behind: the programs beside it have pipes open to here.
    """


@pytest.mark.parametrize("name", _runner.all_names())
def test_hazard(name: str) -> None:
    """
    What must hold, as the program's docstring says, does.
    """
    verdict = _runner.run(name, _runner.own_column(), BOUND)
    assert verdict.is_fine, f"{_runner.describe(name)}\n{verdict}\n{verdict.output}"
    if verdict.kind == "n/a":
        pytest.skip(verdict.text)


def test_every_hazard_says_what_must_hold() -> None:
    """
    Each program's docstring begins with one sentence, which the table shows.
    """
    for name in _runner.all_names():
        text = _runner.describe(name)
        assert text.endswith("."), f"{name}: {text}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("any_timeout_cancels", "ok"),
        ("any_timeout_text", "BREACH"),
        ("any_call_in_loop_thread", "hangs"),
    ],
)
def test_other_bridges_are_asked_the_same(name: str, kind: str) -> None:
    """
    The one that needs no package gives three kinds of verdict.
    """
    column = _runner.foreign_column(f"asyncio={sys.executable}")
    assert "run_coroutine_threadsafe" in column.title
    verdict = _runner.run(name, column, BOUND)
    assert verdict.kind == kind, f"{verdict}\n{verdict.output}"


def test_table_shows_each_question_to_those_it_was_put_to() -> None:
    """
    All columns for the one kind, those of crochet for the other.
    """
    columns = [
        _runner.own_column(),
        _runner.foreign_column("asyncio=python"),
        _runner.foreign_column("python"),
    ]
    verdicts = [
        _runner.Verdict("ok", "as it should", ""),
        _runner.Verdict("hangs", "waits on", ""),
        _runner.Verdict("BREACH", "it | broke", ""),
    ]
    rows = {"any_cancel": verdicts, "exit_normal": verdicts}
    table = _runner.as_markdown(columns, ["ours", "asyncio", "theirs"], rows)
    assert "| ok | hang | breach: it \\| broke |\n" in table
    assert "| **ok** as it should | **BREACH** it \\| broke |\n" in table
    assert "| 1 of 1 | 0 of 1 | 0 of 1 |\n" in table
    with pytest.raises(ValueError, match="there is no bridge trio"):
        _runner.foreign_column("trio=python")


@pytest.mark.parametrize(
    ("program", "kind", "text"),
    [
        ("print('ok', 'as it should')", "ok", "as it should"),
        ("print('n/a', 'needs a unicorn')", "n/a", "needs a unicorn"),
        ("print('BREACH', 'it broke'); exit(1)", "BREACH", "it broke"),
        ("print('ok', 'so far'); exit(3)", "BREACH", "ended with status 3"),
        ("1 / 0", "BREACH", "no verdict, status 1"),
        ("import threading; threading.Event().wait()", "hangs", "no verdict within 1 s"),
        (
            "import threading\nprint('ok', 'so far', flush=True)\nthreading.Event().wait()",
            "BREACH",
            "did not end",
        ),
    ],
)
def test_runner_judges(
    program: str,
    kind: str,
    text: str,
    tmp_path: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A program's verdict is what it says, unless it does not end as it should.
    """
    beginning = "import faulthandler; faulthandler.dump_traceback_later(1, exit=True)\n"
    monkeypatch.setattr(_runner, "HERE", tmp_path)
    (tmp_path / "program.py").write_text(beginning + program)
    verdict = _runner.run("program", _runner.own_column(), 1.0)
    assert (verdict.kind, text in verdict.text) == (kind, True), verdict
