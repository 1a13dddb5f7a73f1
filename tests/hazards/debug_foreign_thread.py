"""
Under CROCHET_DEBUG uses of Twisted in a foreign thread are refused, naming the line; calls go on.
"""

from _verdict import check, judge, needs, run_python

import crochet

PROGRAM = """
    import os
    os.environ["CROCHET_DEBUG"] = "1"
    import crochet
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.threads import deferToThread

    made = []

    @crochet.wait_for(timeout=60)
    def make():
        made.append(Deferred())

    @crochet.wait_for(timeout=60)
    async def work():
        return await deferToThread(lambda: 42)

    def refusal(use):
        try:
            use()
        except RuntimeError as error:
            line = f"<string>:{use.__code__.co_firstlineno} in <lambda>"
            return "refused" if line in str(error) else error
        return "allowed"

    crochet.setup()
    make()
    print(refusal(lambda: reactor.callLater(0, print)))
    print(refusal(lambda: reactor.connectTCP("127.0.0.1", 1, None)))
    print(refusal(lambda: made[0].callback(None)))
    print(refusal(lambda: made[0].cancel()))
    print(refusal(lambda: reactor.callFromThread(made[0].callback, None)))
    print(refusal(lambda: Deferred().callback(None)))
    print(work())
    crochet.shutdown()
    print(refusal(lambda: reactor.callWhenRunning(int)))
"""


def hazard():
    needs(hasattr(crochet, "reactor_only"), "CROCHET_DEBUG")
    said = run_python(PROGRAM).check_clean().out.split("\n")
    check(said[:4] == ["refused"] * 4, f"misuse: {said[:4]}")
    check(said[4:6] == ["allowed"] * 2, f"what is allowed: {said[4:6]}")
    check(said[6:] == ["42", "allowed", ""], f"afterwards: {said[6:]}")
    return "4 uses refused with their lines; what Twisted allows goes on"


judge(hazard)
