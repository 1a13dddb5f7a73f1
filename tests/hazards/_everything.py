"""
A program that uses most of the library.
"""

PROGRAM = """
import logging
import threading
import crochet
from twisted.internet.defer import Deferred
from twisted.logger import Logger

logging.getLogger("twisted").addHandler(logging.NullHandler())
crochet.setup()

@crochet.wait_for(timeout=10)
def value(number):
    Logger().info("{number}", number=number)
    return number

@crochet.wait_for(timeout=10)
async def coroutine(number):
    return number

@crochet.wait_for(timeout=0.01)
def forever():
    return Deferred()

@crochet.wait_for(timeout=10)
def fail():
    raise ValueError("it failed")

@crochet.run_in_reactor
def background(number):
    return number

@crochet.run_in_reactor
def pending():
    return Deferred()

class Service:
    @crochet.wait_for(timeout=10)
    def method(self, number):
        return number

    @staticmethod
    @crochet.wait_for(timeout=10)
    def static(number):
        return number

def refused(call, kind):
    try:
        call()
    except kind:
        return
    raise SystemExit(f"{call} was not refused")

def wait():
    if value(1) != 1 or coroutine(2) != 2 or background(3).wait(10) != 3:
        raise SystemExit("another value")
    refused(forever, crochet.TimeoutError)
    refused(fail, ValueError)
    if Service().method(4) != 4 or Service.static(5) != 5:
        raise SystemExit("another value")
    if crochet.retrieve_result(background(6).stash()).wait(10) != 6:
        raise SystemExit("another value")
    refused(lambda: crochet.retrieve_result(7), KeyError)
    result = pending()
    refused(lambda: result.wait(0.01), crochet.TimeoutError)
    result.cancel()
    refused(lambda: result.wait(10), Exception)
    result.original_failure()

threads = [threading.Thread(target=wait) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""
