"""
From samples to figures: medians, spreads, ratios, and the bars they are held against.

A ratio is taken within each round, where both sides ran a moment apart on the same machine
under the same load, and its median over the rounds is the figure. A ratio of two medians
would compare one contender's quiet minutes with another's busy ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

Samples = Sequence[float]


def median_interval(samples: Samples) -> tuple[float, float]:
    """
    Return a 95 % confidence interval of the median of *samples*, from their ranks alone.

    It assumes nothing about their distribution, which for timings is never normal. With
    fewer than six samples it is just their range.
    """
    ordered = sorted(samples)
    rank = max(math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))), 0)
    return ordered[rank], ordered[-1 - rank]


def summary(samples: Samples) -> dict[str, Any]:
    """
    Return the median of *samples* with its spread and its own uncertainty.
    """
    low, high = median_interval(samples)
    # A single sample is each of its own quantiles.
    cuts = [*samples] * 19 if len(samples) == 1 else quantiles(samples, n=20, method="inclusive")
    found = {"median": median(samples), "median_low": low, "median_high": high}
    found |= {"p10": cuts[1], "p25": cuts[4], "p75": cuts[14], "p90": cuts[17]}
    return {**found, "min": min(samples), "rounds": len(samples), "samples": list(samples)}


def ratios(numerators: Samples, denominators: Samples) -> list[float]:
    """
    Return the ratio of each round.
    """
    return [top / bottom for top, bottom in zip(numerators, denominators, strict=True)]


def figure_of(taken: Mapping[str, Any]) -> str:
    """
    Return the figure that is shown and judged of what a report has of a measure: the first one.
    """
    entries = taken["contenders"].values()
    return next((key for entry in entries for key in entry if isinstance(entry[key], dict)), "")


@dataclass(frozen=True)
class Bar:
    """
    What a figure must reach: *at_most* or else at least *limit*; *in_sight* is the next mark.

    The figure is that of the contender *top*, or its ratio to that of *bottom*. Of several in *top*
    the one that does worst counts, so that ours is held against the nearest of its peers. *figure*
    is another than the measure's own, *under* another for *bottom*; each step has one that is named
    "growth", of which the worst counts. With *each* the worst round counts, not the median.
    """

    key: str
    text: str
    limit: float
    in_sight: float | None = None
    at_most: bool = True
    unit: str = "x"
    top: tuple[str, ...] = ("crochet",)
    bottom: str | None = None
    figure: str = ""
    under: str = ""
    each: bool = False

    def _candidates(self, entries: Mapping[str, Any], figure: str) -> dict[str, list[float]]:
        """
        Return by text the samples, one a round, of everything that this bar is about.
        """
        found = {}
        below = entries.get(self.bottom or "", {}).get(self.under or figure)
        for top in self.top if below or self.bottom is None else ():
            for name, part in entries.get(top, {}).items():
                step, _, last = name.rpartition(", ")
                if figure in (name, last):
                    samples = part["samples"]
                    samples = ratios(samples, below["samples"]) if below else samples
                    found[self.text.format(top=top, step=step)] = samples
        return found

    def verdict(self, name: str, entries: Mapping[str, Any], figure: str) -> dict[str, Any] | None:
        """
        Return how the measure *name* stands, whose *figure* is in *entries*; None without any.
        """
        candidates = self._candidates(entries, self.figure or figure)
        if not candidates:
            return None
        worst = max if self.at_most else min
        text = worst(candidates, key=lambda text: median(candidates[text]))
        found = summary([worst(candidates[text])] if self.each else candidates[text])

        def is_reached(limit: float) -> bool:
            return found["median"] <= limit if self.at_most else found["median"] >= limit

        return {
            "bar": f"{name}/{self.key}",
            "text": f"{name}: {text}",
            **{key: getattr(self, key) for key in ("limit", "at_most", "in_sight", "unit")},
            "verdict": "PASS" if is_reached(self.limit) else "MISS",
            "in_sight_reached": None if self.in_sight is None else is_reached(self.in_sight),
            # Whether the median's own uncertainty leaves the verdict open.
            "close": found["median_low"] < self.limit < found["median_high"],
            **found,
        }


def not_slower(figure: str) -> Bar:
    """
    Return the bar that ours, by *figure*, has not become slower than it was.
    """
    falls = figure != "calls_per_second"
    limit = 1.03 if falls else 0.97
    return Bar("before", "ours / before", limit, at_most=falls, bottom="crochet-before")


def ahead_of(others: Sequence[str], ours: str = "crochet", key: str = "") -> Bar:
    """
    Return the bar that *ours* is not slower than the nearest of *others*.
    """
    text = f"{{top}} / {ours} (the nearest)"
    return Bar(key or ours, text, 1.0, at_most=False, top=tuple(others), bottom=ours)
