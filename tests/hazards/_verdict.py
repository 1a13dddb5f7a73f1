"""
What a hazard program says in the end, and what keeps it from running for ever.

Nothing of Crochet or Twisted is imported here: some hazards are about their import.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Seconds after which a program shows all its stacks and dies.
BOUND = float(os.environ.get("HAZARD_BOUND", "60"))
# Seconds that a single step may take, which takes milliseconds. Its expiry is a breach.
PATIENCE = min(15.0, BOUND / 2)


class Breach(Exception):
    """
    What must hold did not.
    """


class Hang(Breach):
    """
    What should have come has not, and never will.
    """


class Inapplicable(Exception):
    """
    The hazard cannot be met here.
    """


def judge(hazard: Callable[[], str]) -> None:
    """
    Run a hazard and print its verdict. What it returns is what it saw, if all was well.

    After a breach the process ends here, as the library may be in any state. Else it ends as
    any program does, and if it does not, that is a breach, too.
    """
    faulthandler.dump_traceback_later(BOUND, exit=True)
    try:
        print("ok", _one_line(hazard()), flush=True)
    except Inapplicable as reason:
        print("n/a", _one_line(reason), flush=True)
    except BaseException as error:
        traceback.print_exc()
        what = error if isinstance(error, Breach) else f"{type(error).__name__}: {error}"
        print("hangs" if isinstance(error, Hang) else "BREACH", _one_line(what), flush=True)
        sys.stderr.flush()
        os._exit(1)


def _one_line(text: object) -> str:
    return textwrap.shorten(str(text), 240)


def check(claim: object, breach: str) -> None:
    """
    Raise a breach unless the claim holds.
    """
    if not claim:
        raise Breach(breach)


def needs(claim: object, what: str) -> None:
    """
    Say that the hazard cannot be met here unless the claim holds.
    """
    if not claim:
        raise Inapplicable(f"needs {what}")


def outcome_of(call: Callable[[], T]) -> T | BaseException:
    """
    Return what a call returned or raised.
    """
    try:
        return call()
    except BaseException as error:
        return error


def refusal_of(call: Callable[[], object], *wanted: type[BaseException]) -> BaseException:
    """
    Return the exception with which a call was refused; a breach unless it is one of those wanted.
    """
    outcome = outcome_of(call)
    if isinstance(outcome, Breach):
        raise outcome
    if not isinstance(outcome, wanted):
        names = " or ".join(each.__name__ for each in wanted)
        raise Breach(f"{outcome!r} where {names} was due")
    return outcome


def in_thread(work: Callable[[], T], patience: float = PATIENCE, breach: str = "") -> T:
    """
    Return or raise what comes of some work in a thread of its own, where it can be given up.
    """
    outcome = in_threads(1, lambda _: work(), patience, breach)[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def in_threads(
    number: int, work: Callable[[int], T], patience: float = PATIENCE, breach: str = ""
) -> list[T | BaseException]:
    """
    Return what came of some work done in many threads, begun together; each is given its number.
    """
    together = threading.Barrier(number)
    outcomes: dict[int, T | BaseException] = {}

    def run(index: int) -> None:
        together.wait()
        outcomes[index] = outcome_of(lambda: work(index))

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    stuck = [thread for thread in threads if thread.is_alive()]
    if stuck:
        faulthandler.dump_traceback(all_threads=True)
        raise Hang(breach or f"{len(stuck)} of {number} threads got stuck")
    return [outcomes[index] for index in range(number)]


def happens(event: threading.Event, what: str) -> None:
    """
    Wait for an event; a breach if it does not come.
    """
    check(event.wait(PATIENCE), f"{what}: not within {PATIENCE:g} s")


def gist(stderr: str) -> str:
    """
    Return the line that names an exception or a warning, of all that was said; else the first.
    """
    print(stderr, file=sys.stderr)
    lines = [line for line in stderr.splitlines() if line.strip() and "tracemalloc" not in line]
    named = [line for line in lines if re.search(r"^[\w.]+(Error|Stopped|Exception)\b", line)]
    warned = [line[line.index(": ") + 2 :] for line in lines if re.search(r"Warning: ", line)]
    return (named or warned or lines[:1] or [""])[-1]


@dataclass
class Ended:
    """
    How a child process ended.
    """

    status: int
    out: str
    err: str
    seconds: float

    def check_clean(self, status: int = 0) -> Ended:
        """
        Return this; a breach unless the status is that, and nothing was said on stderr.
        """
        check(self.status == status, f"exit status {self.status}, not {status}: {gist(self.err)}")
        check(not self.err, f"on stderr: {gist(self.err)}")
        return self


def run_python(
    source: str,
    *options: str,
    modules: dict[str, str] | None = None,
    when_ready: Callable[[int], object] | None = None,
    patience: float = PATIENCE,
    arguments: tuple[str, ...] = (),
    inherited: tuple[int, ...] = (),
) -> Ended:
    """
    Run a program in a process of its own, to its end.

    Args:
        source: the program.
        options: of the interpreter.
        modules: that the program can import, their source by their names.
        when_ready: called with the process id once the program has printed a line.
        patience: seconds until it is killed, and not to have ended is a hang.
        arguments: of the program.
        inherited: descriptors that it gets.
    """
    command = [sys.executable, "-X", "faulthandler", *options, "-c", textwrap.dedent(source)]
    command += arguments
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as stderr:
        for name, text in (modules or {}).items():
            Path(folder, f"{name}.py").write_text(textwrap.dedent(text))
        began = time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=folder,
            pass_fds=inherited,
        )
        first = ""
        if when_ready is not None:
            assert child.stdout is not None
            first = child.stdout.readline()
            when_ready(child.pid)
        try:
            out, _ = child.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)  # shows the stacks, see -X faulthandler
            child.communicate(timeout=PATIENCE)
            stderr.seek(0)
            print(stderr.read(), file=sys.stderr)
            raise Hang(f"the process did not end within {patience:g} s") from None
        seconds = time.monotonic() - began
        stderr.seek(0)
        return Ended(child.returncode, first + out, stderr.read(), seconds)


def in_fork(work: Callable[[], str], patience: float = PATIENCE) -> str:
    """
    Return what some work says in a forked child, which is given some seconds, at least one.
    """
    needs(hasattr(os, "fork"), "os.fork")
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # The thread that keeps BOUND is the parent's.
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
            signal.alarm(int(patience))
            os.write(writing, work().encode())
            status = 0
        except BaseException as error:
            traceback.print_exc()
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended == -signal.SIGALRM:
        raise Hang(f"the forked child got stuck: nothing in {patience:g} s")
    check(ended == 0, f"in the forked child: {said}")
    return said
