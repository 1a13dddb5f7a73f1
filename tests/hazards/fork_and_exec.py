"""
A child that only runs another program costs and inherits nothing; so do those of ``subprocess``.
"""

import os
import subprocess
import sys

from _operations import check_alive
from _verdict import check, in_fork, judge, needs

import crochet

# Prints the descriptors that it has but for the standard ones and the last, of the listing.
PROGRAM = """
import os
print(sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2)[:-1])
"""
COMMAND = [sys.executable, "-S", "-c", PROGRAM]


def preparation():
    os.environ["PREPARED"] = "yes"


def descriptors_after_exec():
    reading, writing = os.pipe()

    def in_child():
        os.dup2(writing, 1)
        os.execv(COMMAND[0], COMMAND)

    in_fork(in_child)
    os.close(writing)
    with open(reading) as pipe:
        return pipe.read().strip()


def hazard():
    needs(os.path.isdir("/proc/self/fd"), "/proc/self/fd")
    before = descriptors_after_exec()
    crochet.setup()
    check_alive()
    for _ in range(20):
        done = subprocess.run(COMMAND, capture_output=True, text=True, preexec_fn=preparation)
        check(done.stdout.strip() == "[]", f"it inherits {done.stdout} {done.stderr}")
    after = descriptors_after_exec()
    check(after == before, f"after os.fork() and exec it has {after}, not {before}")
    check_alive()
    return "nothing inherited, 21 times"


judge(hazard)
