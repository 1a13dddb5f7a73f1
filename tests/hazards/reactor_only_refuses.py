"""
A function guarded by ``reactor_only`` is refused in 50 threads at once; nothing of its body runs.
"""

import threading

from _verdict import PATIENCE, check, in_threads, judge, needs, refusal_of

import crochet

where = set()


def note():
    where.add(threading.current_thread().name)
    return 42


async def note_later():
    return note()


def drive(function):
    function().send(None)


def hazard():
    needs(hasattr(crochet, "reactor_only"), "crochet.reactor_only")
    guarded, awaited = crochet.reactor_only(note), crochet.reactor_only(note_later)
    early = refusal_of(guarded, RuntimeError)
    check("no reactor runs" in str(early), f"before setup() it says: {early}")
    crochet.setup()

    def refused(number):
        errors = [refusal_of(guarded, RuntimeError)]
        errors.append(refusal_of(lambda: drive(awaited), RuntimeError))
        name = threading.current_thread().name
        return all(name in str(error) and "crochet-reactor" in str(error) for error in errors)

    check(all(each is True for each in in_threads(50, refused)), "a text without the threads")
    check(not where, f"the body ran in {where}")
    for function in (guarded, awaited):
        check(crochet.wait_for(timeout=PATIENCE)(function)() == 42, "another answer")
    check(len(where) == 1, f"the body ran in {where}")
    return "refused, naming both threads; made in the reactor thread"


judge(hazard)
