"""
The workers of a ``multiprocessing.Pool`` that forks, made after ``setup()``, get their answers.
"""

import multiprocessing
import os

from _operations import check_alive
from _verdict import PATIENCE, Hang, check, judge, needs

import crochet


@crochet.wait_for(timeout=PATIENCE)
def double(number):
    return 2 * number


def work(number):
    return os.getpid(), double(number)


def hazard():
    needs("fork" in multiprocessing.get_all_start_methods(), "the start method fork")
    crochet.setup()
    check_alive()
    with multiprocessing.get_context("fork").Pool(4, maxtasksperchild=10) as pool:
        try:
            answers = pool.map_async(work, range(100), chunksize=1).get(PATIENCE)
        except multiprocessing.TimeoutError:
            raise Hang(f"the pool has no answers in {PATIENCE:g} s") from None
    check([each for _, each in answers] == [2 * n for n in range(100)], "other answers")
    check_alive()
    return f"100 answers of {len({pid for pid, _ in answers})} workers"


judge(hazard)
