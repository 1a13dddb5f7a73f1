"""
Ctrl-C in a waiting main thread ends the process with the usual status and a traceback.
"""

import os
import signal

from _verdict import check, judge, needs, run_python

PROGRAM = """
    import crochet
    from twisted.internet.defer import Deferred
    crochet.setup()

    @crochet.wait_for(timeout=None)
    def forever():
        print("ready", flush=True)
        return Deferred()

    forever()
"""


def hazard():
    needs(os.name == "posix", "SIGINT by os.kill")
    ended = run_python(PROGRAM, when_ready=lambda pid: os.kill(pid, signal.SIGINT))
    check(ended.status == -signal.SIGINT, f"status {ended.status}: {ended.err[-200:]}")
    lines = ended.err.strip().splitlines()
    check(lines and lines[0].startswith("Traceback"), f"stderr begins with {lines[:1]}")
    check("KeyboardInterrupt" in lines[-2:], f"stderr ends with {lines[-2:]!r}")
    return "killed by SIGINT, stderr shows KeyboardInterrupt and nothing else"


judge(hazard)
