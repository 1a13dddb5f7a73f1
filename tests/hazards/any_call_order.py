"""
Calls that one thread submits run in the order made, also beside those of 7 others.
"""

from _bridges import bridge
from _questions import ask
from _verdict import PATIENCE, check, in_threads, needs

NUMBER = 500
ran = [[] for _ in range(8)]


def work(thread):
    def body(number):
        async def append():
            ran[thread].append(number)

        return append

    handles = [bridge.submit(body(number)) for number in range(NUMBER)]
    for handle in handles:
        handle.result(PATIENCE)


def hazard():
    needs(bridge.can_submit, "a way to submit a call and not wait")
    bridge.start()
    for outcome in in_threads(8, work):
        if outcome is not None:
            raise outcome
    wrong = [numbers for numbers in ran if numbers != list(range(NUMBER))]
    check(not wrong, f"another order in {len(wrong)} of 8 threads")
    return f"8 threads, {NUMBER} calls each"


ask(hazard)
