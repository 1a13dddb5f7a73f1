"""
Every program in examples/ does what it says, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.request import urlopen

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# Seconds in which anything here is long done, on a busy machine too. Their end is a failure.
BOUND = 120.0
# What twisted.conch imports: spwd, deprecated in 3.11 and gone in 3.13, where it does without; and,
# up to Twisted 24.10, ciphers from where cryptography no longer wants them to be.
CONCH = ("-W", "ignore:'spwd' is deprecated", "-W", "ignore:TripleDES", "-W", "ignore:Blowfish")
# Up to 2.12, Scrapy imports this from Twisted, which deprecated it in 24.7.
SCRAPY = ("-W", "ignore:twisted.web.http.HTTPClient")


def needs(*modules: str) -> pytest.MarkDecorator:
    """
    Skip a test where an optional package is not installed, and say which.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def python(*arguments: str) -> list[str]:
    """
    Return a command that runs Python and takes every warning for an error.
    """
    return [sys.executable, "-W", "error", "-u", *arguments]


def environment(tmp_path: Path) -> dict[str, str]:
    """
    Return the environment for a process, with its temporary files in the test's directory.
    """
    return {**os.environ, "TMPDIR": str(tmp_path)}


def give_up(command: list[str], stdout: str, stderr: str) -> NoReturn:
    """
    Fail with all that a process said before its time ran out.
    """
    pytest.fail(
        f"{shlex.join(command)} took longer than {BOUND} s\n"
        f"--- stdout\n{stdout}\n--- stderr\n{stderr}"
    )


