"""
Run the test suite on the built wheel, in a new environment for every Python found.

    python tools/matrix.py [--lowest] [--core]

Looks for the supported Pythons on PATH and among pyenv's versions, and says which are absent. The
one that runs this is left to `make test`.
With --lowest, the oldest Python found runs once more, with the oldest Twisted that is supported.
With --core, what is around the library is left out: the gate runs that on one Python only.
Ends with status 1 if any run failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".venv" / "matrix"
CLASSIFIER = re.compile(r"Python :: (3\.\d+)\"")
REQUIREMENT = re.compile(r"\"Twisted>=([\d.]+)\"")
# What the suite needs; without one of them it would skip what it is for.
CORE = ("test", "notebook")
GROUPS = (*CORE, "demo", "examples", "docs", "bench")
# Slow, and hardly to do with the Python that they run on.
AROUND = (
    "benchmarks",
    "crochet_pytest",
    "demo",
    "docs",
    "examples",
    "hazards",
    "ipython",
    "servers",
)
# A suite that runs several tests at once keeps two processors busy.
AT_ONCE = 2
BOUND = 1800.0


def supported() -> list[str]:
    """
    Return the versions that pyproject.toml names, lowest first.
    """
    found = CLASSIFIER.findall((ROOT / "pyproject.toml").read_text())
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def interpreter(version: str) -> str | None:
    """
    Return a working interpreter of that version, or None.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}") or ""]
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        # One of pyenv's shims may be there and lead nowhere: ask it.
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if candidate:
            asked = subprocess.run(command, capture_output=True, text=True, check=False)
            if asked.stdout.strip() == version:
                return candidate
    return None


def run_suite(
    python: str, wheel: Path, name: str, pins: list[str], groups: Iterable[str], ignored: list[str]
) -> tuple[str, int, str]:
    """
    Install the wheel and the suite's needs in a new environment and run the suite in it.
    """
    started = time.monotonic()
    environment = WORK / name
    output = []

    def run(*command: str | Path) -> int:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BOUND,
            check=False,
        )
        output.append(done.stdout)
        return done.returncode

    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    needs = [part for group in groups for part in ("--group", group)]
    cache = f"cache_dir={environment / 'pytest-cache'}"
    suite = (environment / "bin" / "python", "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal")
    suite += ("-o", cache, *ignored)
    status = (
        run(python, "-m", "venv", "--clear", environment)
        or run(*pip, "install", "--upgrade", "pip>=25.1")
        or run(*pip, "install", wheel, *pins, *needs)
    )
    if status == 0 and run(*suite) != 0:
        # Beside other suites, on two processors, a bound may be missed. What fails twice is wrong;
        # what fails once is in the output, and to be looked at.
        output.append("==== failed once; the same tests again:\n")
        status = run(*suite, "--last-failed")
    output.append(f"({time.monotonic() - started:.0f} s)\n")
    return name, status, "".join(output)


def main() -> int:
    """
    Build the wheel, run all suites, print their output and a summary.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lowest", action="store_true", help="also the oldest Twisted")
    parser.add_argument("--core", action="store_true", help="leave out what is around it")
    parser.add_argument("--around", action="store_true", help="only print how pytest leaves it out")
    arguments = parser.parse_args()
    groups = CORE if arguments.core else GROUPS
    ignored = [f"--ignore=tests/test_{name}.py" for name in AROUND]
    if arguments.around:
        print(*ignored)
        return 0
    if not arguments.core:
        ignored.clear()

    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "-w", WORK, ROOT], check=True
    )
    (wheel,) = WORK.glob("*.whl")

    jobs: list[tuple[str, str, list[str]]] = []
    for version in supported():
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue  # `make test` has run it
        python = interpreter(version)
        if python is None:
            print(f"SKIPPED Python {version}: not found on PATH or among pyenv's versions")
        else:
            jobs.append((python, f"python{version}", []))
    if arguments.lowest and jobs:
        (twisted,) = REQUIREMENT.findall((ROOT / "pyproject.toml").read_text())
        jobs.append((jobs[0][0], f"{jobs[0][1]}-twisted{twisted}", [f"Twisted=={twisted}"]))

    failed = []
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [
            pool.submit(run_suite, python, wheel, name, pins, groups, ignored)
            for python, name, pins in jobs
        ]
        for done in concurrent.futures.as_completed(runs):
            name, status, output = done.result()
            verdict = f"FAILED ({status})" if status else "ok"
            print(f"==== {name}: {verdict}\n{output}", flush=True)
            if status:
                failed.append(name)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} suites passed", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
