"""
Processes that are killed and recycled, clocks that jump, and a server that stops and is started
anew, while results go to and fro between them.

What must hold: every retrieval gives the own value of a result, its own failure, or a true error:
that it is lost only if its owner has ended, that there is none only if its time was short.
CROCHET_CHAOS, in the environment, is how many rounds, of two results each.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .conftest import KEY, LocalPlace, Place, RedisPlace
from .test_processes import Program
from .test_redis import KeepingPlace

ROUNDS = int(os.environ.get("CROCHET_CHAOS", "30"))

_WORKER = """
import time
from twisted.internet.defer import CancelledError
from crochet._stash import redis
redis.LEASE, redis._RENEWAL, redis._GRACE, redis._TIMEOUT = 2.0, 0.5, 3.5, 1.0

@crochet.run_in_reactor
def fail(tag):
    raise ValueError(tag)

@crochet.run_in_reactor
def large(tag):
    return tag + "x" * 100_000

crochet.setup(stash=eval(path), drain=0.5)

def until_it_is_there(function, *args):
    for _ in range(200):
        try:
            return function(*args)
        except (ConnectionError, crochet.TimeoutError):  # the server is away for now
            time.sleep(0.05)

def outcome(uid):
    try:
        result = until_it_is_there(crochet.retrieve_result, uid)
        return result.wait(bound)[:20].rstrip("x")
    except crochet.ResultLost as error:
        return f"lost{error.pid}"
    except ValueError as error:
        return f"failed-{error}"
    except CancelledError:
        return "expired"
    except KeyError:
        return "expired"

kinds = {
    "value": value,
    "fail": fail,
    "large": large,
    "later": lambda tag: later(0.05, tag),
    "never": lambda tag: never(),
    "brief": lambda tag: never(),
    "short": value,
}
ahead, true_time = 0.0, time.time
time.time = lambda: true_time() + ahead
for line in sys.stdin:
    word, *rest = line.split()
    if word == "start":
        result = kinds[rest[0]](rest[1])
        ttl = 0.1 if rest[0] in ("brief", "short") else 3600.0
        print(until_it_is_there(result.stash, ttl), flush=True)
    elif word == "jump":
        ahead += float(rest[0])
    else:
        print(outcome(rest[0]), flush=True)