def run(command: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end. Blocks: up to BOUND seconds, then fails with its output.
    """
    with subprocess.Popen(
        command,
        cwd=EXAMPLES,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            give_up(command, stdout, stderr)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def output_of(command: list[str], tmp_path: Path) -> str:
    """
    Run a program that must succeed without a word on stderr, and return what it printed.
    """
    done = run(command, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


class Server:
    """
    A running example, which serves until it is interrupted.
    """

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self._process = process
        self._stderr = stderr
        self._stdout = b""

    def read_until(self, pattern: str) -> re.Match[str]:
        """
        Wait until what was printed matches. Blocks: up to BOUND seconds, then fails.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while (match := re.search(pattern, self._stdout.decode())) is None:
                if not selector.select(timeout=BOUND):
                    self._fail()
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, f"ended without {pattern!r}: {self._stdout!r} {self.stderr()}"
                self._stdout += data
        return match

    def interrupt(self) -> tuple[int, str]:
        """
        Press Ctrl-C. Blocks: up to BOUND seconds for the end, then fails.

        Returns:
            The exit status, and what was printed since the last match.
        """
        self._process.send_signal(signal.SIGINT)
        try:
            rest, _ = self._process.communicate(timeout=BOUND)
        except subprocess.TimeoutExpired:
            self._fail()
        return self._process.returncode, rest.decode()

    def stderr(self) -> str:
        """
        Return what stands on stderr so far.
        """
        return self._stderr.read_text()

    def _fail(self) -> NoReturn:
        self._process.kill()
        rest, _ = self._process.communicate()
        give_up(self._process.args, (self._stdout + rest).decode(), self.stderr())


@contextmanager
def serving(command: list[str], tmp_path: Path) -> Iterator[Server]:
    """
    Run an example that serves; it is killed if the test did not end it.
    """
    stderr = tmp_path / "stderr"
    # A process that ignores Ctrl-C, as a shell's background job does, has children that ignore
    # it. With a handler of its own, whichever, its children start with the default one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stderr.open("wb") as stderr_file:
            process = subprocess.Popen(
                command,
                cwd=EXAMPLES,
                env=environment(tmp_path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr_file,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield Server(process, stderr)
        finally:
            if process.poll() is None:
                process.kill()


interruptible = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process"
)


def fetch(url: str) -> str:
    """
    Fetch a page. Blocks: up to BOUND seconds.
    """
    with urlopen(url, timeout=BOUND) as response:
        return response.read().decode()


def test_all_are_listed() -> None:
    """
    README.md has a line for every example, and this file a test that runs it.
    """
    files = {path.name for path in EXAMPLES.glob("*.py")}
    listed = re.findall(r"^\| \[`(.+?)`\]\(\1\) \| \S", (EXAMPLES / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(files)
    tests = Path(__file__).read_text()
    assert {name for name in files if f'"{name}"' not in tests} == set()


def test_dns_lookup(tmp_path: Path) -> None:
    """
    Without a server it asks one of its own; the preferred mail server comes first.
    """
    assert output_of(python("dns_lookup.py"), tmp_path).splitlines() == [
        "example.test has address 192.0.2.10",
        "example.test mail goes to mail.example.test at 192.0.2.25",
        "example.test mail goes to backup.example.test at 192.0.2.26 192.0.2.27",
    ]


def test_dns_lookup_async(tmp_path: Path) -> None:
    """
    The one with coroutines finds the same.
    """
    assert output_of(python("dns_lookup_async.py"), tmp_path).splitlines() == [
        "example.test has address 192.0.2.10",
        "mail.example.test has address 192.0.2.25",
        "backup.example.test has address 192.0.2.26 192.0.2.27",
    ]


@pytest.mark.parametrize("example", ["dns_lookup.py", "dns_lookup_async.py"])
def test_dns_unknown_name(example: str, tmp_path: Path) -> None:
    """
    A name that the server does not know is one line on stderr, and a failure.
    """
    done = run(python(example, "nobody.example.test"), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "nobody.example.test: the server knows no such name\n"


DNS_SERVER = """
from loopback.dns import serve
from twisted.internet import reactor

print("%s:%d" % serve(reactor))
reactor.run()
"""


@interruptible
@pytest.mark.parametrize("example", ["dns_lookup.py", "dns_lookup_async.py"])
def test_dns_other_server(example: str, tmp_path: Path) -> None:
    """
    With --server it asks that one: here, one that runs in another process.
    """
    with serving(python("-c", DNS_SERVER), tmp_path) as server:
        address = server.read_until(r"(.+)\n")[1]
        command = python(example, "--server", address, "www.example.test")
        assert "www.example.test has address 192.0.2.10\n" in output_of(command, tmp_path)


@interruptible
@pytest.mark.parametrize("example", ["dns_lookup.py", "dns_lookup_async.py"])
def test_dns_interrupted(example: str, tmp_path: Path) -> None:
    """
    Ctrl-C while it waits for a server that never answers ends it, with the usual status.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(BOUND)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with serving(python(example, "--server", address), tmp_path) as lookup:
            query = silent.recv(512)
            assert b"\x07example\x04test\x00" in query
            assert lookup.interrupt() == (-signal.SIGINT, "")
            assert "\nKeyboardInterrupt\n" in lookup.stderr()


@needs("flask")
def test_background_rates(tmp_path: Path) -> None:
    """
    The page shows rates, and newer ones without anybody having asked for them.
    """
    page = output_of(python("background_rates.py", "--once"), tmp_path)
    edition = re.search(r"<h1>Edition (\d+)</h1>", page)
    assert edition is not None
    assert int(edition[1]) >= 2
    assert re.search(r"1 USD = 0\.9\d\d EUR", page)


@needs("flask")
@interruptible
def test_background_rates_interrupted(tmp_path: Path) -> None:
    """
    It serves several visitors, until Ctrl-C ends it without a word.
    """
    with serving(python("background_rates.py"), tmp_path) as server:
        url = server.read_until(r"Serving (\S+), Ctrl-C.*\n")[1]
        assert "JPY" in fetch(url)
        assert "JPY" in fetch(url)
        assert server.interrupt() == (0, "")
        assert server.stderr() == ""


@needs("flask")
def test_wsgi_no_setup(tmp_path: Path) -> None:
    """
    A Flask view in the reactor's thread pool calls a `wait_for` function.
    """
    page = output_of(python("wsgi_no_setup.py", "--once"), tmp_path)
    assert page == '{"example.test":["192.0.2.10"]}\n'


@needs("flask")
@interruptible
def test_wsgi_no_setup_interrupted(tmp_path: Path) -> None:
    """
    It serves several visitors, until Ctrl-C ends it without a word.
    """
    with serving(python("wsgi_no_setup.py"), tmp_path) as server:
        url = server.read_until(r"Serving (\S+), Ctrl-C.*\n")[1]
        assert "192.0.2.10" in fetch(url)
        assert "192.0.2.25" in fetch(url.replace("example.test", "mail.example.test"))
        assert server.interrupt() == (0, "")
        assert server.stderr() == ""


@needs("bcrypt", "cryptography")
def test_ssh_shell(tmp_path: Path) -> None:
    """
    A client logs in, changes the program's state and sees it changed.
    """
    shown = output_of(python(*CONCH, "ssh_shell.py", "--once"), tmp_path)
    assert "(2, ['tea', 'cake'])" in shown.splitlines()


@needs("bcrypt", "cryptography")
@interruptible
@pytest.mark.skipif(shutil.which("ssh") is None, reason="not installed: ssh")
def test_ssh_shell_openssh(tmp_path: Path) -> None:
    """
    The command it prints logs OpenSSH in; Ctrl-C ends the program and removes the keys.
    """
    with serving(python(*CONCH, "ssh_shell.py"), tmp_path) as server:
        command = server.read_until(r"(ssh .+)\n(?s:.*)Ctrl-C here ends.*\n")[1]
        # Twice -t: a terminal even though ours is a pipe. No configuration of whoever tests.
        ssh = ["ssh", "-F", os.devnull, "-t", *shlex.split(command)[1:]]
        session = subprocess.run(
            ssh,
            input=b"orders.append('scones')\rorders.count('scones') * 1001\r\x04",
            capture_output=True,
            timeout=BOUND,
            check=False,
        )
        # Its status says nothing: conch ends a session without one, which OpenSSH calls 255.
        assert b"\n1001\r\n" in session.stdout, session.stderr
        status, rest = server.interrupt()
        assert status == 0
        assert re.search(r"^\d+ orders taken\n$", rest, re.M)
        assert "Traceback" not in server.stderr()
    assert [path.name for path in tmp_path.iterdir()] == ["stderr"]


@needs("httpx", "httpx_sse")
def test_httpx_events(tmp_path: Path) -> None:
    """
    A page and some events; the server has noticed by the next page that nobody watches any more.
    """
    assert output_of(python("httpx_events.py"), tmp_path).splitlines() == [
        "rates, as events",
        "rates 0.9",
        "rates 0.901",
        "rates 0.902",
        "left: 0 visitors watch",
    ]


@needs("mcp")
def test_mcp_session(tmp_path: Path) -> None:
    """
    A session with a server in a process of its own, which ends with it.
    """
    assert output_of(python("mcp_session.py"), tmp_path).splitlines() == [
        "lend: Lend a book.",
        "Emma is yours for 3 weeks",
    ]


@needs("scrapy")
def test_scrapy_crawl(tmp_path: Path) -> None:
    """
    A crawl returns what it found on all pages, and another can follow in the same process.
    """
    lines = output_of(python(*SCRAPY, "scrapy_crawl.py"), tmp_path).splitlines()
    assert lines[:-1] == [f"Knitting, volume {number}" for number in range(1, 7)]
    assert lines[-1] == "and again: 6 books"


@needs("scrapy", "flask")
def test_scrapy_view(tmp_path: Path) -> None:
    """
    Each request to a Flask page crawls anew, and so does a job in the background.
    """
    lines = output_of(python(*SCRAPY, "scrapy_view.py", "--once"), tmp_path).splitlines()
    titles = [f"Knitting, volume {number}" for number in range(1, 7)]
    assert lines == [*titles, "6 books by the job"]


CELL = """
import scrapy
from scrapy.crawler import AsyncCrawlerRunner
from crochet import setup, wait_for

setup(reactor="asyncio", stall_warning=None)

@wait_for(timeout=60.0)
def crawl(spider, url):
    return AsyncCrawlerRunner().crawl(spider, start_urls=[url])  # a task of asyncio's
"""
NOTEBOOK = """
import asyncio, sys

def run(cell):
    exec(compile(cell, "<ipython-input-1>", "exec"), globals())

async def main():
    run(sys.argv[1])
    run("from scrapy_crawl import BooksSpider, loopback_shop")
    run("url = loopback_shop()")
    for _ in range(3):
        run(sys.argv[1])
        run("crawl(BooksSpider, url)")
        print("crawled")

asyncio.run(main())
"""


@needs("scrapy")
def test_scrapy_in_a_notebook(tmp_path: Path) -> None:
    """
    In a thread with an event loop of its own, a cell is run again and again, each time as written.
    """
    from scrapy import crawler

    if not hasattr(crawler, "AsyncCrawlerRunner"):
        pytest.skip("Scrapy has it from 2.13 on")
    assert output_of(python(*SCRAPY, "-c", NOTEBOOK, CELL), tmp_path) == 3 * "crawled\n"


def test_unit_testing(tmp_path: Path) -> None:
    """
    The tests pass when the file is run, with unittest's runner.
    """
    done = run(python("unit_testing.py"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\nRan 6 tests in .*\n\nOK\n$", done.stderr), done.stderr


def test_unit_testing_with_trial(tmp_path: Path) -> None:
    """
    The tests pass with Twisted's runner, too.
    """
    trial = ["-m", "twisted.trial", f"--temp-directory={tmp_path / 'trial'}", "unit_testing"]
    # Trial loads all of Twisted's plugins, conch's among them.
    assert "PASSED (successes=6)" in output_of(python(*CONCH, *trial), tmp_path)


def test_unit_testing_needs_no_reactor(tmp_path: Path) -> None:
    """
    To define and test Crochet functions neither installs a reactor nor starts a thread.
    """
    program = (
        "import sys, threading, unittest, unit_testing\n"
        "unittest.main(unit_testing, exit=False)\n"
        "print(threading.active_count(), 'twisted.internet.reactor' in sys.modules)\n"
    )
    done = run(python("-c", program), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr
    assert done.stdout == "1 False\n"
