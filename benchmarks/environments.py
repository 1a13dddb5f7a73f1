"""
The environments that contenders run in: virtual environments inside the checkout.

crochet 2.1.1 has one of its own, because ours has the same import name; all others share
another, ours included, which is imported from ``src``. Both get the same Twisted.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

PEER = "crochet==2.1.1"
PEERS = ("anyio", "asgiref", "synchronicity", "uvloop")

#: Seconds that one step of making an environment may take.
INSTALL_BOUND = 900

Say = Callable[[str], None]


class SetupError(Exception):
    """
    Report that an environment could not be made, with the output of what failed.
    """


@dataclass(frozen=True)
class Interpreter:
    """
    A Python to run contenders with: its path, and what goes before everything on its path.
    """

    python: str
    source: Path | None = None

    def environ(self) -> dict[str, str]:
        """
        Return the process environment to start it with.
        """
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        if self.source is not None:
            environ["PYTHONPATH"] = str(self.source)
        return environ


def here(python: str) -> dict[str, Interpreter]:
    """
    Return *python* as it is for every contender, and for crochet 2.1.1 nothing.
    """
    return {"ours": Interpreter(python, CHECKOUT / "src"), "others": Interpreter(python)}


def prepared(python: str, say: Say, *, afresh: bool = False) -> dict[str, Interpreter]:
    """
    Return the interpreters by role, made with *python* if they are not there yet.

    Args:
        python: the interpreter that the virtual environments are made from.
        say: called with a line about each environment that has to be made.
        afresh: install again, so that the newest release of every contender is measured.

    Raises:
        SetupError: an environment could not be made.
    """
    version = _output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    folder = CHECKOUT / ".venv"
    others = folder / f"bench-{version}-contenders"
    peer = folder / f"bench-{version}-crochet-2.1.1"
    _environment(python, others, ["Twisted>=24.10.0", *PEERS], say, afresh=afresh)
    twisted = _output(
        [_bin(others), "-c", "import importlib.metadata as m; print(m.version('Twisted'))"]
    )
    _environment(python, peer, [PEER, f"Twisted=={twisted}"], say, afresh=afresh)
    return {
        "ours": Interpreter(_bin(others), CHECKOUT / "src"),
        "others": Interpreter(_bin(others)),
        "peer": Interpreter(_bin(peer)),
    }


def _bin(environment: Path) -> str:
    return str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _environment(
    python: str, path: Path, requirements: list[str], say: Say, *, afresh: bool
) -> None:
    """
    Make the virtual environment at *path* with *requirements*, unless it has them.
    """
    stamp = path / "requirements.json"
    wanted = json.dumps(requirements)
    if not afresh and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    say(f"preparing {path.name}: {', '.join(requirements)}")
    # The stamp is written last: a set-up that was interrupted is done again.
    stamp.unlink(missing_ok=True)
    _output([python, "-m", "venv", "--clear", str(path)])
    pip = [_bin(path), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _output([*pip, "install", *requirements])
    stamp.write_text(wanted, encoding="utf-8")


def _output(command: list[str]) -> str:
    """
    Run *command* and return what it printed.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_BOUND)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()
