"""
``python -m crochet``
"""

from __future__ import annotations
import __future__

import builtins
import importlib
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from crochet._interactive.prompts import (
    ask_by_readline,
    completions,
    highlighter,
    history_file,
    private_history,
    start_of_name,
)
from crochet._interactive.reactor_proxy import Carried
from crochet._interactive.repl import Repl
from support.process import FakeProcess
from support.stepping import BOUND
from support.terminals import CTRL_C, TAB, Terminal
from test_docs import blocks_of


@pytest.fixture(autouse=True)
def last_error() -> Iterator[None]:
    """
    Put back what is kept of an error for ``pdb.pm()``.
    """
    names = ("last_type", "last_value", "last_traceback")
    before = {name: getattr(sys, name) for name in names if hasattr(sys, name)}
    yield
    for name in names:
        vars(sys).pop(name, None)
    vars(sys).update(before)


@pytest.fixture
def namespace() -> Iterator[dict[str, Any]]:
    """
    What the statements have; emptied, for errors' frames keep it.
    """
    names: dict[str, Any] = {"__builtins__": builtins, "Deferred": Deferred, "succeed": succeed}
    names["thread"] = lambda: threading.current_thread().name
    yield names
    names.clear()


class _Typist:
    """
    Types lines, or raises what stands in their place; then it is the end.
    """

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self._lines = iter(lines)
        self.prompts = ""

    def __call__(self, prompt: str) -> str:
        self.prompts += prompt
        line = next(self._lines, EOFError)
        if isinstance(line, str):
            return line
        raise line


