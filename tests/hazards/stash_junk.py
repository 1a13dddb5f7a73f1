"""
Anything but a live number is a KeyError with a message that gives nothing away.
"""

import decimal

from _verdict import PATIENCE, check, judge, outcome_of

import crochet


@crochet.run_in_reactor
def value():
    return 42


def hazard():
    crochet.setup()
    used = value().stash()
    crochet.retrieve_result(used)
    live = value().stash()
    junk = [used, 0, -1, live + 1, live - 1, 2**200, f"{live}x", float(live), None, "", b""]
    junk += [[], {}, {1}, object(), (live,), decimal.Decimal(live), live + 0j, True, slice(None)]
    junk += [float("nan"), (lambda: None)]
    texts, wrong = set(), []
    for each in junk:
        outcome = outcome_of(lambda each=each: crochet.retrieve_result(each))
        if isinstance(outcome, KeyError):
            texts.add(str(outcome))
        else:
            wrong.append(f"{type(each).__name__}: {outcome!r}")
    check(not wrong, f"{len(wrong)} of {len(junk)} kinds do otherwise: {'; '.join(wrong)}")
    check(len(texts) == 1, "the texts differ, which tells used from unknown numbers")
    check(len(texts.pop()) > 20, "there is no message")
    check(crochet.retrieve_result(live).wait(PATIENCE) == 42, "another value")
    return f"KeyError for {len(junk)} kinds, with one text"


judge(hazard)
