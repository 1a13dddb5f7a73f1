"""
16 threads call, wait, cancel, stash, retrieve and drop at once: each call is answered just once.
"""

import random
import sys
from collections import Counter, deque

from _operations import check_alive
from _verdict import PATIENCE, Breach, check, in_threads, judge
from twisted.internet.defer import CancelledError, Deferred

import crochet

NUMBER = 250
started = Counter()
called_back = Counter()


@crochet.run_in_reactor
def operate(token, kind):
    started[token] += 1
    if kind == "value":
        return token
    deferred = Deferred()
    if kind == "later":
        from twisted.internet import reactor

        reactor.callLater(0, deferred.callback, token)
    return deferred


def collect(result, token, may_be_cancelled):
    for _ in range(2):
        try:
            value = result.wait(PATIENCE)
        except CancelledError:
            check(may_be_cancelled, "cancelled, though nobody did that")
        else:
            check(value == token, f"{value!r} where {token!r} was due")


def hazard():
    crochet.setup()
    sys.setswitchinterval(1e-6)
    shared = deque()
    stashed = deque()

    def work(thread):
        choose = random.Random(thread)
        for number in range(NUMBER):
            token = thread, number
            kind = choose.choice(("value", "later", "never"))
            result = operate(token, kind)
            if hasattr(result, "add_done_callback"):
                result.add_done_callback(lambda _, token=token: called_back.update([token]))
            else:
                called_back[token] = 1
            is_cancelled = kind == "never" or choose.random() < 0.2
            shared.append((result, token, is_cancelled))
            if is_cancelled:
                result.cancel()
            if choose.random() < 0.3:
                stashed.append((result.stash(), token, is_cancelled))
            # Others' results, which their threads wait for, too.
            for queue in (shared, stashed):
                if queue and choose.random() < 0.6:
                    try:
                        entry, *rest = queue.popleft()
                    except IndexError:
                        continue
                    if queue is stashed:
                        entry = crochet.retrieve_result(entry)
                    collect(entry, *rest)
            if choose.random() < 0.5:
                collect(result, token, is_cancelled)

    for outcome in in_threads(16, work, patience=3 * PATIENCE):
        if isinstance(outcome, Breach):
            raise outcome
        check(outcome is None, f"{type(outcome).__name__}: {outcome}")
    for entry, *rest in shared:
        collect(entry, *rest)
    check_alive()
    check(max(started.values()) == 1, "a body ran twice")
    calls = 16 * NUMBER
    check(len(called_back) == calls, f"{len(called_back)} of {calls} calls were answered")
    check(max(called_back.values()) == 1, "a call was answered twice")
    return f"{calls} calls"


judge(hazard)
