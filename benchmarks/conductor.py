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

import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.environments import CHECKOUT, Interpreter

#: Seconds that any one block or probe may take; only something stuck takes as long.
BOUND = 300.0


class WorkerError(Exception):
    """
    Report what went wrong in a worker, with its traceback or what it printed.
    """


class Worker:
    """
    A process that holds one contender. Use it as a context manager.
    """

    def __init__(self, key: str, interpreter: Interpreter) -> None:
        self.key = key
        # A file and not a pipe: nobody reads it unless the worker fails.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [interpreter.python, "-m", "benchmarks.worker", key],
            cwd=CHECKOUT,
            env=interpreter.environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._received = b""
        try:
            greeting = self._reply()
        except WorkerError:
            self.__exit__(*sys.exc_info())
            raise
        #: Why this contender cannot run here, or None.
        self.unavailable: str | None = greeting.get("unavailable")
        self.versions: dict[str, str] = greeting.get("versions", {})
        self.python: dict[str, str] = greeting.get("python", {})

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        End the process: by the end of its input, or else by force.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        complaint = None
        try:
            if self._process.wait(30) != 0:
                complaint = f"{self.key} ended with {self._process.returncode}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            complaint = f"{self.key} did not end"
        printed = self._printed()
        self._process.stdout.close()
        self._errors.close()
        # What went wrong first is already on its way, and says more.
        if complaint is not None and error is None:
            raise WorkerError(f"{complaint}:\n{printed}")

    def run(self, block: str, **request: Any) -> dict[str, Any]:
        """
        Ask for one *block* and return its answer.

        Raises:
            WorkerError: the block failed, the process ended, or it has not answered in time.
        """
        assert self._process.stdin is not None
        line = json.dumps({"block": block, **request}).encode() + b"\n"
        self._process.stdin.write(line)
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
        total = 0
        try:
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                for line in (task / "status").read_text(encoding="ascii").splitlines():
                    if "ctxt_switches" in line:
                        total += int(line.split()[1])
        except OSError:
            return None
        return total

    def _reply(self) -> dict[str, Any]:
        """
        Return the next line from the worker, decoded.
        """
        assert self._process.stdout is not None
        ends = time.monotonic() + BOUND
        while b"\n" not in self._received:
            remaining = ends - time.monotonic()
            readable, _, _ = select.select([self._process.stdout], [], [], max(remaining, 0))
            if not readable:
                self._process.kill()
                raise WorkerError(f"{self.key} has not answered in {BOUND:g} s")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise WorkerError(f"{self.key} ended:\n{self._printed()}")
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _printed(self) -> str:
        """
        Return the end of what the worker printed.
        """
        self._errors.seek(0)
        return self._errors.read()[-4000:].decode(errors="replace")


def interleaved(
    turns: Mapping[str, Callable[[], dict[str, Any]]],
    rounds: int,
    order: random.Random,
    *,
    warm_up: int = 1,
) -> dict[str, list[dict[str, Any]]]:
    """
    Take every one of *turns* once a round, in a new order each round; return the answers.

    The first *warm_up* rounds are run and thrown away.
    """
    answers: dict[str, list[dict[str, Any]]] = {key: [] for key in turns}
    keys = list(turns)
    for number in range(warm_up + rounds):
        order.shuffle(keys)
        for key in keys:
            answer = turns[key]()
            if number >= warm_up:
                answers[key].append(answer)
    return answers


def wakeups(workers: Iterable[Worker], seconds: float) -> dict[str, int]:
    """
    Count how often each of *workers* wakes up in *seconds* in which nobody asks it anything.

    Where the kernel does not tell, the result is empty.
    """
    watched = list(workers)
    # What the last block left running (a thread on its way out, a collection) ends first.
    time.sleep(1.0)
    before = {worker.key: worker.context_switches() for worker in watched}
    time.sleep(seconds)
    after = {worker.key: worker.context_switches() for worker in watched}
    return {
        key: switches - earlier
        for key, switches in after.items()
        if switches is not None and (earlier := before[key]) is not None
    }


#: What a new interpreter runs to time an import. It imports nothing else before that. An import
#: from a warm cache is nothing but work, so on a quiet machine both clocks agree; on a busy one
#: the processor's clock still tells the cost of the import.
IMPORTS = """
import sys
from time import perf_counter, process_time
sys.path[:0] = sys.argv[1:]
import twisted.internet.defer
started, began = perf_counter(), process_time()
import crochet
worked, passed = process_time() - began, perf_counter() - started
print('{"cpu_seconds": %r, "wall_seconds": %r, "reactor_imported": %d}' % (
    worked, passed, "twisted.internet.reactor" in sys.modules))
"""


def imported(interpreter: Interpreter) -> dict[str, Any]:
    """
    Time the imports in a new interpreter.
    """
    source = [] if interpreter.source is None else [str(interpreter.source)]
    return _answer([interpreter.python, "-I", "-c", IMPORTS, *source], interpreter)


def probed(interpreter: Interpreter, name: str, number: int) -> dict[str, Any]:
    """
    Run the probe called *name* in a new interpreter.
    """
    command = [interpreter.python, "-m", "benchmarks.probes", name, str(number)]
    return _answer(command, interpreter)


def _answer(command: list[str], interpreter: Interpreter) -> dict[str, Any]:
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=interpreter.environ(),
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    if done.returncode != 0:
        raise WorkerError(f"{command[2:]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
