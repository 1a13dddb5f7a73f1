"""
What is measured: a measure is a function under ``@measure``, and that tells all there is to it.

To add one, write it into the module of its kind, or into one of its own that ``__init__.py``
imports. It then takes part in runs, tables, reports, bars, and the tests of the benchmarks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.figures import Bar

#: The place of a plan's size among three, and of its number of rounds.
PLANS = {"full": 0, "quick": 1, "tiny": 2}

Three = tuple[float, float, float]
Block = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Measure:
    """
    One measure.

    Attributes:
        function: takes it once, and returns figures by name, of which the first is shown and
            judged; its docstring begins with what that is. What it gets depends on its first
            parameter. *contender*: it is a timed block in the process that holds one, and gets that
            and the clock to time it by. *workers*: it gets these by contender, looks at them from
            outside, and returns figures for each. Any other: it runs in a new process that has
            started nothing, and imports the crochet to be looked at.
        rounds: how often it is taken in a full, a quick and a tiny run.
        who: the contenders that take part.
        sizes: the function's other parameters, for those three.
        bars: what is expected of it.
        grows: take it with the sizes, and with ten times the sizes. Its figures are the costs of
            one, by step; what is judged is how they grow.
        pinned: the name of the measure of which this is the form on one processor.
    """

    name: str
    function: Block
    rounds: tuple[int, int, int]
    who: tuple[str, ...]
    sizes: Mapping[str, Three]
    bars: tuple[Bar, ...]
    grows: bool = False
    pinned: str | None = None

    @property
    def where(self) -> str:
        """
        The function's first parameter, or "fresh" if it gets no more than the sizes.
        """
        first = next(iter(inspect.signature(self.function).parameters), "")
        return first if first in ("contender", "workers") else "fresh"

    @property
    def what(self) -> str:
        """
        What the figure is.
        """
        first = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
        where = ", all threads on one processor, by its time" if self.pinned else ""
        return " ".join(first.split()).rstrip(".") + where


#: Every measure by name, in the order in which they are taken and shown.
MEASURES: dict[str, Measure] = {}


def measure(
    rounds: tuple[int, int, int],
    who: Iterable[str],
    *bars: Bar,
    name: str = "",
    pins: bool = False,
    grows: bool = False,
    **sizes: Three,
) -> Callable[[Block], Block]:
    """
    Make the decorated function a measure; with *pins*, on one processor, too, as NAME_pinned.
    """
    # A former version of ours takes part where ours does, to see what a change has cost.
    who = (*who, "crochet-before") if "crochet" in who else tuple(who)

    def register(function: Block) -> Block:
        key = name or function.__name__
        MEASURES[key] = Measure(key, function, rounds, who, sizes, bars, grows)
        if pins:
            pinned = replace(MEASURES[key], name=f"{key}_pinned", pinned=key)
            MEASURES[pinned.name] = pinned
        return function

    return register
