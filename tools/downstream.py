"""
Run public programs that depend on crochet, or load it, with this checkout in its place.

    python tools/downstream.py

- fedora-messaging: the unit suite of its source distribution. It uses no_setup() beside a
  reactor that runs already, run_in_reactor, and results waited for by a blocking command.
- Scrapy: a crawl by CrawlerRunner under wait_for, from a plain script (examples/scrapy_crawl.py).
- autobahn-sync: a session with a small router in the same reactor. Its thread for callbacks is no
  daemon, and is told to end by what it gives to register(); so what is seen is that this ends.
- pytest, the oldest that may have crochet installed beside it, and the newest: a run that does not
  use the plugin, and one that uses all of it. On the lowest supported Python that is found.

Each gets an environment of its own below .venv/downstream. Ends with status 1 if one failed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from matrix import interpreter, supported

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

AUTOBAHN_SYNC = """
import json, threading
import crochet
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn_sync import AutobahnSync

HELLO, WELCOME, GOODBYE, PUBLISH, SUBSCRIBE, SUBSCRIBED, EVENT = 1, 2, 6, 16, 32, 33, 36

class Router(WebSocketServerProtocol):
    def onConnect(self, request):
        return "wamp.2.json"

    def onMessage(self, payload, isBinary):
        kind, *rest = json.loads(payload)
        answer = {
            HELLO: lambda: [WELCOME, 1, {"roles": {"broker": {}}}],
            SUBSCRIBE: lambda: [SUBSCRIBED, rest[0], 5],
            PUBLISH: lambda: [EVENT, 5, 7, {}, *rest[3:]],
            GOODBYE: lambda: [GOODBYE, {}, "wamp.close.goodbye_and_out"],
        }[kind]()
        self.sendMessage(json.dumps(answer).encode())

crochet.setup()

@crochet.wait_for(timeout=30)
def listen():
    from twisted.internet import reactor
    factory = WebSocketServerFactory(protocols=["wamp.2.json"])
    factory.protocol = Router
    return reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port

app, heard = AutobahnSync(), threading.Event()
app.run(url=f"ws://127.0.0.1:{listen()}/ws")

@app.subscribe("com.example.greeting")
def greet(name):
    print("hello", name, flush=True)
    heard.set()

app.session.publish("com.example.greeting", "world")
assert heard.wait(30)
"""


# The oldest has a pluggy of its time, for a younger one takes what that does not.
PYTESTS = {"oldest": ["pytest==6.2.5", "pluggy==0.13.1"], "newest": ["pytest"]}
UNUSED = """
def test_nothing_is_imported():
    import sys

    assert "_crochet_pytest" in sys.modules and "crochet" not in sys.modules
"""
USED = """
import threading

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from crochet import wait_for

MAIN = threading.get_ident()
ident = wait_for(timeout=5)(threading.get_ident)


@pytest.mark.crochet
@pytest.mark.parametrize("number", [1, 2])
async def test_coroutine(number):
    from twisted.internet import reactor

    await deferLater(reactor, 0.001)
    assert threading.get_ident() != MAIN


class TestMethods:
    @pytest.mark.crochet(timeout=5)
    def test_deferred(self):
        assert threading.get_ident() != MAIN
        return succeed(None)


@pytest.mark.xfail(strict=True)
@pytest.mark.crochet(timeout=0.05)
async def test_that_takes_too_long():
    await Deferred()


def test_reactor(crochet_reactor):
    assert ident() != MAIN


def test_session(crochet_session):
    assert ident() != MAIN


def test_clock(crochet_clock):
    deferred = Deferred()
    crochet_clock.callLater(3, deferred.callback, 8)
    assert wait_for(timeout=5)(lambda: deferred)() == 8
    assert ident() == MAIN

"""


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


def environment(name: str, *packages: str, python: str = sys.executable) -> Path:
    """
    Make an environment with this checkout and those packages; return its interpreter.
    """
    folder = WORK / name
    run(python, "-m", "venv", "--clear", folder)
    made = folder / "bin" / "python"
    pip(made, "install", str(ROOT), *packages)
    return made


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


def autobahn_sync() -> None:
    """
    Run the session.
    """
    python = environment("autobahn-sync", "autobahn-sync")
    run(python, "-c", AUTOBAHN_SYNC)


def pytests() -> None:
    """
    Run a suite that does not use the plugin, and one that does, with each.
    """
    lowest = next(filter(None, map(interpreter, supported())), sys.executable)
    for age, packages in PYTESTS.items():
        python = environment(f"pytest-{age}", *packages, python=lowest)
        folder = WORK / f"pytest-{age}" / "suite"
        folder.mkdir()
        alone = ("-c", "/dev/null", "--rootdir", folder, "-p", "no:cacheprovider", "-q")
        for name, text in (("test_unused.py", UNUSED), ("test_used.py", USED)):
            (folder / name).write_text(text)
            run(python, "-m", "pytest", *alone, "--strict-markers", "-W", "error", folder / name)


def main() -> int:
    """
    Run all programs and print a summary.
    """
    shutil.rmtree(WORK, ignore_errors=True)
    failures = 0
    programs = (pytests, fedora_messaging, scrapy, autobahn_sync)
    for program in programs:
        print(f"==== {program.__name__}", flush=True)
        try:
            program()
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"FAILED: {error}", flush=True)
            failures += 1
    print(f"{len(programs) - failures} of {len(programs)} programs work")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
