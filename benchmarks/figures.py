"""
From samples to figures: medians, spreads, ratios, and the bars they are held against.

A ratio is taken within each round, where both sides ran a moment apart on the same machine
under the same load, and its median over the rounds is the figure. A ratio of two medians
would compare one contender's quiet minutes with another's busy ones.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Samples = Sequence[float]


def quantile(samples: Samples, fraction: float) -> float:
    """
    Return the value that *fraction* of *samples* lie below, interpolated.
    """
    ordered = sorted(samples)
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = math.ceil(position)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summary(samples: Samples) -> dict[str, Any]:
    """
    Return the median of *samples* with its spread and its own uncertainty.
    """
    low, high = median_interval(samples)
    return {
        "median": statistics.median(samples),
        "median_low": low,
        "median_high": high,
        "p10": quantile(samples, 0.1),
        "p25": quantile(samples, 0.25),
        "p75": quantile(samples, 0.75),
        "p90": quantile(samples, 0.9),
        "min": min(samples),
        "rounds": len(samples),
        "samples": list(samples),
    }


def median_interval(samples: Samples) -> tuple[float, float]:
    """
    Return a 95 % confidence interval of the median of *samples*, from their ranks alone.

    It assumes nothing about their distribution, which for timings is never normal. With
    fewer than six samples it is just their range.
    """
    ordered = sorted(samples)
    count = len(ordered)
    rank = math.floor(count / 2 - 0.98 * math.sqrt(count))
    rank = max(rank, 0)
    return ordered[rank], ordered[count - 1 - rank]


def ratios(numerators: Samples, denominators: Samples) -> list[float]:
    """
    Return the ratio of each round.
    """
    return [top / bottom for top, bottom in zip(numerators, denominators, strict=True)]


@dataclass(frozen=True)
class Bar:
    """
    A figure that must be reached.

    ``at_most`` tells whether *limit* is a ceiling or a floor for the figure; ``in_sight`` is
    the next mark beyond it.
    """

    key: str
    text: str
    limit: float
    at_most: bool
    in_sight: float | None = None
    unit: str = "x"

    def verdict(self, samples: Samples) -> dict[str, Any]:
        """
        Return how *samples*, one figure a round, stand against this bar.
        """
        figures = summary(samples)
        return {
            "bar": self.key,
            "text": self.text,
            "limit": self.limit,
            "at_most": self.at_most,
            "in_sight": self.in_sight,
            "unit": self.unit,
            "verdict": "PASS" if self._reached(figures["median"], self.limit) else "MISS",
            "in_sight_reached": (
                None if self.in_sight is None else self._reached(figures["median"], self.in_sight)
            ),
            # Whether the median's own uncertainty leaves the verdict open.
            "close": figures["median_low"] < self.limit < figures["median_high"],
            **figures,
        }

    def _reached(self, figure: float, limit: float) -> bool:
        return figure <= limit if self.at_most else figure >= limit


#: The bars by key. One that a run did not measure has no verdict in its report.
BARS = {
    bar.key: bar
    for bar in (
        Bar("round_trip/floor", "round trip, ours / floor", 2.6, True, 2.2),
        Bar("round_trip/2.1.1", "round trip, 2.1.1 / ours", 2.5, False, 3.0),
        Bar("round_trip/others", "round trip, {other} / ours (the nearest)", 1.0, False),
        Bar("round_trip/notes", "round trip, ours / without notes on calls", 1.05, True),
        Bar("round_trip_pinned/notes", "the same on one processor, ours / without", 1.05, True),
        Bar("burst/2.1.1", "burst submit, 2.1.1 / ours", 8.0, False, 12.0),
        Bar("threads/2.1.1", "calls per second of 64 threads, ours / 2.1.1", 3.5, False, 4.0),
        Bar("round_trip_pinned/floor", "the same on one processor, ours / floor", 2.6, True, 2.2),
        Bar("round_trip_pinned/2.1.1", "the same on one processor, 2.1.1 / ours", 2.5, False, 3.0),
        Bar("threads_pinned/2.1.1", "the same on one processor, ours / 2.1.1", 3.5, False, 4.0),
        Bar("memory/bytes", "bytes of a pending result on a Deferred", 950, True, unit="bytes"),
        Bar("pending/growth", "cost per result, ten times as many: {step}", 3.0, True),
        Bar("waiters/growth", "cost per waiting thread, ten times as many: {step}", 3.0, True),
        Bar("timeouts/growth", "cost per timeout, ten times as many: {step}", 3.0, True),
        Bar(
            "timeouts/seconds", "processor time of a timeout among the many", 0.0002, True, unit="s"
        ),
        Bar("stall/seconds", "longest turn of a loop with 500 awaits", 0.020, True, unit="s"),
        Bar("status/seconds", "status() with 1,000 calls in flight", 0.001, True, unit="s"),
        Bar("futures/flat", "memory after 20 rounds of requests / after 5", 1.02, True),
        Bar("idle/wakeups", "wake-ups at rest", 0, True, unit="wake-ups"),
        Bar("import/seconds", "import crochet after defer, processor time", 0.010, True, unit="s"),
        Bar("import/reactor", "reactors imported by import crochet", 0, True, unit="imports"),
    )
}

#: Ours on a kind of reactor, and whom it is to be ahead of: those on the same kind of loop.
_AWAITED = {
    "crochet": ("asyncio", "uvloop"),
    "crochet-asyncio": ("asyncio",),
    "crochet-uvloop": ("uvloop",),
}
_DRIVING = {
    "crochet-asyncio": ("asyncio", "anyio", "asgiref"),
    "crochet-uvloop": ("uvloop", "anyio-uvloop", "asgiref-uvloop"),
}
AHEAD = {
    "await": _AWAITED,
    "await_pinned": _AWAITED,
    "await_gathered": _AWAITED,
    "await_gathered_pinned": _AWAITED,
    "coroutine": _DRIVING,
    "coroutine_pinned": _DRIVING,
    "coroutine_sleep": _DRIVING,
    "coroutine_sleep_pinned": _DRIVING,
}
BARS.update(
    (f"{measure}/{ours}", Bar(f"{measure}/{ours}", f"{measure}, {{other}} / {ours}", 1.0, False))
    for measure, pairs in AHEAD.items()
    for ours in pairs
)


def verdicts(measures: dict[str, Any]) -> list[dict[str, Any]]:
    """
    Return the verdict of each bar that *measures* has the samples for.
    """
    found = []
    ours, peer, floor = "crochet", "crochet-2.1.1", "floor"

    def samples(measure: str, contender: str, figure: str) -> list[float] | None:
        entry = measures.get(measure, {}).get("contenders", {}).get(contender, {})
        figures = entry.get(figure)
        return None if figures is None else list(figures["samples"])

    def judge(key: str, top: list[float] | None, bottom: list[float] | None) -> None:
        if top is not None and bottom is not None:
            found.append(BARS[key].verdict(ratios(top, bottom)))

    def nearest(key: str, mine: list[float], theirs: dict[str, list[float] | None]) -> None:
        rivals = {
            other: ratios(figures, mine) for other, figures in theirs.items() if figures is not None
        }
        if rivals:
            other = min(rivals, key=lambda other: statistics.median(rivals[other]))
            verdict = BARS[key].verdict(rivals[other])
            found.append({**verdict, "text": verdict["text"].format(other=other)})

    per_call = "seconds_per_call"
    trip = samples("round_trip", ours, per_call)
    judge("round_trip/floor", trip, samples("round_trip", floor, per_call))
    judge("round_trip/2.1.1", samples("round_trip", peer, per_call), trip)
    judge("round_trip/notes", trip, samples("round_trip", "crochet-unnoted", per_call))
    if trip is not None:
        nearest(
            "round_trip/others",
            trip,
            {
                key: samples("round_trip", key, per_call)
                for key, entry in measures["round_trip"]["contenders"].items()
                if key != ours and not entry["is_reference"]
            },
        )
    for measure, pairs in AHEAD.items():
        for key, others in pairs.items():
            mine = samples(measure, key, per_call)
            if mine is not None:
                theirs = {other: samples(measure, other, per_call) for other in others}
                nearest(f"{measure}/{key}", mine, theirs)
    judge("burst/2.1.1", samples("burst", peer, per_call), samples("burst", ours, per_call))
    rate = "calls_per_second"
    judge("threads/2.1.1", samples("threads", ours, rate), samples("threads", peer, rate))
    pinned = "round_trip_pinned"
    trip = samples(pinned, ours, per_call)
    judge("round_trip_pinned/floor", trip, samples(pinned, floor, per_call))
    judge("round_trip_pinned/2.1.1", samples(pinned, peer, per_call), trip)
    judge("round_trip_pinned/notes", trip, samples(pinned, "crochet-unnoted", per_call))
    pinned = "threads_pinned"
    judge("threads_pinned/2.1.1", samples(pinned, ours, rate), samples(pinned, peer, rate))

    memory = samples("memory", ours, "bytes_per_result")
    if memory is not None:
        found.append(BARS["memory/bytes"].verdict(memory))
    for measure in ("pending", "waiters", "timeouts"):
        growth = measures.get(measure, {}).get("contenders", {}).get(ours, {}).get("growth")
        if growth:
            worst = max(growth, key=lambda step: growth[step]["median"])
            verdict = BARS[f"{measure}/growth"].verdict(growth[worst]["samples"])
            found.append({**verdict, "text": verdict["text"].format(step=worst)})
    crowd = measures.get("timeouts", {}).get("contenders", {}).get(ours, {})
    if crowd:
        sizes = [int(key.rpartition(" ")[2]) for key in crowd if " at " in key]
        many = samples("timeouts", ours, f"all at once at {max(sizes)}")
        found.append(BARS["timeouts/seconds"].verdict(many or []))
    for measure in ("stall", "status"):
        seconds = samples(measure, ours, "seconds")
        if seconds is not None:
            found.append(BARS[f"{measure}/seconds"].verdict(seconds))
    judge(
        "futures/flat",
        samples("futures", ours, "bytes_later"),
        samples("futures", ours, "bytes_early"),
    )
    wakeups = samples("idle", ours, "wakeups")
    if wakeups is not None:
        found.append(BARS["idle/wakeups"].verdict(wakeups))
    added = samples("import", ours, "cpu_seconds")
    if added is not None:
        found.append(BARS["import/seconds"].verdict(added))
        reactors = samples("import", ours, "reactor_imported")
        # Every single import counts here, not the median one.
        found.append(BARS["import/reactor"].verdict([max(reactors or [1.0])]))
    return found