class TestInteract:
    """
    What is typed.
    """

    def test_runs_each_statement_where_it_can(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        What awaits in the reactor thread, and what may block in this one.
        """
        namespace["blocking"] = running.wait_for(BOUND)(lambda: succeed("answered"))
        typist = _Typist("await succeed(thread())", "thread()", "blocking()")
        Repl(running.loop.calls, namespace).interact(typist)
        here = threading.current_thread().name
        assert capsys.readouterr() == (f"'crochet-reactor'\n{here!r}\n'answered'\n\n", "")

    def test_refuses_to_block_in_a_statement_that_awaits(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        It would be a deadlock. And goes on with the next.
        """
        namespace["blocking"] = running.wait_for(BOUND)(lambda: 1)
        typist = _Typist("blocking() + await succeed(1)", "6 * 7")
        Repl(running.loop.calls, namespace).interact(typist)
        shown = capsys.readouterr()
        assert "DeadlockError: waiting for <lambda>() in the reactor thread" in shown.err
        assert shown.out == "42\n\n"

    def test_takes_statements_of_several_lines(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        Until an empty one. Interrupted, they are dropped.
        """
        typist = _Typist("for i in 1, 2:", KeyboardInterrupt, "for i in 3, 4:", "    print(i)", "")
        Repl(running.loop.calls, namespace).interact(typist)
        assert capsys.readouterr() == ("KeyboardInterrupt\n3\n4\n\n", "")
        assert typist.prompts == ">>> ... >>> ... ... >>> "

    def test_shows_errors_from_the_statement_on(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        What is ours is left out. The last is there for ``pdb.pm()``; and what a statement raises is
        no end.
        """
        Repl(running.loop.calls, namespace).interact(
            _Typist("await succeed(1) / 0", "1 +", "raise EOFError('mine')")
        )
        shown = capsys.readouterr()
        assert shown.out == "\n"
        first, second, third = shown.err.split("Traceback (most recent call last):\n")[0:3]
        assert first == ""
        assert second.startswith('  File "<stdin>", line 1, in <module>\n')
        assert "ZeroDivisionError" in second
        assert "SyntaxError" in second
        assert "_interactive/repl.py" not in shown.err
        assert third.endswith("EOFError: mine\n")
        assert sys.last_type is EOFError

    def test_goes_on_after_an_interrupted_statement(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        Which is not the end of the program.
        """
        typist = _Typist("raise KeyboardInterrupt", "6 * 7")
        Repl(running.loop.calls, namespace).interact(typist)
        assert capsys.readouterr() == ("\nKeyboardInterrupt\n42\n\n", "")

    def test_ends_by_exit(self, running: FakeProcess, namespace: dict[str, Any]) -> None:
        """
        In either thread, with the status given.
        """
        for line in ("raise SystemExit(5)", "raise SystemExit(await succeed(5))"):
            with pytest.raises(SystemExit, match="5"):
                Repl(running.loop.calls, namespace).interact(_Typist(line))


def test_the_session_of_the_how_to_page_is_as_told(
    running: FakeProcess, namespace: dict[str, Any], capsys: Any
) -> None:
    """
    Line by line. The methods of the reactor are carried over, as the program has them.
    """
    page = (Path(__file__).parents[2] / "docs/howto/repl.md").read_text()
    (session,) = [block.body for block in blocks_of(page) if block.kind == "pycon"]
    lines = session.splitlines()
    typed: list[str] = []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line[:3] in (">>>", "..."):
            typed.append(line[4:])
        if line[:3] == "..." != after[:3]:
            typed.append("")  # which ends it, and is not shown
    shown = [line for line in lines if line[:3] not in (">>>", "...")]
    namespace["crochet"] = running
    namespace["reactor"] = running.reactor
    carried = Carried(running.reactor, running.bridge, running.loop.calls)
    carried.start()
    Repl(running.loop.calls, namespace).interact(_Typist(*typed))
    carried.stop()
    assert capsys.readouterr() == ("\n".join([*shown, "\n"]), "")


class TestRunAll:
    """
    A program on standard input.
    """

    def test_runs_statement_by_statement(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        So that those that block may stand beside those that await.
        """
        namespace["blocking"] = running.wait_for(BOUND)(lambda: succeed("answered"))
        program = b"print(await succeed(1))\nprint(blocking())\n"
        assert Repl(running.loop.calls, namespace).run_all(program) == 0
        assert capsys.readouterr() == ("1\nanswered\n", "")

    def test_ends_at_an_error(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any
    ) -> None:
        """
        With status 1, and the line where it was.
        """
        assert Repl(running.loop.calls, namespace).run_all(b"\nawait 1\nprint(2)\n") == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert '"<stdin>", line 2' in shown.err

    @pytest.mark.parametrize("program", [b"print(1)\nx = (\n", b"print(1)\nreturn\n"])
    def test_runs_nothing_that_is_not_right_as_a_whole(
        self, running: FakeProcess, namespace: dict[str, Any], capsys: Any, program: bytes
    ) -> None:
        """
        As Python does.
        """
        assert Repl(running.loop.calls, namespace).run_all(program) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "SyntaxError" in shown.err

    def test_heeds_future_statements(self, running: FakeProcess, namespace: dict[str, Any]) -> None:
        """
        In all that follows.
        """
        program = b"from __future__ import annotations\ndef f(x: 1 / 0): await_ = x\n"
        assert Repl(running.loop.calls, namespace).run_all(program) == 0
        assert namespace["f"].__code__.co_flags & __future__.annotations.compiler_flag


def run_program(program: str, *arguments: str) -> tuple[int, str, str]:
    """
    Run ``python -m crochet`` with a program on its standard input.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "crochet", *arguments],
        input=program,
        capture_output=True,
        text=True,
        timeout=2 * BOUND,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_program_on_standard_input_runs() -> None:
    """
    With the reactor and the package at hand. The reactor's methods can be called in either thread,
    and names are those of ``__main__``.
    """
    status, out, err = run_program(
        """
import pickle, threading
from twisted.internet.task import deferLater
print(await deferLater(reactor, 0.01, lambda: threading.current_thread().name))
fired = threading.Event()
timer = reactor.callLater(0.01, fired.set)
print(fired.wait(60))
@crochet.wait_for(60)
def late():
    return deferLater(reactor, 0.01, lambda: "late")
print(late(), pickle.loads(pickle.dumps(late)) is late)
"""
    )
    assert (status, out, err) == (0, "crochet-reactor\nTrue\nlate True\n", "")


def test_a_program_that_fails_ends_with_status_1() -> None:
    """
    As with ``python -``.
    """
    status, out, err = run_program("print(1)\nawait Deferred\n")
    assert (status, out) == (1, "1\n")
    assert "NameError: name 'Deferred' is not defined" in err


def test_a_program_decides_on_its_status() -> None:
    """
    By ``sys.exit()``.
    """
    assert run_program("import sys; sys.exit(7)") == (7, "", "")


def test_asyncio_is_there_without_being_asked_for() -> None:
    """
    So that its awaitables are taken as Deferreds are, unless another reactor is chosen. The
    name is imported, as under ``python -m asyncio``.
    """
    program = "print(await asyncio.sleep(0.01, type(reactor).__name__))"
    if not os.environ.get("CROCHET_TEST_REACTOR"):
        assert run_program(program) == (0, "AsyncioSelectorReactor\n", "")
        program = "print(type(reactor).__name__)"
        assert run_program(program, "--reactor", "select") == (0, "SelectReactor\n", "")


def test_the_program_may_be_an_argument() -> None:
    """
    With arguments of its own, whatever they look like.
    """
    code = "import sys\nprint(sys.argv, await crochet.run_in_reactor(lambda: 7)())"
    told = run_program("", "-c", code, "one", "--reactor", "-c")
    assert told == (0, "['-c', 'one', '--reactor', '-c'] 7\n", "")


def test_the_program_may_be_a_script(tmp_path: Path) -> None:
    """
    Which finds its arguments, the modules beside it, and the name that it is run by.
    """
    (tmp_path / "beside_it.py").write_text("value = 'found'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside_it\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], beside_it.value, await crochet.run_in_reactor(int)('7'))\n"
        "print(__file__ == sys.argv[0])\n"
    )
    told = run_program("", str(script), "one", "--reactor", "two")
    assert told == (0, "['one', '--reactor', 'two'] found 7\nTrue\n", "")


def test_a_script_that_fails_shows_its_own_lines(tmp_path: Path) -> None:
    """
    From the statement on, and none of ours.
    """
    script = tmp_path / "script.py"
    script.write_text("\nawait crochet.run_in_reactor(int)('x')\n")
    status, _, err = run_program("", str(script))
    assert status == 1
    head, first, second = err.splitlines()[:3]
    assert head == "Traceback (most recent call last):"
    assert first == f'  File "{script}", line 2, in <module>'
    assert second == "    await crochet.run_in_reactor(int)('x')"


def test_a_script_that_is_interrupted_ends_by_the_signal(tmp_path: Path) -> None:
    """
    As with ``python``, whether it waits in the reactor thread or runs in its own. Frames of ours
    are not shown.
    """
    script = tmp_path / "script.py"
    interrupt = "import os, signal\npress = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
    for code, shown in (
        ("async def wait():\n    press()\n    await Deferred()\nawait wait()", []),
        ("press()\nwhile True: pass", ["Traceback (most recent call last):", f'  File "{script}"']),
    ):
        script.write_text(f"{interrupt}from twisted.internet.defer import Deferred\n{code}")
        status, out, err = run_program("", str(script))
        assert (status, out) == (-signal.SIGINT, "")
        assert "KeyboardInterrupt" in err
        assert "site-packages" not in err
        assert "src/crochet" not in err
        assert [line.partition(",")[0] for line in err.splitlines()[:2]][: len(shown)] == shown


def test_a_reactor_without_asyncio_can_be_left_out(tmp_path: Path) -> None:
    """
    What is said of an await that needs asyncio's is what can be done here. Other errors are as they
    were.
    """
    program = "import asyncio\nawait asyncio.sleep(0.01)"
    status, _, err = run_program(program, "--reactor", "select")
    assert (status, err.splitlines()[1]) == (1, '  File "<stdin>", line 2, in <module>')
    assert err.splitlines()[-1].endswith(
        "Start again without --reactor, or with --reactor asyncio."
    )
    assert "The above exception" not in err
    status, _, err = run_program("await (1 / 0)\n", "--reactor", "select")
    assert (status, err.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    """
    By one line after the usage, before anything is started.
    """
    missing = tmp_path / "missing.py"
    for arguments, text in (
        ([str(missing)], f"cannot read '{missing}': No such file"),
        (["-c"], "-c needs a program"),
        (["--reactor", "steam"], "invalid choice: 'steam'"),
    ):
        status, _, err = run_program("", *arguments)
        assert status == 2
        assert "usage: python -m crochet" in err
        assert text in err.splitlines()[-1]


def without_toolkit(tmp_path: Path) -> dict[str, str]:
    """
    Make an environment in which prompt_toolkit cannot be imported.
    """
    (tmp_path / "prompt_toolkit.py").write_text("raise ImportError\n")
    return {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}


def test_importing_the_main_module_runs_nothing() -> None:
    """
    As tools do that look at all modules.
    """
    assert importlib.import_module("crochet.__main__").main


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """
    A home directory, where files may be read by everybody unless they are made otherwise.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions on Windows")
class TestHistory:
    """
    The file with what was typed.
    """

    def test_is_private_from_its_creation_on(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Not only once that has been put right.
        """
        monkeypatch.delattr(os, "fchmod")
        path = home / ".crochet_history"
        assert history_file() == path
        assert _mode(path) == 0o600

    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o601])
    def test_is_made_private(self, home: Path, mode: int) -> None:
        """
        One that an earlier version has made keeps what is in it.
        """
        path = home / ".crochet_history"
        path.write_text("+old\n")
        path.chmod(mode)
        assert history_file() == path
        assert (_mode(path), path.read_text()) == (0o600, "+old\n")

    def test_is_private_when_it_is_made_again(self, home: Path) -> None:
        """
        Somebody has removed it, or put a link in its place, while the prompt was there.
        """
        pytest.importorskip("prompt_toolkit", reason="without it there is no such file")
        path = home / ".crochet_history"
        history = private_history()
        path.unlink()
        history.store_string("secret")
        assert (_mode(path), "+secret\n" in path.read_text()) == (0o600, True)
        assert list(private_history().load_history_strings()) == ["secret"]
        path.unlink()
        path.symlink_to(home / "elsewhere")
        history.store_string("secret")
        assert not (home / "elsewhere").exists()

    @pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder", "no home"])
    def test_that_is_none_is_done_without(
        self, kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Nothing else is opened, made or changed.
        """
        path, target = home / ".crochet_history", home / "target"
        if kind == "link":
            target.write_text("")
            target.chmod(0o644)
            path.symlink_to(target)
        elif kind == "dangling link":
            path.symlink_to(target)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            monkeypatch.setenv("HOME", str(home / "missing"))
        assert history_file() is None
        assert not target.exists() or _mode(target) == 0o644

    def test_of_somebody_else_is_left_alone(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Under sudo, which may keep HOME.
        """
        path = home / ".crochet_history"
        path.touch(0o644)
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        assert history_file() is None
        assert _mode(path) == 0o644


def test_a_python_without_its_interactive_hook_asks_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    One that was started with ``-I``, say.
    """
    readline = pytest.importorskip("readline", reason="completion needs it")
    completer = readline.get_completer()
    monkeypatch.delattr(sys, "__interactivehook__", raising=False)
    try:
        assert ask_by_readline({}) is input
        assert readline.get_completer() is not completer
    finally:
        readline.set_completer(completer)


@pytest.mark.parametrize(
    ("text", "expected"), [("f(a.b", "a.b"), ("x = ", ""), ("a1.b2", "a1.b2"), ("", "")]
)
def test_the_name_before_the_cursor_is_completed(text: str, expected: str) -> None:
    """
    With what it belongs to.
    """
    assert text[start_of_name(text) :] == expected


def test_completions_are_those_of_the_namespace() -> None:
    """
    None for nothing, and none where asking fails.
    """

    class Failing:
        def __dir__(self) -> list[str]:
            raise LookupError

    namespace = {"colour": 1, "failing": Failing()}
    assert completions(namespace, "colo") == ["colour"]
    assert completions(namespace, "") == []
    assert completions(namespace, "failing.x") == []


def test_python_is_coloured_where_pygments_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without it the prompt is as before.
    """
    document = pytest.importorskip("prompt_toolkit.document", reason="the comfortable prompt")
    pytest.importorskip("pygments", reason="it is what colours")
    lexer = highlighter()
    assert lexer is not None
    line = lexer.lex_document(document.Document("await f()"))(0)
    assert ("class:pygments.keyword", "await") in line
    monkeypatch.setitem(sys.modules, "pygments.lexers.python", None)
    assert highlighter() is None


_HANG = """from twisted.internet.defer import Deferred; cancelled = []
hang = lambda: (print("be" "gun"), Deferred(cancelled.append))[1]
"""


def use_a_terminal(terminal: Terminal) -> None:
    """
    Await, interrupt, go on and end, at the prompt.
    """
    terminal.expect(">>>")
    terminal.type("from twisted.internet.task import deferLater\r")
    terminal.expect(">>>")
    terminal.type("await deferLater(reactor, 0.01, lambda: 6 * 7)\r")
    terminal.expect("42")
    terminal.expect(">>>")
    for line in _HANG.splitlines():
        terminal.type(line + "\r")
        terminal.expect(">>>")
    terminal.type("await hang()\r")
    terminal.expect("begun")
    terminal.type(CTRL_C)
    terminal.expect("KeyboardInterrupt")
    terminal.expect(">>>")
    terminal.type("'cancelled', len(cancelled)\r")
    terminal.expect("('cancelled', 1)")
    terminal.expect(">>>")
    terminal.interrupt_prompt()
    terminal.expect(">>>")


def test_a_terminal_with_prompt_toolkit(tmp_path: Path) -> None:
    """
    Ctrl-C cancels what is awaited, names are completed, what was typed is kept in a file, and
    Ctrl-D ends with status 0 and nothing on stderr.
    """
    pytest.importorskip("prompt_toolkit", reason="the comfortable prompt needs it")
    with Terminal("-m", "crochet", environment={"HOME": str(tmp_path)}) as terminal:
        use_a_terminal(terminal)
        terminal.type("crochet.run_in_re")
        terminal.expect("run_in_reactor(")
        terminal.type(CTRL_C)
        terminal.expect(">>>")
        assert terminal.end() == (0, "")
    history = tmp_path / ".crochet_history"
    assert "+await hang()\n" in history.read_text()
    assert _mode(history) == 0o600


def test_a_terminal_with_what_python_has(tmp_path: Path) -> None:
    """
    The same, and it says what to install.
    """
    pytest.importorskip("readline", reason="completion needs it")
    with Terminal("-m", "crochet", environment=without_toolkit(tmp_path)) as terminal:
        terminal.expect("pip install 'crochet[repl]'")
        use_a_terminal(terminal)
        terminal.type(f"crochet.run_in_re{TAB}len).__name__ + 'gth'\r")
        terminal.expect("'length'")
        terminal.expect(">>>")  # what is typed before that may be lost
        assert terminal.end() == (0, "")
