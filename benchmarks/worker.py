"""
A worker: one process that holds one contender and runs a block when asked.

Started by the conductor as ``python -m benchmarks.worker CONTENDER``, in the contender's own
environment. It reads one JSON request a line from its standard input and answers with one
JSON line on what was its standard output; anything a library prints goes to standard error
instead. It ends when its input does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from benchmarks import awaits, blocks
from benchmarks.contenders import CONTENDERS, Contender, Crochet, Crochet211, Unavailable

BLOCKS = {**blocks.BLOCKS, **awaits.BLOCKS}


def main(key: str) -> None:
    """
    Hold the contender called *key* until standard input ends.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    contender = CONTENDERS[key]()
    try:
        contender.start()
    except (ImportError, Unavailable) as error:
        reply({"unavailable": f"{type(error).__name__}: {error}"})
        return
    try:
        check_that_it_hands_over(contender)
        # What the imports left is the same for every later collection: keep it out of them,
        # or a contender would pay in each round for the size of its dependencies.
        gc.collect()
        gc.freeze()
        reply(
            {
                "versions": versions(contender),
                "python": {
                    "implementation": platform.python_implementation(),
                    "version": platform.python_version(),
                },
            }
        )
        for line in sys.stdin:
            request = json.loads(line)
            block = BLOCKS[request.pop("block")]
            collect = request.pop("gc", True)
            (gc.enable if collect else gc.disable)()
            try:
                with pinned(request.pop("processor", None)):
                    answer = block(contender, **request)
            except Exception:
                answer = {"error": traceback.format_exc()}
            reply(answer)
    finally:
        contender.stop()


@contextlib.contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """
    Keep all threads of this process on one *processor* for a while; None: leave them be.
    """
    if processor is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    _allow({processor})
    try:
        yield
    finally:
        _allow(allowed)


def _allow(processors: set[int]) -> None:
    """
    Allow the threads that there are now, and so those they start, only *processors*.
    """
    for task in os.listdir("/proc/self/task"):
        # A thread that has ended meanwhile needs nothing.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), processors)


def check_that_it_hands_over(contender: Contender) -> None:
    """
    Refuse to measure a contender whose body does not run in another thread.
    """

    def idents() -> tuple[int, int]:
        return threading.get_ident(), contender.blocking(threading.get_ident)()

    caller, loop = contender.apart(idents)
    if caller == loop:
        raise RuntimeError(f"{contender.key} ran the body in the caller's own thread")


def versions(contender: Contender) -> dict[str, str]:
    """
    Return the versions of what this contender consists of.
    """
    found = {name: importlib.metadata.version(name) for name in contender.distributions}
    if isinstance(contender, Crochet) and not isinstance(contender, Crochet211):
        # Imported from the checkout, so no metadata need be installed.
        import crochet

        found["crochet"] = getattr(crochet, "__version__", "unknown")
    return found


if __name__ == "__main__":
    main(sys.argv[1])
