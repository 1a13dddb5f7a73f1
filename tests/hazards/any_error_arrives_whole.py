"""
An error has its type and value, the body's frames and the line that called, in one traceback.
"""

import traceback

from _bridges import bridge
from _questions import ask
from _verdict import check


class Odd(Exception):
    def __init__(self, number, *, text):
        super().__init__(f"{text} {number}")
        self.number = number


def deep_in_the_loop():
    raise Odd(7, text="lucky")


async def body():
    await bridge.sleep(0)
    deep_in_the_loop()


def the_calling_line():
    return bridge.call(body)


def hazard():
    bridge.start()
    try:
        the_calling_line()
    except Odd as error:
        check((error.number, error.args) == (7, ("lucky 7",)), f"another value: {error!r}")
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        for name in ("the_calling_line", "deep_in_the_loop"):
            check(name in names, f"{name} is not in the traceback: {names}")
        return f"both sides, {len(names)} frames"
    return check(False, "no error")


ask(hazard)
