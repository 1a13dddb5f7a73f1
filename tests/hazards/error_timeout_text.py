"""
The text of a TimeoutError names the function, and never its arguments, which may be secrets.
"""

from _verdict import check, judge, refusal_of
from twisted.internet.defer import Deferred

import crochet


@crochet.wait_for(timeout=0.01)
def log_in(name, password):
    return Deferred()


@crochet.run_in_reactor
def log_in_later(name, password):
    return Deferred()


def hazard():
    crochet.setup()
    texts = [str(refusal_of(lambda: log_in("me", "s3cr3t"), crochet.TimeoutError))]
    result = log_in_later("me", "s3cr3t")
    texts.append(str(refusal_of(lambda: result.wait(0.01), crochet.TimeoutError)))
    check(all("log_in" in text for text in texts), f"the texts say: {texts}")
    check(not any("s3cr3t" in text for text in texts), f"the texts say: {texts}")
    check(issubclass(crochet.TimeoutError, TimeoutError), "it is no builtin TimeoutError")
    return f"it says: {texts[0]}"


judge(hazard)
