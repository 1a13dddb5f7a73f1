"""
``setup()`` inside a running asyncio loop: its threads' calls are answered, the loop goes on.
"""

import asyncio

from _verdict import PATIENCE, check, judge

import crochet


@crochet.wait_for(timeout=PATIENCE)
async def double(number):
    return 2 * number


async def main():
    crochet.setup()
    calls = (asyncio.to_thread(double, number) for number in range(20))
    return await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)


def hazard():
    answers = asyncio.run(main())
    check(answers == [2 * number for number in range(20)], f"the answers are {answers}")
    return "20 answers through asyncio.to_thread()"


judge(hazard)
