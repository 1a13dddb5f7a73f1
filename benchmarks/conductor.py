"""
The conductor: asks one worker after another for a short block, round after round.

Why interleaved: on a shared or throttled machine the speed of everything drifts by more than
the differences of interest. Within one round all contenders run within a few hundred
milliseconds, in a new random order each round, so that drift hits them alike and no one is
always the one that runs after the heaviest.

Workers live as long as the run and sleep in a read when it is not their turn; only one block
runs at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, REFERENCES
from benchmarks.figures import figure_of, not_slower, summary
from benchmarks.registry import MEASURES, PLANS, Measure

CHECKOUT = Path(__file__).resolve().parent.parent
SCHEMA = "crochet-benchmarks/2"

Figures = dict[str, Any]


class WorkerError(Exception):
    """
    Report what went wrong in a worker, with its traceback or what it printed.
    """


#: A Python to run contenders with, and what goes before everything on its path.
Interpreter = tuple[str, Path | None]


class Worker:
    """
    A process that holds one contender, or a fresh one. Use it as a context manager.
    """

    def __init__(self, key: str, interpreter: Interpreter, *options: str) -> None:
        self.key, self.interpreter = key, interpreter
        python, source = interpreter
        environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        if source is not None:
            environ["PYTHONPATH"] = str(source)
        # A file and not a pipe: nobody reads it unless the worker fails.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", key, *options],
            cwd=CHECKOUT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            #: What it consists of, or why this contender cannot run here.
            self.greeting = self._reply()
        except WorkerError:
            self.__exit__()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # It has nothing to do any more, and nothing of its own to leave behind.
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def run(self, block: str, **request: Any) -> dict[str, Any]:
        """
        Ask for one *block* and return its answer.

        Raises:
            WorkerError: the block failed, or the process ended, as it does when it is stuck.
        """
        self._process.stdin.write(json.dumps({"block": block, **request}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._reply()
        if "error" in answer:
            raise WorkerError(f"{self.key}, {block}:\n{answer['error']}")
        return answer

    def context_switches(self) -> int | None:
        """
        Return how often the threads of this process have been put on a processor so far.

        A thread that sleeps cannot do anything without being switched to, whatever woke it,
        and the kernel counts that without disturbing the process. None where it does not tell.
        """
        try:
            tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
            told = "".join((task / "status").read_text(encoding="ascii") for task in tasks)
        except OSError:
            return None
        return sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", told)))

    def _reply(self) -> Figures:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            printed = self._errors.read()[-4000:].decode(errors="replace")
            raise WorkerError(f"{self.key} ended:\n{printed}")
        return json.loads(line)


def interleaved(
    turns: Mapping[str, Callable[[], Figures]], rounds: int, order: random.Random, warm_up: int = 1
) -> dict[str, list[Figures]]:
    """
    Take every one of *turns* once a round, in a new order each round; return the answers.

    The first *warm_up* rounds are run and thrown away.
    """
    answers: dict[str, list[Figures]] = {key: [] for key in turns}
    keys = list(turns)
    for number in range(warm_up + rounds):
        order.shuffle(keys)
        for key in keys:
            answer = turns[key]()
            if number >= warm_up:
                answers[key].append(answer)
    return answers


@dataclass
class Run:
    """
    What takes part, with which interpreter, by which plan; and the report as it grows.
    """

    interpreters: Mapping[str, Interpreter]
    say: Callable[[str], None]
    plan: str = "full"
    rounds: int | None = None
    seed: int = 1
    gc: bool = True

    def measure(self, names: list[str], keys: list[str]) -> dict[str, Any]:
        """
        Take the measures called *names* of the contenders *keys*; return the report.
        """
        started = time.perf_counter()
        now = datetime.datetime.now(datetime.timezone.utc)
        self.report: dict[str, Any] = {
            "schema": SCHEMA,
            "started": now.isoformat("T", "seconds"),
            "machine": {**machine(), "load_before": os.getloadavg()[0]},
            "settings": {"plan": self.plan, "seed": self.seed, "gc": self.gc},
            **{key: {} for key in ("python", "versions", "unavailable", "measures")},
            "bars": [],
        }
        order = random.Random(self.seed)
        with contextlib.ExitStack() as stack:
            found = [self._worker(key, stack) for key in keys]
            workers = {worker.key: worker for worker in found if worker is not None}
            for measure in (MEASURES[name] for name in names):
                if measure.pinned and not hasattr(os, "sched_setaffinity"):
                    self.say(f"{measure.name} is left out: threads cannot be pinned here")
                    continue
                self.say(f"{measure.name}: {measure.what}")
                who = {key: worker for key, worker in workers.items() if key in measure.who}
                entries = {
                    key: {
                        "title": CONTENDERS[key].title,
                        "is_reference": key in REFERENCES,
                        **{figure: _summary(figure, answers) for figure in answers[0]},
                    }
                    for key, answers in self._take(measure, who, order).items()
                }
                taken = {"what": measure.what, "contenders": entries}
                self.report["measures"][measure.name] = taken
                figure = figure_of(taken)
                before = [not_slower(figure)] if measure.where == "contender" else []
                for bar in (*measure.bars, *before):
                    verdict = bar.verdict(measure.name, entries, figure)
                    self.report["bars"] += [verdict] if verdict else []
        self.report["seconds"] = round(time.perf_counter() - started, 1)
        self.report["machine"]["load_after"] = os.getloadavg()[0]
        return self.report

    def _worker(self, key: str, stack: contextlib.ExitStack) -> Worker | None:
        reason: str | None = "has no environment in this run"
        if key in self.interpreters:
            worker = stack.enter_context(Worker(key, self.interpreters[key]))
            reason = worker.greeting.get("unavailable")
            if reason is None:
                self.report["versions"][key] = worker.greeting["versions"]
                self.report["python"] = worker.greeting["python"]
                return worker
        # An ImportError may tell a file; a report is to be shown to others.
        self.report["unavailable"][key] = re.sub(r"\s*\([^)]*[/\\][^)]*\)", "", reason)
        self.say(f"{key} is left out: {self.report['unavailable'][key]}")
        return None

    def _take(
        self, measure: Measure, workers: dict[str, Worker], order: random.Random
    ) -> dict[str, list[Figures]]:
        """
        Take *measure* of all *workers*, interleaved; return the answers.
        """
        place = PLANS[self.plan]
        sizes = {name: size[place] for name, size in measure.sizes.items()}
        rounds = self.rounds or measure.rounds[place]
        for name, value in {**sizes, "rounds": rounds}.items():
            self.report["settings"][f"{measure.name}_{name}"] = value
        if measure.where == "workers":
            return {key: [found] for key, found in measure.function(workers, **sizes).items()}

        def take(worker: Worker, times: int = 1) -> Figures:
            request: dict[str, Any] = {name: times * size for name, size in sizes.items()}
            if measure.where == "fresh":
                with Worker(worker.key, worker.interpreter, "fresh") as fresh:
                    return fresh.run(measure.name, **request)
            if measure.pinned:
                request["processor"] = min(os.sched_getaffinity(0))
            return worker.run(measure.pinned or measure.name, collect=self.gc, **request)

        def take_both(worker: Worker) -> Figures:
            few, many = take(worker), take(worker, 10)
            found = {f"{step} at n": few[step] for step in few}
            found |= {f"{step} at 10 n": many[step] for step in few}
            return found | {f"{step}, growth": many[step] / few[step] for step in few}

        one_turn = take_both if measure.grows else take
        turns = {key: partial(one_turn, worker) for key, worker in workers.items()}
        return interleaved(turns, rounds, order, warm_up=int(measure.where == "contender"))


def _summary(figure: str, answers: list[Figures]) -> Any:
    is_text = isinstance(answers[0][figure], str)
    return answers[0][figure] if is_text else summary([answer[figure] for answer in answers])


def machine() -> dict[str, Any]:
    """
    Describe the machine, without anything that says whose or where it is.
    """
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)", text, re.M)
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "system": platform.system(),
        "release": "".join(re.findall(r"^[\d.]+", platform.release())),
        "architecture": platform.machine(),
        "processor": model.group(1) if model else platform.processor(),
        "processors": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
    }
