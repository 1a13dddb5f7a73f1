"""
What a process has of what leaks, threads and file descriptors; and what its threads do.
"""

from __future__ import annotations

import os
import select
import threading
from typing import NamedTuple

from _verdict import check


class State(NamedTuple):
    """
    How many threads and descriptors there are; of descriptors 0 where they cannot be counted.
    """

    threads: int
    descriptors: int

    def check_not_grown(self, since: State, when: str) -> None:
        """
        Check that there are no more than at another time.
        """
        for what, now, before in zip(self._fields, self, since, strict=True):
            check(now <= before, f"{when}: {now} {what}, and {before} before")


def state() -> State:
    """
    Count them.
    """
    folder = "/proc/self/fd"
    # Listing them takes one more.
    descriptors = len(os.listdir(folder)) - 1 if os.path.isdir(folder) else 0
    return State(threading.active_count(), descriptors)


# How often a thread that waits may look up for signals and exceptions set in it, in a second: ten
# times, and one or two that are owed to the system.
LOOKS = 12


def check_rest(waiter: threading.Thread, seconds: float) -> str:
    """
    Check for so long that no thread wakes up, but one that waits and looks up now and then.
    """
    before = wake_ups()
    select.select([], [], [], seconds)
    after = wake_ups()
    woken = {thread: after[thread] - before.get(thread, 0) for thread in after}
    looks = woken.pop(str(waiter.native_id), 0)
    number = sum(woken.values())
    check(number == 0, f"{number} wake-ups in {seconds:g} s")
    check(looks <= LOOKS * seconds, f"the thread that waits woke up {looks} times")
    return f"0 wake-ups in {seconds:g} s, {len(after)} threads; {looks} looks"


def wake_ups() -> dict[str, int]:
    """
    Count how often each thread but this one has left the processor to wait, so far.
    """
    numbers = {}
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != threading.get_native_id():
            with open(f"/proc/self/task/{thread}/status") as status:
                lines = dict(line.split(":", 1) for line in status if ":" in line)
            numbers[thread] = int(lines["voluntary_ctxt_switches"])
    return numbers
