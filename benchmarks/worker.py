"""
A worker: one process that holds one contender and takes a measure when asked.

Started by the conductor as ``python -m benchmarks.worker CONTENDER``, in the contender's own
environment. It reads one JSON request a line from its standard input and answers with one JSON line
on what was its standard output; anything a library prints goes to standard error instead. It ends
when its input does. With the word "fresh" as a second argument it starts nothing itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
import traceback
from typing import Any

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.registry import MEASURES

#: Seconds that any one request may take; only something stuck takes as long.
BOUND = 300.0


def main(key: str, fresh: str = "") -> None:
    """
    Hold the contender called *key* until standard input ends.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    # Whatever is stuck ends with the stacks of all threads, and the conductor shows them.
    faulthandler.dump_traceback_later(BOUND, exit=True)
    contender = Contender() if fresh else CONTENDERS[key]()
    try:
        contender.start()
    except ImportError as error:
        reply({"unavailable": f"{type(error).__name__}: {error}"})
        return
    if not fresh:
        check_that_it_hands_over(contender)
        # What the imports left is the same for every later collection: keep it out of them,
        # or a contender would pay in each round for the size of its dependencies.
        gc.collect()
        gc.freeze()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    reply({"versions": versions(contender), "python": python})
    faulthandler.cancel_dump_traceback_later()
    for line in sys.stdin:
        faulthandler.dump_traceback_later(BOUND, exit=True)
        try:
            reply(answered([] if fresh else [contender], **json.loads(line)))
        except Exception:
            reply({"error": traceback.format_exc()})
        faulthandler.cancel_dump_traceback_later()


def answered(
    given: list[Any],
    block: str,
    collect: bool = True,
    processor: int | None = None,
    **sizes: float,
) -> dict[str, Any]:
    """
    Take *block*: with all threads on one *processor*, if there is one, and by its time.
    """
    (gc.enable if collect else gc.disable)()
    # One of the threads is always running there, so both clocks agree on a quiet machine; on a busy
    # one, the second leaves out the others' turns.
    clock = time.perf_counter if processor is None else time.process_time
    allowed = None if processor is None else os.sched_getaffinity(0)
    _allow(allowed and {processor})
    try:
        return MEASURES[block].function(*given, *[clock for _ in given], **sizes)
    finally:
        _allow(allowed)


def _allow(processors: set[int] | None) -> None:
    """
    Allow the threads that there are now, and so those they start, only *processors*.
    """
    for task in os.listdir("/proc/self/task") if processors else ():
        # A thread that has ended meanwhile needs nothing.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), processors)


def check_that_it_hands_over(contender: Contender) -> None:
    """
    Refuse to measure a contender whose body does not run in another thread.
    """
    get_ident = threading.get_ident
    caller, loop = contender.apart(lambda: (get_ident(), contender.blocking(get_ident)()))
    if caller == loop:
        raise RuntimeError(f"{contender.key} ran the body in the caller's own thread")


def versions(contender: Contender) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in contender.distributions}
    if "crochet" in sys.modules:  # from a checkout, so no metadata need be installed
        found.setdefault("crochet", sys.modules["crochet"].__version__)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
