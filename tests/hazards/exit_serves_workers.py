"""
A non-daemon worker that still waits when the main thread ends gets its answer.
"""

from _exit import check_exits
from _verdict import judge

PROGRAM = """
    pending = Deferred()
    started = threading.Event()

    @crochet.wait_for(timeout=60)
    def slow():
        started.set()
        return pending

    def work():
        try:
            print(slow(), double(21), flush=True)
        except crochet.ReactorStopped:
            print("ReactorStopped", flush=True)

    def fire_after_main():
        threading.main_thread().join()
        # As an answer that takes its time: more than a program that polls needs to notice the end.
        from twisted.internet import reactor
        reactor.callFromThread(reactor.callLater, 0.3, pending.callback, 41)

    threading.Thread(target=work).start()
    started.wait()
    threading.Thread(target=fire_after_main, daemon=True).start()
"""

judge(lambda: check_exits(PROGRAM, says="41 42"))
