"""
Numbers of stashed results cannot be guessed: 63 random bits, no two the same, no order in them.
"""

from _verdict import check, judge

import crochet


@crochet.run_in_reactor
def value():
    return 42


def hazard():
    crochet.setup()
    result = value()
    uids = [result.stash() for _ in range(2_000)]
    check(all(type(uid) is int for uid in uids), "not all are plain ints")
    check(len(set(uids)) == len(uids), "two are the same")
    check(uids[:3] != [1, 2, 3], f"they begin {uids[:3]}")
    for bit in range(63):
        ones = sum(uid >> bit & 1 for uid in uids)
        # Beyond that once in 10^15 runs: nine standard deviations.
        check(800 < ones < 1_200, f"bit {bit} is set in {ones} of 2,000")
    return "2,000 numbers, each of 63 bits set in about half of them"


judge(hazard)
