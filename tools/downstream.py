"""
Run public programs that depend on crochet with this checkout in its place.

    python tools/downstream.py

- fedora-messaging: the unit suite of its source distribution. It uses no_setup() beside a
  reactor that runs already, run_in_reactor, and results waited for by a blocking command.
- Scrapy: a crawl by CrawlerRunner under wait_for, from a plain script (examples/scrapy_crawl.py).

Each gets an environment of its own below .venv/downstream. Ends with status 1 if one failed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".venv" / "downstream"
BOUND = 600.0

FEDORA_MESSAGING = "3.9.1"
# What its metadata asks for. They are named here because that metadata has a requirement which
# only a pip older than 24.1 can read, and that one is not to choose all the others.
FEDORA_MESSAGING_NEEDS = [
    "blinker",
    "click",
    "jsonschema",
    "pika",
    "pyopenssl",
    "requests",
    "service-identity",
    "tomli",
    "treq",
    "mock",
    "pytest",
    "pytest-mock",
    "pytest-twisted",
]


class Failed(Exception):
    """
    A command of a program's run has not succeeded.
    """


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """
    Run a command, bounded; raise unless it succeeds.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=BOUND,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{command[0]} ended with status {done.returncode}")


def environment(name: str, *packages: str) -> Path:
    """
    Make an environment with this checkout and those packages; return its interpreter.
    """
    folder = WORK / name
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    pip(python, "install", str(ROOT), *packages)
    return python


def pip(python: Path, *arguments: str | Path) -> None:
    """
    Run pip in an environment.
    """
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)


def fedora_messaging() -> None:
    """
    Run its unit suite.
    """
    python = environment("fedora-messaging", *FEDORA_MESSAGING_NEEDS)
    pip(python, "install", "pip<24.1")
    folder = WORK / "fedora-messaging" / "source"
    requirement = f"fedora-messaging=={FEDORA_MESSAGING}"
    with contextlib.suppress(Failed):
        # It stumbles over that requirement here, too, but not before the archive is there.
        pip(python, "download", "--no-deps", "--no-binary", ":all:", "-d", folder, requirement)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (checkout,) = (path for path in folder.iterdir() if path.is_dir())
    pip(python, "install", "--no-deps", checkout)
    # Its own settings, none of those that stand in the folder above.
    alone = ("-c", "/dev/null", "--rootdir", str(checkout))
    suite = ("-m", "pytest", *alone, "--reactor=asyncio", "-q", "-W", "ignore", "tests/unit")
    run(python, *suite, cwd=checkout)


def scrapy() -> None:
    """
    Run the example's crawl.
    """
    python = environment("scrapy", "scrapy")
    run(python, ROOT / "examples" / "scrapy_crawl.py")


def main() -> int:
    """
    Run all programs and print a summary.
    """
    shutil.rmtree(WORK, ignore_errors=True)
    failures = 0
    for program in (fedora_messaging, scrapy):
        print(f"==== {program.__name__}", flush=True)
        try:
            program()
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"FAILED: {error}", flush=True)
            failures += 1
    print(f"{2 - failures} of 2 programs work")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
