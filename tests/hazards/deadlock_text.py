"""
The text of an error that ends a deadlock names places, never arguments, which may be secrets.
"""

import threading

from _verdict import PATIENCE, check, in_thread, judge, refusal_of

import crochet

lock = threading.RLock()


@crochet.wait_for(timeout=PATIENCE / 10)
def log_in(name, password):
    with lock:
        pass


def hold_and_call():
    with lock:
        log_in("me", "s3cr3t")


def hazard():
    crochet.setup()
    kinds = (crochet.TimeoutError, RuntimeError)
    text = in_thread(lambda: str(refusal_of(hold_and_call, *kinds)))
    check("log_in" in text and "deadlock_text.py:" in text, f"it says: {text}")
    check("s3cr3t" not in text, f"an argument is told: {text[-230:]}")
    return f"it says: {text}"


judge(hazard)
