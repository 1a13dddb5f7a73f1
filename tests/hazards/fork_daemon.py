"""
A daemon, forked twice from a program that has made calls and then ended, gets its answers.
"""

import os

from _verdict import PATIENCE, check, judge, needs, run_python

PROGRAM = """
import os, signal, sys, warnings
import crochet
warnings.simplefilter("ignore", DeprecationWarning)
crochet.setup()

@crochet.wait_for(timeout=60)
def double(number):
    return 2 * number

assert double(21) == 42
said = int(sys.argv[1])
if os.fork():
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.alarm(int(sys.argv[2]))
os.chdir("/")
# As daemons do: all but the one that it tells its answer through.
for descriptor in range(256):
    if descriptor != said:
        try:
            os.close(descriptor)
        except OSError:
            pass
for _ in range(3):
    os.open(os.devnull, os.O_RDWR)
try:
    os.write(said, str(double(50)).encode())
except BaseException as error:
    os.write(said, repr(error).encode())
"""


def hazard():
    needs(hasattr(os, "fork"), "os.fork")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    run_python(PROGRAM, arguments=(str(writing), str(int(PATIENCE))), inherited=(writing,))
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    check(said == "100", f"the daemon says {said!r}, not '100'")
    return "answered, with all descriptors closed before"


judge(hazard)
