"""
In a forked child a stream of the parent's raises ReactorStopped at once; the parent's goes on.
"""

from _leaving import check_ended, ends
from _streams import numbers, stuck
from _verdict import check, in_fork, judge, refusal_of

import crochet


def hazard():
    crochet.setup()
    streams = [numbers(), stuck(), numbers()]
    check([next(stream) for stream in streams[:2]] == [0, 0], "other items came")

    def in_child():
        texts = [str(refusal_of(stream.__next__, crochet.ReactorStopped)) for stream in streams]
        check(all("fork" in text for text in texts), f"the texts say: {texts}")
        check([list(stream) for stream in streams] == [[]] * 3, "they are not over")
        for stream in streams:
            stream.close()
        streams.clear()
        check(not ends, "a body of the parent's has ended in the child, too")
        crochet.setup()
        check(list(numbers(3)) == [0, 1, 2], "a new stream has other items")
        return "ReactorStopped, which names the fork, and new streams"

    said = in_fork(in_child)
    check(next(streams[0]) == 1, "the parent's stream has lost an item")
    for stream in streams:
        stream.close()
    check_ended(2)
    return said


judge(hazard)
