"""
Bodies run in the reactor thread, never in the caller's, whichever thread calls, that one too.
"""

import threading

from _verdict import PATIENCE, check, in_threads, judge
from twisted.python.threadable import isInIOThread

import crochet


@crochet.wait_for(timeout=PATIENCE)
def where():
    return threading.get_ident(), isInIOThread()


@crochet.wait_for(timeout=PATIENCE)
def where_from_reactor():
    return where_in_background()


@crochet.run_in_reactor
def where_in_background():
    return threading.get_ident(), isInIOThread()


def hazard():
    crochet.setup()
    places = {*in_threads(20, lambda _: where()), where()}
    places.add(where_from_reactor().wait(PATIENCE))
    check(len(places) == 1, f"bodies ran in {places}")
    ((ident, is_reactor),) = places
    check(is_reactor and ident != threading.get_ident(), "not in the reactor thread")
    return "22 callers, 1 thread"


judge(hazard)
