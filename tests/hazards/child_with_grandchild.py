"""
The end of a child whose pipes a grandchild holds open is noticed by its process's end.
"""

import os
import sys
import threading

from _verdict import PATIENCE, happens, judge, needs
from twisted.internet.protocol import ProcessProtocol

import crochet

has_exited = threading.Event()
SOURCE = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'])"


class Child(ProcessProtocol):
    def processExited(self, reason):
        has_exited.set()


@crochet.wait_for(timeout=PATIENCE)
def spawn():
    from twisted.internet import reactor

    command = [sys.executable, "-c", SOURCE]
    return reactor.spawnProcess(Child(), command[0], command, env=None)


def hazard():
    needs(os.name == "posix", "POSIX processes")
    crochet.setup()
    transport = spawn()
    happens(has_exited, "processExited()")
    # Ends the grandchild, which reads from it.
    crochet.wait_for(timeout=PATIENCE)(transport.closeStdin)()
    return "noticed"


judge(hazard)
