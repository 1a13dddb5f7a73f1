"""
A result that has its answer can be read after the reactor stopped, and in the reactor thread.
"""

from _verdict import PATIENCE, check, in_thread, judge, refusal_of

import crochet


@crochet.run_in_reactor
def fetch():
    return 42


@crochet.run_in_reactor
def fail():
    raise ValueError("it failed")


@crochet.wait_for(timeout=PATIENCE)
def look(results):
    return [read(result) for result in results]


@crochet.run_in_reactor
def stop():
    import threading

    from twisted.internet import reactor

    reactor.stop()
    return threading.current_thread()


def read(result):
    try:
        return result.wait(0)
    except ValueError as error:
        return str(error)


def hazard():
    crochet.setup()
    results = [fetch(), fail()]
    refusal_of(lambda: results[1].wait(PATIENCE), ValueError)
    expected = [42, "it failed"]
    check(look(results) == expected, "not readable in the reactor thread")
    stop().wait(PATIENCE).join(PATIENCE)
    check([read(result) for result in results] == expected, "not readable afterwards")
    check(in_thread(lambda: [read(result) for result in results]) == expected, "nor in a thread")
    return "readable everywhere"


judge(hazard)
