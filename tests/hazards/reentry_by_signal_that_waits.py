"""
A signal handler that calls a ``wait_for`` function meets such calls at any point of them.
"""

import random
import signal

from _operations import check_alive
from _verdict import PATIENCE, Breach, check, judge, needs

import crochet

choose = random.Random(1)
answered = 0


@crochet.wait_for(timeout=PATIENCE / 3)
def double(number):
    return 2 * number


def arm():
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 2e-4))


def handler(number, frame):
    global answered
    try:
        check(double(21) == 42, "another call's answer in the handler")
    except crochet.TimeoutError:
        raise Breach(f"the handler got no answer, the {answered + 1}. time") from None
    answered += 1
    arm()


def hazard():
    needs(hasattr(signal, "setitimer"), "signal.setitimer")
    crochet.setup()
    signal.signal(signal.SIGALRM, handler)
    arm()
    while answered < 3_000:
        number = choose.randrange(1_000)
        check(double(number) == 2 * number, "another call's answer")
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    check_alive()
    return f"{answered:,} calls from the handler, all answered"


judge(hazard)
