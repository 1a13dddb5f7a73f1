"""
Child processes of the reactor.
"""

from __future__ import annotations

import os
import queue
import sys

from _verdict import PATIENCE, Breach, needs
from twisted.internet.protocol import ProcessProtocol

import crochet


class _Child(ProcessProtocol):
    def __init__(self, ends: queue.Queue[str]) -> None:
        self._ends = ends

    def processEnded(self, reason: object) -> None:
        error = reason.value
        signal = getattr(error, "signal", None)
        self._ends.put(f"signal {signal}" if signal else str(getattr(error, "exitCode", "?")))


class Children:
    """
    Spawns children and sees how they end.
    """

    def __init__(self) -> None:
        needs(os.name == "posix", "POSIX processes")
        crochet.setup()
        self._ends: queue.Queue[str] = queue.Queue()

    def spawn(self, source: str, descriptors: dict[int, object] | None = None) -> str:
        """
        Run Python code in a child; return its status as its protocol was told.
        """
        _spawn(_Child(self._ends), source, descriptors)
        try:
            return self._ends.get(timeout=PATIENCE)
        except queue.Empty:
            raise Breach(f"the end of {source!r} was not noticed in {PATIENCE:g} s") from None


@crochet.wait_for(timeout=PATIENCE)
def _spawn(protocol, source, descriptors):
    from twisted.internet import reactor

    command = [sys.executable, "-S", "-c", source]
    reactor.spawnProcess(protocol, command[0], command, env=None, childFDs=descriptors)
