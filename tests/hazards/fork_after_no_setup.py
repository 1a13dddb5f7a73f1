"""
After ``no_setup()``: calls in a forked child are refused and say why; then it runs a reactor.
"""

import threading

from _verdict import PATIENCE, Breach, check, in_fork, in_thread, judge, refusal_of
from twisted.internet import reactor

import crochet


@crochet.wait_for(timeout=3)
def call():
    return 42


def in_child():
    text = str(refusal_of(call, crochet.ReactorStopped, RuntimeError))
    check("no_setup()" in text and "reactor.run()" in text, f"the text says: {text!r}")
    crochet.no_setup()
    answers = []

    def work():
        answers.append(call())
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=work, daemon=True).start()
    reactor.run(installSignalHandlers=False)
    check(answers == [42], f"after reactor.run() in the child: {answers}")
    return "refused, with what to do; then answered"


def hazard():
    crochet.no_setup()
    said = []

    def work():
        try:
            call()
            said.append(in_thread(lambda: in_fork(in_child)))
            call()
        except BaseException as error:
            said[:] = [error]
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=work, daemon=True).start()
    reactor.run(installSignalHandlers=False)
    if not said or isinstance(said[0], BaseException):
        raise said[0] if said else Breach(f"nothing came of it in {PATIENCE:g} s")
    return said[0]


judge(hazard)
