"""
What is measured, with which sizes and how often, and the report that comes of it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import platform
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import conductor, figures
from benchmarks.contenders import CONTENDERS, FORMS, REFERENCES
from benchmarks.environments import Interpreter

SCHEMA = "crochet-benchmarks/1"

#: The two that share an API, and so the measures that only make sense for it.
CROCHETS = ("crochet", "crochet-2.1.1")

#: What ends the name of a measure that keeps all threads on one processor.
PINNED = "_pinned"

#: Every measure, in the order they run, with what its figure is.
MEASURES = {
    "round_trip": "seconds per blocking call of a no-op, one calling thread",
    "round_trip_pinned": "processor seconds per such call, all threads on one processor",
    "await": "seconds per await of a no-op in another thread's loop, one after the other",
    "await_pinned": "processor seconds per such await, all threads on one processor",
    "await_gathered": "seconds per await of many that are gathered at once",
    "await_gathered_pinned": "processor seconds per such await, all threads on one processor",
    "stall": "seconds of the longest turn of a loop in which many tasks await at once",
    "coroutine": "seconds per blocking call of an asyncio coroutine that returns",
    "coroutine_pinned": "processor seconds per such call, all threads on one processor",
    "coroutine_sleep": "seconds per blocking call of one that awaits asyncio.sleep(0)",
    "coroutine_sleep_pinned": "processor seconds per such call, all threads on one processor",
    "burst": "seconds per call to submit a burst without waiting for answers",
    "threads": "blocking calls of a no-op per second, many calling threads",
    "threads_pinned": "such calls per processor second, all threads on one processor",
    "memory": "bytes that one pending result on a Deferred keeps alive",
    "pending": "processor seconds per result in each step of its life, at n and 10 n pending",
    "waiters": "processor seconds per thread to enter and leave a wait, at n and 10 n waiting",
    "timeouts": "processor seconds per wait that times out, of n and 10 n at the same moment",
    "status": "processor seconds of status() with many calls in flight",
    "futures": "bytes in use as rounds of requests are collected as futures complete",
    "idle": "wake-ups of all threads of a process in which nothing happens",
    "import": "processor seconds to import crochet after twisted.internet.defer",
}

#: The measures that a block in each worker takes.
BLOCKS = (
    "round_trip",
    "await",
    "await_gathered",
    "stall",
    "coroutine",
    "coroutine_sleep",
    "burst",
    "threads",
)

_IN_FRESH_PROCESSES = (
    *("memory", "pending", "waiters", "timeouts", "status", "futures", "import"),
)

_AWAITED = ("crochet", "crochet-asyncio", "crochet-uvloop", "asyncio", "uvloop")
_DRIVING = (
    *("crochet-asyncio", "asyncio", "anyio", "asgiref"),
    *("crochet-uvloop", "uvloop", "anyio-uvloop", "asgiref-uvloop"),
)
_PLAIN = tuple(key for key in CONTENDERS if key not in FORMS)

#: Who takes part in a block, where that is not everyone in the plain form.
TAKE_PART = {
    "round_trip": (*_PLAIN, "crochet-unnoted"),
    "await": _AWAITED,
    "await_gathered": _AWAITED,
    "stall": _AWAITED,
    "coroutine": _DRIVING,
    "coroutine_sleep": _DRIVING,
}


@dataclass
class Plan:
    """
    The sizes and the rounds of one run.
    """

    seed: int = 1
    gc: bool = True
    round_trip_calls: int = 300
    round_trip_rounds: int = 150
    await_calls: int = 300
    await_rounds: int = 60
    await_gathered_calls: int = 500
    await_gathered_rounds: int = 60
    stall_calls: int = 500
    stall_rounds: int = 30
    coroutine_calls: int = 300
    coroutine_rounds: int = 60
    coroutine_sleep_calls: int = 300
    coroutine_sleep_rounds: int = 60
    burst_calls: int = 10_000
    burst_rounds: int = 12
    threads_callers: int = 64
    threads_calls: int = 20
    threads_rounds: int = 40
    memory_results: int = 10_000
    memory_rounds: int = 3
    pending_results: int = 10_000
    pending_rounds: int = 3
    waiters_threads: int = 100
    waiters_rounds: int = 7
    timeouts_threads: int = 100
    timeouts_rounds: int = 5
    status_calls: int = 1_000
    status_rounds: int = 10
    futures_requests: int = 1_000
    futures_rounds: int = 1
    idle_seconds: float = 10.0
    import_rounds: int = 30

    @classmethod
    def quick(cls) -> Plan:
        """
        Return a plan that shows a tendency in well under a minute or two.
        """
        return cls(
            round_trip_calls=200,
            round_trip_rounds=40,
            await_rounds=12,
            await_gathered_rounds=12,
            stall_rounds=8,
            coroutine_rounds=12,
            coroutine_sleep_rounds=12,
            burst_rounds=4,
            threads_calls=10,
            threads_rounds=12,
            memory_results=2_000,
            memory_rounds=1,
            pending_results=1_000,
            pending_rounds=2,
            waiters_threads=20,
            waiters_rounds=3,
            timeouts_threads=20,
            timeouts_rounds=2,
            status_rounds=3,
            futures_requests=200,
            idle_seconds=3.0,
            import_rounds=8,
        )

    @classmethod
    def tiny(cls) -> Plan:
        """
        Return a plan that shows only that everything works.
        """
        return cls(
            round_trip_calls=10,
            round_trip_rounds=2,
            await_calls=5,
            await_rounds=1,
            await_gathered_calls=5,
            await_gathered_rounds=1,
            stall_calls=5,
            stall_rounds=1,
            coroutine_calls=5,
            coroutine_rounds=1,
            coroutine_sleep_calls=5,
            coroutine_sleep_rounds=1,
            burst_calls=50,
            burst_rounds=2,
            threads_callers=4,
            threads_calls=3,
            threads_rounds=2,
            memory_results=50,
            memory_rounds=1,
            pending_results=10,
            pending_rounds=1,
            waiters_threads=2,
            waiters_rounds=1,
            timeouts_threads=2,
            timeouts_rounds=1,
            status_calls=10,
            status_rounds=1,
            futures_requests=5,
            idle_seconds=0.1,
            import_rounds=1,
        )

    def with_rounds(self, rounds: int) -> Plan:
        """
        Return this plan with the same number of rounds for every measure.
        """
        names = [name for name in vars(self) if name.endswith("_rounds")]
        return replace(self, **dict.fromkeys(names, rounds))


@dataclass
class Run:
    """
    One run: what takes part, by which plan, and the report as it grows.
    """

    plan: Plan
    interpreters: dict[str, Interpreter]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.order = random.Random(self.plan.seed)
        self.report: dict[str, Any] = {
            "schema": SCHEMA,
            "started": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
            "machine": machine(),
            "python": {},
            "versions": {},
            "settings": vars(self.plan).copy(),
            "unavailable": {},
            "measures": {},
            "bars": [],
        }

    def interpreter(self, key: str) -> Interpreter | None:
        """
        Return the interpreter for the contender called *key*, if there is one.
        """
        if key == "crochet-2.1.1":
            return self.interpreters.get("peer")
        return self.interpreters.get("ours" if key.startswith("crochet") else "others")

    @contextlib.contextmanager
    def workers(self, keys: list[str]) -> Iterator[dict[str, conductor.Worker]]:
        """
        Start a worker for each of *keys*; say and note which of them cannot run.
        """
        with contextlib.ExitStack() as stack:
            started = {}
            for key in keys:
                interpreter = self.interpreter(key)
                if interpreter is None:
                    self._unavailable(key, "has no environment in this run")
                    continue
                worker = stack.enter_context(conductor.Worker(key, interpreter))
                if worker.unavailable is not None:
                    self._unavailable(key, worker.unavailable)
                    continue
                started[key] = worker
                self.report["versions"][key] = worker.versions
                self.report["python"] = worker.python
            yield started

    def _unavailable(self, key: str, reason: str) -> None:
        # An ImportError may tell a file; a report is to be shown to others.
        reason = re.sub(r"\s*\([^)]*[/\\][^)]*\)", "", reason)
        self.say(f"{key} is left out: {reason}")
        self.report["unavailable"][key] = reason

    def measure(self, names: list[str], keys: list[str]) -> dict[str, Any]:
        """
        Take the measures called *names* of the contenders *keys*; return the report.
        """
        started = time.perf_counter()
        with self.workers(keys) as workers:
            for name in names:
                if name.removesuffix(PINNED) in BLOCKS:
                    if name.endswith(PINNED) and not hasattr(os, "sched_setaffinity"):
                        self.say(f"{name} is left out: threads cannot be pinned here")
                        continue
                    self.say(f"{name}: {MEASURES[name]}")
                    self._note(name, self._blocks(name, workers))
            if "idle" in names:
                self.say(f"idle: {self.plan.idle_seconds:g} s of nothing")
                plain = [worker for key, worker in workers.items() if key in _PLAIN]
                counted = conductor.wakeups(plain, self.plan.idle_seconds)
                self._note("idle", {key: [{"wakeups": count}] for key, count in counted.items()})
            crochets = [key for key in CROCHETS if key in workers]
        for name in names:
            if name in _IN_FRESH_PROCESSES:
                self.say(f"{name}: {MEASURES[name]}")
                getattr(self, f"_{name}")(crochets)
        self.report["seconds"] = round(time.perf_counter() - started, 1)
        self.report["machine"]["load_after"] = load()
        self.report["bars"] = figures.verdicts(self.report["measures"])
        return self.report

    def anatomy(self, keys: list[str]) -> dict[str, Any]:
        """
        Part each contender's round trip, and profile ours; return what was found.
        """
        plan = self.plan
        with self.workers(keys) as workers:
            turns = {
                key: functools.partial(
                    worker.run, "anatomy", gc=plan.gc, calls=plan.round_trip_calls
                )
                for key, worker in workers.items()
            }
            answers = conductor.interleaved(turns, max(plan.round_trip_rounds // 2, 1), self.order)
            self._note("anatomy", answers)
            if "crochet" in workers:
                self.report["profile"] = workers["crochet"].run(
                    "profile", calls=plan.round_trip_calls * 20
                )
        return self.report

    # -- the measures in workers ------------------------------------------------------------

    def _blocks(
        self, name: str, workers: dict[str, conductor.Worker]
    ) -> dict[str, list[dict[str, Any]]]:
        """
        Run the block for the measure called *name* in all workers, interleaved.
        """
        plan, block = self.plan, name.removesuffix(PINNED)
        request: dict[str, Any] = {"calls": getattr(plan, f"{block}_calls"), "gc": plan.gc}
        if block == "threads":
            request["callers"] = plan.threads_callers
        if name.endswith(PINNED):
            request["clock"] = "processor"
            request["processor"] = min(os.sched_getaffinity(0))
        turns = {
            key: functools.partial(worker.run, block, **request)
            for key, worker in workers.items()
            if key in TAKE_PART.get(block, _PLAIN)
        }
        return conductor.interleaved(turns, getattr(plan, f"{block}_rounds"), self.order)

    # -- the measures in fresh processes ------------------------------------------------------

    def _import(self, crochets: list[str]) -> None:
        turns = {key: functools.partial(conductor.imported, self._known(key)) for key in crochets}
        # The first round compiles; it is the warm-up.
        answers = conductor.interleaved(turns, self.plan.import_rounds, self.order)
        self._note("import", answers)

    def _memory(self, crochets: list[str]) -> None:
        self._probe("memory", crochets, self.plan.memory_results, self.plan.memory_rounds)

    def _status(self, crochets: list[str]) -> None:
        self._probe("status", _ours(crochets), self.plan.status_calls, self.plan.status_rounds)

    def _futures(self, crochets: list[str]) -> None:
        self._probe(
            "futures", _ours(crochets), self.plan.futures_requests, self.plan.futures_rounds
        )

    def _probe(self, name: str, crochets: list[str], number: int, rounds: int) -> None:
        """
        Run the probe called *name* with *number*.
        """
        turns = {
            key: functools.partial(conductor.probed, self._known(key), name, number)
            for key in crochets
        }
        self._note(name, conductor.interleaved(turns, rounds, self.order, warm_up=0))

    def _pending(self, crochets: list[str]) -> None:
        self._growth("pending", crochets, self.plan.pending_results, self.plan.pending_rounds)

    def _waiters(self, crochets: list[str]) -> None:
        self._growth("waiters", crochets, self.plan.waiters_threads, self.plan.waiters_rounds)

    def _timeouts(self, crochets: list[str]) -> None:
        plan = self.plan
        self._growth("timeouts", _ours(crochets), plan.timeouts_threads, plan.timeouts_rounds)

    def _growth(self, name: str, crochets: list[str], number: int, rounds: int) -> None:
        """
        Run the probe called *name* with *number* and ten times as many; compare per item.
        """
        turns = {
            f"{key} {size}": functools.partial(conductor.probed, self._known(key), name, size)
            for key in crochets
            for size in (number, 10 * number)
        }
        answers = conductor.interleaved(turns, rounds, self.order, warm_up=0)
        self._note(
            name,
            {key: answers[f"{key} {number}"] for key in crochets},
            suffix=f" at {number}",
        )
        self._note(
            name,
            {key: answers[f"{key} {10 * number}"] for key in crochets},
            suffix=f" at {10 * number}",
        )
        for key in crochets:
            few, many = answers[f"{key} {number}"], answers[f"{key} {10 * number}"]
            self.report["measures"][name]["contenders"][key]["growth"] = {
                step: figures.summary(
                    figures.ratios([one[step] for one in many], [one[step] for one in few])
                )
                for step in few[0]
            }

    def _known(self, key: str) -> Interpreter:
        interpreter = self.interpreter(key)
        assert interpreter is not None, key
        return interpreter

    def _note(
        self, name: str, answers: dict[str, list[dict[str, Any]]], *, suffix: str = ""
    ) -> None:
        """
        Add *answers*, a list of answers by contender, to the measure called *name*.
        """
        measure = self.report["measures"].setdefault(
            name, {"what": MEASURES.get(name, "the parts of a round trip"), "contenders": {}}
        )
        for key in (key for key in CONTENDERS if answers.get(key)):
            entry = measure["contenders"].setdefault(
                key, {"title": CONTENDERS[key].title, "is_reference": key in REFERENCES}
            )
            for figure, value in answers[key][0].items():
                if isinstance(value, str):
                    entry[figure] = value
                else:
                    entry[figure + suffix] = figures.summary(
                        [float(answer[figure]) for answer in answers[key]]
                    )


def _ours(crochets: list[str]) -> list[str]:
    return [key for key in crochets if key == "crochet"]


def machine() -> dict[str, Any]:
    """
    Describe the machine, without anything that says whose or where it is.
    """
    return {
        "system": platform.system(),
        "release": re.match(r"[\d.]*", platform.release()).group(),  # type: ignore[union-attr]
        "architecture": platform.machine(),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_before": load(),
    }


def processor() -> str:
    """
    Return the processor's own name for itself, or the platform's.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def load() -> float | None:
    """
    Return how many processes wanted a processor in the last minute, on average.
    """
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
