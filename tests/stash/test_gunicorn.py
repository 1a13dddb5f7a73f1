"""
Results that outlive gunicorn's workers, which it recycles and replaces.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crochet
from support.stepping import BOUND, wait_until

from .conftest import KEY, LocalPlace, Place, RedisPlace

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

_APPLICATION = """
import os
import crochet
from crochet._stash.redis import RedisStash
from twisted.internet import task

stash = eval(os.environ["STASH"])
crochet.setup(stash=stash, drain=float(os.environ["DRAIN"]))

@crochet.run_in_reactor
def later(seconds, tag):
    from twisted.internet import reactor
    return task.deferLater(reactor, seconds, lambda: tag)

def app(environ, start_response):
    _, word, *rest = environ["PATH_INFO"].split("/")
    try:
        if word == "start":
            text = later(float(rest[0]), rest[1]).stash()
        elif word == "look":
            result = crochet.peek_result(rest[0])
            text = result.wait(0) if result.done() else "pending"
        else:
            text = crochet.retrieve_result(rest[0]).wait(20)
    except crochet.ResultLost as error:
        text = f"lost {error.pid}"
    except KeyError:
        text = "unknown"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {text}".encode()]
"""


class Workers:
    """
    An application with two workers.
    """

    def __init__(self, folder: Path, place: Place, *options: str, drain: float) -> None:
        (folder / "application.py").write_text(_APPLICATION)
        if isinstance(place, RedisPlace):
            stash = f"RedisStash({place.server.url!r}, key={KEY!r})"
        else:
            assert isinstance(place, LocalPlace)
            stash = f"crochet.LocalStash({str(place.path)!r})"
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._port = listening.getsockname()[1]
            command = f"""
                -m gunicorn -w 2 -k gthread --threads 8 --log-level error --keep-alive 0
                --bind fd://{listening.fileno()}
            """
            source = os.path.dirname(os.path.dirname(crochet.__file__))
            self._process = subprocess.Popen(
                [sys.executable, *command.split(), *options, "application:app"],
                cwd=folder,
                pass_fds=[listening.fileno()],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([source, *filter(None, sys.path)]),
                    "STASH": stash,
                    "DRAIN": str(drain),
                },
            )

    def ask(self, path: str) -> tuple[int, str]:
        """
        Return which worker has answered a request, and what.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=BOUND)
        try:
            connection.request("GET", path)
            pid, _, text = connection.getresponse().read().decode().partition(" ")
            return int(pid), text
        finally:
            connection.close()

    def start(self, seconds: float, tag: str) -> str:
        """
        Start an operation, and return its number.
        """
        return self.ask(f"/start/{seconds}/{tag}")[1]

    def replace(self) -> None:
        """
        Have new workers take over.
        """
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """
        End it.
        """
        self._process.terminate()
        try:
            assert self._process.wait(BOUND) == 0
        finally:
            self._process.kill()
            self._process.wait(BOUND)


@pytest.fixture(params=[LocalPlace, RedisPlace], ids=lambda kind: kind.name)
def somewhere(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    A stash that is shared.
    """
    place = request.param()
    yield place
    place.close()


def test_workers_are_recycled(somewhere: Place, tmp_path: Path) -> None:
    """
    By ``max_requests``, under operations that run. These end first; each is collected once.
    """
    workers = Workers(tmp_path, somewhere, "--max-requests", "3", drain=10)
    try:
        uids = {workers.start(0.3, f"t{number}"): f"t{number}" for number in range(8)}
        pids = set()
        for uid, tag in uids.items():
            pid, text = workers.ask(f"/collect/{uid}")
            assert text == tag
            pids.add(pid)
        assert workers.ask(f"/collect/{uid}")[1] == "unknown"
        assert len(pids) > 2
    finally:
        workers.close()


def test_workers_are_replaced(somewhere: Place, tmp_path: Path) -> None:
    """
    By HUP. What was answered is there, and what runs has the time to end.
    """
    preload = ["--preload"] if isinstance(somewhere, LocalPlace) else []
    workers = Workers(tmp_path, somewhere, *preload, drain=10)
    try:
        uids = {workers.start(number % 2, f"t{number}"): f"t{number}" for number in range(8)}
        workers.replace()
        assert {uid: workers.ask(f"/collect/{uid}")[1] for uid in uids} == uids
    finally:
        workers.close()


def test_what_has_no_time_to_end_is_lost(somewhere: Place, tmp_path: Path) -> None:
    """
    And who looks again and again sees that.
    """
    workers = Workers(tmp_path, somewhere, drain=0)
    try:
        owner, uid = workers.ask("/start/1000/never")
        answered = workers.start(0, "done")
        workers.replace()
        wait_until(lambda: workers.ask(f"/look/{uid}")[1] != "pending", "it is pending")
        assert workers.ask(f"/look/{uid}")[1] == f"lost {owner}"
        assert workers.ask(f"/collect/{answered}")[1] == "done"
    finally:
        workers.close()
