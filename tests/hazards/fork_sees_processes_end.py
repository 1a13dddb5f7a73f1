"""
In a forked child, the ends of the processes that it spawns are noticed; and in the parent, of its.
"""

from _children import Children
from _verdict import check, in_fork, judge


def hazard():
    children = Children()

    def look():
        said = children.spawn("raise SystemExit(3)", {})
        check(said == "3", f"status {said}, not 3")
        return "noticed"

    look()
    in_fork(look)
    look()
    return "noticed in both"


judge(hazard)