"""


class Started(NamedTuple):
    """
    A result, and what is known of it.
    """

    uid: str
    kind: str
    tag: str
    owner: Program
    at: float


@pytest.fixture(params=[LocalPlace, KeepingPlace], ids=["local", "redis"])
def somewhere(request: pytest.FixtureRequest) -> Iterator[Place]:
    """
    A stash that is shared.
    """
    place = request.param()
    yield place
    place.close()


def _named(place: Place) -> str:
    if isinstance(place, RedisPlace):
        return f"redis.RedisStash({place.server.url!r}, key={KEY!r})"
    return f"crochet.LocalStash({str(place.path)!r})"  # type: ignore[attr-defined]


class Chaos:
    """
    Four workers, what they have started, and what goes wrong.
    """

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._named = _named(place)
        self._everyone: list[Program] = []
        self._workers: list[Program] = []
        self._ended: set[int] = set()
        self._kept: list[Started] = []
        self.told: list[tuple[Started, str]] = []
        for _ in range(4):
            self._begin()

    def _begin(self) -> None:
        self._workers.append(Program(self._named, _WORKER))
        self._everyone.append(self._workers[-1])

    def start(self, kind: str, tag: str) -> None:
        """
        Have somebody start something.
        """
        owner = self._chance.choice(self._workers)
        owner.go_on(f"start {kind} {tag}")
        self._kept.append(Started(owner.read(), kind, tag, owner, time.monotonic()))

    def collect(self) -> None:
        """
        Have somebody collect something that has an answer, or will have one.
        """
        now = time.monotonic()
        ready = [each for each in self._kept if self._will_be_answered(each, now)]
        for each in self._chance.sample(ready, min(len(ready), 2)):
            self._kept.remove(each)
            taker = self._chance.choice(self._workers)
            taker.go_on(f"collect {each.uid}")
            self.told.append((each, taker.read()))

    def _will_be_answered(self, started: Started, now: float) -> bool:
        if started.kind == "never":
            return started.owner.pid in self._ended
        # Who takes it before its time is over may wait for ever.
        return started.kind != "brief" or now - started.at > 0.3

    def end_worker(self) -> None:
        """
        Kill or recycle a worker, while another one waits for something of it.
        """
        victim = self._chance.choice(self._workers)
        self._workers.remove(victim)
        lost = [each for each in self._kept if each.owner is victim and each.kind == "never"][:1]
        taker = self._chance.choice(self._workers)
        for each in lost:
            self._kept.remove(each)
            taker.go_on(f"collect {each.uid}")
        if self._chance.random() < 0.5:
            victim.kill()
        else:
            victim.end()
        self._ended.add(victim.pid)
        self._begin()
        for each in lost:
            self.told.append((each, taker.read()))

    def replace_all(self) -> None:
        """
        Have new workers take the places of all, as HUP does.
        """
        before, self._workers = self._workers, []
        for _ in before:
            self._begin()
        for each in before:
            each.end()
            self._ended.add(each.pid)

    def jump(self) -> None:
        """
        Set somebody's clock, by less than what is kept for long is kept for.
        """
        seconds = self._chance.choice([-600, 600])
        self._chance.choice(self._workers).go_on(f"jump {seconds}")

    def stop_server(self) -> None:
        """
        Stop the server, or kill it, while somebody wants something of it.
        """
        assert isinstance(self._place, RedisPlace)
        server = self._place.server
        worker = self._workers[0]
        if self._chance.random() < 0.7:
            server.signal(signal.SIGSTOP)
            worker.go_on("start value late")
            server.signal(signal.SIGCONT)
        else:
            server.stop()
            worker.go_on("start value late")
            server.start()
        self._kept.append(Started(worker.read(), "value", "late", worker, time.monotonic()))

    def take_a_round(self, number: int) -> None:
        """
        Start two, let something happen, and collect two.
        """
        kinds = ["value", "fail", "large", "later", "short", "brief"]
        self.start(self._chance.choice(kinds), f"t{number}")
        self.start("never" if number % 2 else "later", f"n{number}")
        event = self._chance.random()
        if event < 0.2:
            self.end_worker()
        elif event < 0.23:
            self.replace_all()
        elif event < 0.3:
            self.jump()
        elif event < 0.4 and isinstance(self._place, RedisPlace):
            self.stop_server()
        self.collect()

    def untrue(self) -> list[tuple[Started, str]]:
        """
        Return what was told, and cannot have become of it.
        """
        return [each for each in self.told if not self._is_true(*each)]

    def _is_true(self, started: Started, told: str) -> bool:
        if told == f"lost{started.owner.pid}":
            return started.owner.pid in self._ended
        if told == "expired":
            return started.kind in ("brief", "short")
        own = f"failed-{started.tag}" if started.kind == "fail" else started.tag
        return told == own and started.kind not in ("never", "brief")

    def close(self) -> None:
        """
        End all.
        """
        for program in self._everyone:
            program.close()


def test_every_retrieval_is_answered_truly(somewhere: Place) -> None:
    """
    Whatever happens, and when.
    """
    if ROUNDS > 100:
        faulthandler.cancel_dump_traceback_later()  # the bound of a test, which this one is beyond
    chaos = Chaos(somewhere, ROUNDS)
    try:
        for number in range(ROUNDS):
            chaos.take_a_round(number)
        assert chaos.untrue() == []
        assert len(chaos.told) > ROUNDS
        texts = {text.rstrip("0123456789") for _, text in chaos.told}
        assert {"lost", "t", "expired", "failed-t"} <= texts
    finally:
        chaos.close()
