"""
SIGTERM while the main thread waits: kills as ever, or does what the program's handler says.
"""

import os
import signal

from _verdict import check, judge, needs, run_python

PROGRAM = """
    import signal, sys
    import crochet
    from twisted.internet.defer import Deferred
    {handler}
    crochet.setup()

    @crochet.wait_for(timeout=None)
    def forever():
        print("ready", flush=True)
        return Deferred()

    forever()
"""
HANDLER = "signal.signal(signal.SIGTERM, lambda *args: sys.exit(4))"


def hazard():
    needs(os.name == "posix", "SIGTERM by os.kill")
    for handler, status in (("", -signal.SIGTERM), (HANDLER, 4)):
        ended = run_python(
            PROGRAM.format(handler=handler),
            when_ready=lambda pid: os.kill(pid, signal.SIGTERM),
        )
        ended.check_clean(status)
    check(ended.out == "ready\n", f"it says {ended.out!r}")
    return "killed by SIGTERM; with a handler that exits, status 4"


judge(hazard)
