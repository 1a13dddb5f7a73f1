"""
Processes that are killed, and a server that stops, while results go to and fro between them.

What must hold: every retrieval gives the own value of a result, its own failure, or a true error:
that it is lost only if its owner was killed. CROCHET_CHAOS, in the environment, is how many rounds.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .conftest import KEY, LocalPlace, Place, RedisPlace
from .test_processes import Program

ROUNDS = int(os.environ.get("CROCHET_CHAOS", "30"))

_WORKER = """
from crochet._stash import redis
redis.LEASE, redis._RENEWAL, redis._TIMEOUT = 2.0, 0.5, 1.0

@crochet.run_in_reactor
def fail(tag):
    raise ValueError(tag)

@crochet.run_in_reactor
def large(tag):
    return tag + "x" * 100_000

crochet.setup(stash=eval(path))

def outcome(uid):
    for _ in range(100):
        try:
            result = crochet.retrieve_result(uid)
            break
        except (ConnectionError, crochet.TimeoutError):  # the server is away for now
            pass
    try:
        return result.wait(bound)[:20].rstrip("x")
    except crochet.ResultLost as error:
        return f"lost{error.pid}"
    except ValueError as error:
        return f"failed-{error}"

kinds = {
    "value": value,
    "fail": fail,
    "large": large,
    "later": lambda tag: later(0.05, tag),
    "never": lambda tag: never(),
}
for line in sys.stdin:
    word, *rest = line.split()
    if word == "start":
        result = kinds[rest[0]](rest[1])
        for _ in range(100):
            try:
                uid = result.stash()
                break
            except (ConnectionError, crochet.TimeoutError):
                pass
        print(uid, flush=True)
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


@pytest.fixture(params=[LocalPlace, RedisPlace], ids=lambda kind: kind.name)
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


def _is_true(told: str, started: Started, killed: set[int]) -> bool:
    """
    Tell whether that may have become of it.
    """
    own = f"failed-{started.tag}" if started.kind == "fail" else started.tag
    if told == f"lost{started.owner.pid}":
        return started.owner.pid in killed
    return told == own and started.kind != "never"


def test_every_retrieval_is_answered_truly(somewhere: Place) -> None:
    """
    Whoever is killed, and when.
    """
    chance = random.Random(ROUNDS)
    named = _named(somewhere)
    workers = [Program(named, _WORKER) for _ in range(4)]
    killed: set[int] = set()
    kept: list[Started] = []
    everyone = list(workers)
    told: list[tuple[Started, str]] = []
    try:
        for number in range(ROUNDS):
            owner = chance.choice(workers)
            kind = chance.choice(["value", "fail", "large", "later"])
            for kind_, tag in ((kind, f"t{number}"), ("never", f"n{number}")):
                owner.go_on(f"start {kind_} {tag}")
                kept.append(Started(owner.read(), kind_, tag, owner))
            if chance.random() < 0.3:  # its own takers, and others, wait for it or come later
                victim = chance.choice(workers)
                lost = [each for each in kept if each.owner is victim and each.kind == "never"]
                taker = next(each for each in workers if each is not victim)
                if lost:
                    kept.remove(lost[0])
                    taker.go_on(f"collect {lost[0].uid}")
                victim.kill()
                killed.add(victim.pid)
                workers.remove(victim)
                workers.append(Program(named, _WORKER))
                everyone.append(workers[-1])
                if lost:
                    told.append((lost[0], taker.read()))
            if isinstance(somewhere, RedisPlace) and chance.random() < 0.1:
                somewhere.server.signal(signal.SIGSTOP)
                workers[0].go_on("start value late")
                somewhere.server.signal(signal.SIGCONT)
                kept.append(Started(workers[0].read(), "value", "late", workers[0]))
            ready = [each for each in kept if each.kind != "never" or each.owner.pid in killed]
            for each in chance.sample(ready, min(len(ready), 2)):
                kept.remove(each)
                taker = chance.choice(workers)
                taker.go_on(f"collect {each.uid}")
                told.append((each, taker.read()))
        assert len(told) > ROUNDS
        assert [each for each in told if not _is_true(each[1], each[0], killed)] == []
        assert any(text.startswith("lost") for _, text in told)
    finally:
        for program in everyone:
            program.close()
