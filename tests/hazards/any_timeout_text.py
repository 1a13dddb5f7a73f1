"""
The text of a timeout names the function and the time it was given.
"""

from _bridges import bridge
from _questions import ask
from _verdict import check, outcome_of


async def fetch_the_rates():
    await bridge.never()


def hazard():
    bridge.start()
    text = str(outcome_of(lambda: bridge.call(fetch_the_rates, 0.25)))
    check("fetch_the_rates" in text and "0.25" in text, f"the text is {text!r}")
    return text


ask(hazard)
